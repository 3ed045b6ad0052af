"""Extraction in one process: audio files → latents, codes and features on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m8d.engines.errors import InputError, M8DError
from m8d.runtime.audio import Audio
from m8d.runtime.encoder import Encoding
from m8d.runtime.extraction.batches import Loaded, batches, read_ahead
from m8d.runtime.extraction.corpus import Corpus
from m8d.runtime.extraction.ledger import Ledger
from m8d.runtime.extraction.outputs import Arrays, Output, TarOutput
from m8d.runtime.long_audio import LONG_SECONDS
from m8d.runtime.pipeline import Pipeline


@dataclass(frozen=True)
class BatchOptions:
    """Audio of one call, padding included, in seconds, > 0; threads that read and decode files, ≥ 1."""

    batch_seconds: float = 30.0
    workers: int = 2

    def __post_init__(self) -> None:
        if not self.batch_seconds > 0:
            raise InputError(f"--batch-seconds: received {self.batch_seconds:g}, expected more than 0.")
        if self.workers < 1:
            raise InputError(f"--workers: received {self.workers}, expected at least 1.")


@dataclass(frozen=True)
class Outcome:
    """What became of one file: seconds of audio when its output is there, else the reason."""

    path: Path
    seconds: float = 0.0
    reason: str = ""


Report = Callable[[Outcome], None]


def pending(corpus: Corpus, output: Output, ledger: Ledger) -> list[Path]:
    """Files without output, after noting those that have it; of two with one name the second fails."""
    found: dict[str, Path] = {}
    todo = []
    for path in corpus.files():
        name = corpus.name(path)
        if name in found:
            ledger.fail(path, f"Its output would be that of {found[name]}: rename one of them.")
            continue
        found[name] = path
        if output.done(name):
            ledger.succeeded.add(str(path))
        else:
            ledger.succeeded.discard(str(path))
            todo.append(path)
    return todo


def extract(
    pipeline: Pipeline, corpus: Corpus, paths: list[Path], output: Output, extras: tuple[str, ...],
    options: BatchOptions, report: Report,
) -> None:  # fmt: skip
    """Encodes `paths` and writes what comes out; a file that cannot be read or encoded is reported, never raised.

    `report` hears of a success when its output is there for good.
    """
    rate = pipeline.bundle.manifest.model.semantic_sample_rate
    seconds: dict[str, tuple[Path, float]] = {}
    closing = isinstance(output, TarOutput)

    def close() -> None:
        for name in output.close():
            report(Outcome(*seconds.pop(name)))

    for group in batches(read_ahead(paths, options.workers, rate), options.batch_seconds):
        readable = [file for file in group if file.audio]
        for file in group:
            if not file.audio:
                report(Outcome(file.path, reason=file.reason))
        for file, arrays in _encoded(pipeline, readable, extras, report):
            assert file.audio is not None
            name = corpus.name(file.path)
            output.write(name, arrays)
            if closing:
                seconds[name] = (file.path, file.audio.seconds)
            else:
                report(Outcome(file.path, file.audio.seconds))
        if isinstance(output, TarOutput) and output.full:
            close()
    close()


def _encoded(
    pipeline: Pipeline, files: list[Loaded], extras: tuple[str, ...], report: Report
) -> list[tuple[Loaded, Arrays]]:
    """The arrays of each file; when a batch fails its files are tried one by one."""
    try:
        return _arrays(pipeline, files, extras)
    except (M8DError, RuntimeError, MemoryError) as error:
        if len(files) == 1:
            report(Outcome(files[0].path, reason=str(error) or type(error).__name__))
            return []
    return [result for file in files for result in _encoded(pipeline, [file], extras, report)]


def _arrays(pipeline: Pipeline, files: list[Loaded], extras: tuple[str, ...]) -> list[tuple[Loaded, Arrays]]:
    spoken = [file.spoken for file in files if file.spoken]
    with_features = "features" in extras
    encodings: list[Encoding]
    if any(audio.seconds > LONG_SECONDS for audio in spoken):
        encodings = [pipeline.encode_audio(audio, with_features) for audio in spoken]
    else:
        encodings = pipeline.encoder.encode_batch(spoken, with_features) if spoken else []
    results = []
    for file, encoding in zip(files, encodings, strict=True):
        arrays = {"latents": encoding.latents.astype(np.float32)}
        if encoding.features is not None:
            arrays["features"] = encoding.features.astype(np.float16)
        if "codes" in extras:
            arrays["codes"] = pipeline.encoder.semantic_codes(encoding.latents).astype(np.int16)
        if "acoustic_codes" in extras:
            arrays["acoustic_codes"] = _acoustic(pipeline, file.audio)
        results.append((file, arrays))
    return results


def _acoustic(pipeline: Pipeline, audio: Audio | None) -> np.ndarray:
    assert audio is not None
    return pipeline.acoustic_codes(audio).astype(np.int16)
