"""The corpus in memory: PCM, frame-wise phone labels, speakers.

N samples at 24 kHz, T frames (50 Hz).
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import soxr

from m8d.models import front_end
from m8d.models.training.corpus import SAMPLE_RATE, Utterance, read_index
from m8d.models.training.phones import PHONE_ID, SILENCE

FRAME_RATE = 50  # Hz
HOP = SAMPLE_RATE // FRAME_RATE  # 480 samples
SEMANTIC_CENTRE = 0.0175  # s: the middle of the 35 ms that a stacked front-end frame sees


class Recordings:
    """Utterances of one split, loaded from `folder` (see `corpus`)."""

    def __init__(self, folder: Path, split: str, min_seconds: float = 0.0) -> None:
        self.utterances: list[Utterance] = []
        self.pcm: list[np.ndarray] = []  # (N,) int16, whole frames
        for utterance in read_index(folder):
            if utterance.split == split and utterance.seconds >= min_seconds:
                pcm, _ = soundfile.read(folder / "wav" / f"{utterance.id}.wav", dtype="int16")
                self.utterances.append(utterance)
                self.pcm.append(pcm[: len(pcm) // HOP * HOP])
        if not self.utterances:
            raise ValueError(f"{folder} holds no speech of the split {split!r}: run the corpus step first.")

    def __len__(self) -> int:
        return len(self.utterances)

    def frames(self, index: int) -> int:
        return len(self.pcm[index]) // HOP

    def audio(self, index: int) -> np.ndarray:
        """`(N,)` float32 at 24 kHz."""
        return self.pcm[index].astype(np.float32) / 2**15

    def audio_16k(self, index: int) -> np.ndarray:
        return soxr.resample(self.audio(index), SAMPLE_RATE, front_end.SAMPLE_RATE)

    @cached_property
    def speaker_ids(self) -> np.ndarray:
        names = {name: number for number, name in enumerate(sorted({u.speaker for u in self.utterances}))}
        return np.array([names[u.speaker] for u in self.utterances])

    @cached_property
    def by_speaker(self) -> dict[int, list[int]]:
        groups = defaultdict(list)
        for index, speaker in enumerate(self.speaker_ids):
            groups[int(speaker)].append(index)
        return dict(groups)

    def labels(self, index: int, frames: int) -> np.ndarray:
        """Phone ids `(frames,)` at the middles of the semantic frames."""
        return frame_labels(self.utterances[index].phones, frames)

    def sample(self, chance: np.random.Generator, count: int) -> np.ndarray:
        """Indices of `count` utterances, every speaker as likely as any other."""
        speakers = list(self.by_speaker)
        drawn = (speakers[chance.integers(len(speakers))] for _ in range(count))
        return np.array([chance.choice(self.by_speaker[speaker]) for speaker in drawn])

    def crop(self, chance: np.random.Generator, index: int, frames: int) -> np.ndarray:
        """`(frames * 480,)` float32 from a random place; a shorter recording is followed by silence."""
        start = int(chance.integers(max(self.frames(index) - frames, 0) + 1)) * HOP
        pcm = self.pcm[index][start : start + frames * HOP].astype(np.float32) / 2**15
        return np.pad(pcm, (0, frames * HOP - len(pcm)))


def frame_labels(phones: tuple[tuple[str, float], ...], frames: int) -> np.ndarray:
    ends = np.array([end for _, end in phones])
    ids = np.array([*(PHONE_ID[name] for name, _ in phones), PHONE_ID[SILENCE]])
    return ids[np.searchsorted(ends, np.arange(frames) / FRAME_RATE + SEMANTIC_CENTRE, side="right")]
