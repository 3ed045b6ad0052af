"""Latents of a corpus: audio per second, in one process and on Ray."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import soundfile

from m8d.benchmarks import speech
from m8d.benchmarks.commands import m8d_run
from m8d.benchmarks.results import Result, Row
from m8d.engines.bundle import Bundle
from m8d.engines.errors import InputError

CORPUS_HOURS = 100_000


def throughput(bundle: Bundle, files: int, seconds: float, actors: list[int]) -> Result:
    """Extracts a folder of `files` recordings of about `seconds` each; start-up and reading are part of the time.

    Args:
        actors: numbers of Ray actors, of one thread each, to compare with one process.

    Raises:
        InputError: nothing to extract.
    """
    if files < 1 or not seconds > 0:
        raise InputError(f"throughput: received {files} files of {seconds:g} s, expected at least one with sound.")
    variants: dict[str, list[object]] = {"one process, one thread": ["--threads", 1], "one process": []}
    for count in actors:
        variants[f"Ray, {count} x one thread"] = ["--threads", 1, "--ray", "local", "--ray-actors", count]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        audio = Path(folder) / "audio"
        total = _corpus(audio, files, seconds)
        for number, (name, flags) in enumerate(variants.items()):
            run = m8d_run("extract", "--bundle", bundle.folder, "--audio-dir", audio, "--device", "cpu", "--quiet",
                          "--embedding-dir", f"{folder}/{number}", "--json-dir", f"{folder}/lists-{number}",
                          *flags)  # fmt: skip
            rows.append({"run": name, "seconds": run.seconds, "times real time": total / run.seconds,
                         "files per s": files / run.seconds, "peak MB": run.peak / 1e6})  # fmt: skip
    best = max(row["times real time"] for row in rows)
    settings = {"bundle": bundle.manifest.name, "files": files, "seconds": seconds, "hours": total / 3600}
    figures = {"times real time": best, f"days for {CORPUS_HOURS} h": CORPUS_HOURS / best / 24}
    return Result("throughput", settings, {"Extraction": rows}, figures)


def _corpus(folder: Path, files: int, seconds: float) -> float:
    """Cuts of half to one and a half times `seconds`; returns how long all of them are."""
    folder.mkdir()
    chance, total = np.random.default_rng(0), 0.0
    spoken = speech.source(3 * seconds)
    for number in range(files):
        length = round(seconds * chance.uniform(0.5, 1.5) * spoken.sample_rate)
        start = int(chance.integers(len(spoken.samples) - length))
        soundfile.write(folder / f"{number:06}.wav", spoken.samples[start : start + length], spoken.sample_rate)
        total += length / spoken.sample_rate
    return total
