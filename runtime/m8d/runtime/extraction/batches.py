"""Audio read ahead of the encoder by threads, and grouped so that little of a batch is padding."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from m8d.engines.errors import M8DError
from m8d.runtime.audio import Audio, load_audio

READ_AHEAD = 4  # files per thread that may be decoded and not yet encoded
SORTED_BATCHES = 4  # batches' worth of audio that is sorted by length at a time


@dataclass(frozen=True)
class Loaded:
    """A file that was read, or the reason why it was not. `spoken` is at the encoder's rate."""

    path: Path
    audio: Audio | None = None
    spoken: Audio | None = None
    reason: str = ""


def read_ahead(paths: Iterable[Path], workers: int, rate: int) -> Iterator[Loaded]:
    """Reads and resamples in `workers` threads, in order; at most `READ_AHEAD` files each are held."""
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            waiting.append(pool.submit(_read, path, rate))
            if len(waiting) >= workers * READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(path: Path, rate: int) -> Loaded:
    try:
        audio = load_audio(str(path))
        return Loaded(path, audio, Audio(audio.resampled(rate), rate))
    except (M8DError, OSError, MemoryError) as error:
        return Loaded(path, reason=str(error) or type(error).__name__)


def batches(files: Iterable[Loaded], batch_seconds: float) -> Iterator[list[Loaded]]:
    """Groups of similar length that hold, padding included, at most `batch_seconds`; longer files come alone."""
    window: list[Loaded] = []
    seconds = 0.0
    for file in files:
        window.append(file)
        seconds += file.spoken.seconds if file.spoken else 0.0
        if seconds >= SORTED_BATCHES * batch_seconds:
            yield from _grouped(window, batch_seconds)
            window, seconds = [], 0.0
    yield from _grouped(window, batch_seconds)


def _grouped(window: list[Loaded], batch_seconds: float) -> Iterator[list[Loaded]]:
    group: list[Loaded] = []
    for file in sorted(window, key=lambda file: file.spoken.seconds if file.spoken else 0.0):
        longest = file.spoken.seconds if file.spoken else 0.0
        if group and longest * (len(group) + 1) > batch_seconds:
            yield group
            group = []
        group.append(file)
    if group:
        yield group
