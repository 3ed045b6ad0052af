"""A finished corpus read again."""

from __future__ import annotations

import numpy as np

from m8d.runtime.extraction.corpus import Corpus
from m8d.runtime.extraction.outputs import Arrays, OutputOptions
from m8d.runtime.extraction.run import Outcome

FRAMES_OFF = 2  # the front end drops up to 35 ms, and containers round their lengths


def verify(corpus: Corpus, options: OutputOptions, latent_dim: int, frame_rate: int) -> list[Outcome]:
    """Reads every output again: is it there, whole, of the right shape, finite and as long as its audio?

    Returns one outcome per file; those with a reason are bad.
    """
    import soundfile

    output = options.open()
    outcomes = []
    for path in corpus.files():
        name = corpus.name(path)
        try:
            if not output.done(name):
                raise ValueError("it has no output: run extract again")
            arrays = output.read(name)
            seconds = soundfile.info(str(path)).duration
            _check(arrays, seconds * frame_rate, latent_dim)
            outcomes.append(Outcome(path, seconds))
        except Exception as error:  # whatever is wrong with a file, the others are looked at too
            outcomes.append(Outcome(path, reason=str(error) or type(error).__name__))
    return outcomes


def _check(arrays: Arrays, expected_frames: float, latent_dim: int) -> None:
    latents = arrays["latents"]
    if latents.dtype != np.float32 or latents.ndim != 2 or latents.shape[1] != latent_dim:
        raise ValueError(f"its latents are {latents.dtype} {latents.shape}, expected float32 (T, {latent_dim})")
    if abs(len(latents) - expected_frames) > FRAMES_OFF:
        raise ValueError(f"it has {len(latents)} frames, its audio has {expected_frames:.0f}")
    for kind, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"its {kind} hold NaN or infinity")
        if kind != "acoustic_codes" and len(array) != len(latents):
            raise ValueError(f"its {kind} have {len(array)} frames, its latents {len(latents)}")
