"""Torch-free runtime of m8d bundles: `Pipeline` for programs, `m8d-run` for shells."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m8d.engines.errors import BundleError, InputError, M8DError, ProviderError
    from m8d.runtime.decoder import Decoding, Voice
    from m8d.runtime.encoder import Encoding
    from m8d.runtime.metis import Metis8dDecoder, Metis8dEncoder
    from m8d.runtime.pipeline import Pipeline
    from m8d.runtime.sampling import SamplingOptions
    from m8d.runtime.speaker import SpeakingOptions, Speech

__all__ = [
    "BundleError",
    "Decoding",
    "Encoding",
    "InputError",
    "M8DError",
    "Metis8dDecoder",
    "Metis8dEncoder",
    "Pipeline",
    "ProviderError",
    "SamplingOptions",
    "SpeakingOptions",
    "Speech",
    "Voice",
]

_HOMES = {
    "m8d.engines.errors": ("BundleError", "InputError", "M8DError", "ProviderError"),
    "m8d.runtime.decoder": ("Decoding", "Voice"),
    "m8d.runtime.encoder": ("Encoding",),
    "m8d.runtime.metis": ("Metis8dDecoder", "Metis8dEncoder"),
    "m8d.runtime.pipeline": ("Pipeline",),
    "m8d.runtime.sampling": ("SamplingOptions",),
    "m8d.runtime.speaker": ("SpeakingOptions", "Speech"),
}


def __getattr__(name: str) -> Any:
    """Imports on first use: the command line's help needs none of it, and NumPy alone takes longer than the help."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
