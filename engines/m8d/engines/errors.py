"""Errors that a user can mend. The command lines print them on one line and exit with status 2."""

from collections.abc import Iterable


class M8DError(Exception):
    """Base: the text says what is wrong, what was received, what was expected and how to mend it."""


class BundleError(M8DError):
    """A bundle is missing, incomplete, damaged or of another format."""


class ProviderError(M8DError):
    """A provider, device or precision that was asked for cannot be had here."""


class InputError(M8DError):
    """Audio, an array or an option is not usable."""


def check_options(kind: str, rules: Iterable[tuple[str, object, bool, str]]) -> None:
    """Raises `InputError` for the first of `rules`, (name, received, is it valid, expected), that does not hold."""
    for name, received, valid, expected in rules:
        if not valid:
            raise InputError(f"{kind} {name}: received {received}, expected {expected}.")
