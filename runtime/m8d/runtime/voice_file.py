"""A reference voice on disk, so that it is encoded once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from m8d.engines.bundle import ModelInfo
from m8d.engines.errors import InputError
from m8d.runtime.audio import replacing
from m8d.runtime.decoder import Voice

SUFFIX = ".npz"


def save_voice(path: str, voice: Voice) -> None:
    """Writes `path`, an `.npz` of `semantic_codes (P,)` and `acoustic_codes (P, Q)`; whole or not at all."""
    if not path.endswith(SUFFIX):
        raise InputError(f"Voice file: received {path}, expected a name that ends in {SUFFIX}.")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, semantic_codes=voice.semantic_codes, acoustic_codes=voice.acoustic_codes)


def load_voice(path: str, model: ModelInfo) -> Voice:
    """Reads a voice and checks that `model` can have made it."""
    if not Path(path).is_file():
        raise InputError(f"Voice file {path} does not exist. Make one with `m8d-run voice`.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            voice = Voice(arrays["semantic_codes"], arrays["acoustic_codes"])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"Cannot read {path} as a voice ({error}). Make one with `m8d-run voice`.") from error
    fits = voice.acoustic_codes.shape[1] == model.num_quantizers
    for codes, size in (
        (voice.semantic_codes, model.semantic_codebook_size),
        (voice.acoustic_codes, model.acoustic_codebook_size),
    ):
        fits = fits and codes.dtype == np.int64 and codes.size > 0 and codes.min() >= 0 and codes.max() < size
    if not fits:
        raise InputError(f"The voice in {path} was made with a bundle of other sizes. Make it again with this one.")
    return voice
