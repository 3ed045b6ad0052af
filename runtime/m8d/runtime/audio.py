"""Audio in and out: any format that libsndfile reads, any rate, any number of channels.

N samples.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from m8d.engines.errors import InputError

STANDARD_STREAM = "-"
MAX_RATE = 768_000  # Hz


@dataclass(frozen=True)
class Audio:
    """Mono samples `(N,)` float32, usually within [-1, 1], at `sample_rate` Hz."""

    samples: np.ndarray
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def resampled(self, sample_rate: int) -> np.ndarray:
        """`(N * sample_rate / self.sample_rate,)` by soxr at its HQ setting, as librosa does."""
        if sample_rate == self.sample_rate:
            return self.samples
        import soxr

        return soxr.resample(self.samples, self.sample_rate, sample_rate, quality="HQ").astype(np.float32)


def as_audio(samples: np.ndarray, sample_rate: int, what: str = "audio") -> Audio:
    """Checks samples and makes them mono float32.

    Args:
        samples: `(N,)` or `(N, channels)`; floats in [-1, 1], or integers of any width, scaled by their range.
        sample_rate: Hz.
        what: how errors name the audio.

    Raises:
        InputError: empty, of more than two axes or another type, with NaN or infinity, or of an impossible rate.
    """
    if not isinstance(sample_rate, int | np.integer) or not 0 < sample_rate <= MAX_RATE:
        raise InputError(f"{what}: received a sample rate of {sample_rate!r}, expected 1 to {MAX_RATE} Hz.")
    array = np.asarray(samples)
    if array.dtype.kind == "i":
        array = array / np.float32(-float(np.iinfo(array.dtype).min))
    elif array.dtype.kind != "f":
        raise InputError(f"{what}: received samples of type {array.dtype}, expected floats or signed integers.")
    if array.ndim not in (1, 2):
        raise InputError(f"{what}: received samples of shape {array.shape}, expected (N,) or (N, channels).")
    if array.size == 0:
        raise InputError(f"{what} is empty: expected at least one sample.")
    # Mean over channels, as librosa's mono=True.
    mono = (array.mean(axis=1) if array.ndim == 2 else array).astype(np.float32)
    if not np.isfinite(mono).all():
        bad = int(np.count_nonzero(~np.isfinite(mono)))
        raise InputError(
            f"{what} has {bad} samples that are NaN or infinite: expected finite numbers. Repair the file."
        )
    return Audio(np.ascontiguousarray(mono), int(sample_rate))


def load_audio(path: str) -> Audio:
    """Reads a file, or standard input where `path` is `-`; errors name the file."""
    import soundfile

    source: str | BinaryIO = path
    if path == STANDARD_STREAM:
        source = io.BytesIO(sys.stdin.buffer.read())
    elif not Path(path).is_file():
        kind = "is a folder" if Path(path).is_dir() else "does not exist"
        raise InputError(f"Audio file {path} {kind}. Expected a file that libsndfile reads (WAV, FLAC, OGG, MP3, …).")
    name = "standard input" if path == STANDARD_STREAM else path
    try:
        samples, rate = soundfile.read(source, dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(
            f"Cannot read {name} as audio ({error}). Expected a file that libsndfile reads (WAV, FLAC, OGG, MP3, …)."
        ) from error
    return as_audio(samples, rate, name)


def save_audio(path: str, audio: Audio) -> None:
    """Writes PCM in the format of the file's suffix, 16-bit WAV to standard output for `-`; whole or not at all."""
    import soundfile

    samples = np.clip(audio.samples, -1.0, 1.0)
    if path == STANDARD_STREAM:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, audio.sample_rate, format="WAV", subtype="PCM_16")
        sys.stdout.buffer.write(buffer.getvalue())
        return
    suffix = Path(path).suffix[1:].upper()
    if suffix not in soundfile.available_formats():
        raise InputError(f"Cannot write {path}: expected a suffix such as .wav, .flac or .ogg.")
    with replacing(path) as temporary:
        soundfile.write(temporary, samples, audio.sample_rate, format=suffix)


def save_array(path: str, array: np.ndarray) -> None:
    """Writes a `.npy` file, or to standard output for `-`; whole or not at all."""
    if path == STANDARD_STREAM:
        buffer = io.BytesIO()
        np.save(buffer, array)
        sys.stdout.buffer.write(buffer.getvalue())
        return
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


@contextmanager
def replacing(path: str) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well and vanishes when it does not."""
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"Cannot write {path}: the folder {target.parent} does not exist. Make it first.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
