"""Speech to measure with: the demo's two speakers, cut or repeated to a length."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import soundfile

from m8d.runtime.audio import Audio

REFERENCE_TEXT = "Glue the sheet to the dark blue background."


def source(seconds: float) -> Audio:
    """What is said."""
    return _cut(clip("source.flac"), seconds)


def reference(seconds: float) -> Audio:
    """Another speaker."""
    return _cut(clip("reference.flac"), seconds)


def clip(name: str) -> Audio:
    """The whole of a clip of the demo."""
    samples, rate = soundfile.read(str(files("m8d.runtime") / "demo" / name), dtype="float32")
    return Audio(samples, rate)


def _cut(audio: Audio, seconds: float) -> Audio:
    return Audio(np.resize(audio.samples, round(seconds * audio.sample_rate)), audio.sample_rate)
