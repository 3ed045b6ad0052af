"""Torch-free runtime of m8d bundles: `Pipeline` for programs, `m8d-run` for shells."""

from m8d.engines.errors import BundleError, InputError, M8DError, ProviderError
from m8d.runtime.decoder import Decoding, Voice
from m8d.runtime.encoder import Encoding
from m8d.runtime.pipeline import Pipeline
from m8d.runtime.sampling import SamplingOptions

__all__ = [
    "BundleError",
    "Decoding",
    "Encoding",
    "InputError",
    "M8DError",
    "Pipeline",
    "ProviderError",
    "SamplingOptions",
    "Voice",
]
