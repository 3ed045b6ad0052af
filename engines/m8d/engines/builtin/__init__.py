"""The bundle that ships with m8d, so that every command works offline at once."""

from __future__ import annotations

from pathlib import Path

from m8d.engines.bundle import Bundle


def builtin_bundle() -> Bundle:
    return Bundle.open(Path(__file__).parent / "bundle")
