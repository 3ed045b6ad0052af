"""The C++ program beside the Python command: whole processes, from start to a written file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import soundfile

from m8d.benchmarks import speech
from m8d.benchmarks.results import Result, Row
from m8d.benchmarks.timing import interleaved
from m8d.engines.bundle import Bundle
from m8d.engines.errors import InputError

PYTHON = (sys.executable, "-c", "from m8d.runtime.cli import main; main()", "convert")


def embedding(
    bundle: Bundle, program: Path, short: float, long: float, prompt: float, repeats: int, threads: int
) -> Result:
    """Times `program` (`m8d-convert`) and `m8d-run convert` on a short and on a long recording, in turns.

    What the long one takes longer, over the audio it has more of, is the real-time factor without start-up.

    Raises:
        InputError: `program` is not there or fails; lengths do not rise.
    """
    library = program.resolve().parent / "libm8d.so"
    if not program.is_file() or not library.is_file():
        raise InputError(f"{program}: expected m8d-convert beside its libm8d.so. Build both with `make cpp`.")
    if not 0 < short < long:
        raise InputError(f"Lengths: received {short} and {long} s, expected two that rise.")
    with tempfile.TemporaryDirectory() as folder:
        audio = {"reference": speech.reference(prompt), "short": speech.source(short), "long": speech.source(long)}
        for name, clip in audio.items():
            soundfile.write(f"{folder}/{name}.wav", clip.samples, clip.sample_rate)
        programs = {"C++": (str(program.resolve()),), "Python": PYTHON}
        timings = interleaved(
            {
                f"{name} {length}": _conversion(command, bundle, folder, length, threads)
                for name, command in programs.items()
                for length in ("short", "long")
            },
            repeats,
        )
    rows: list[Row] = []
    for name in programs:
        first, second = timings[f"{name} short"], timings[f"{name} long"]
        rtf = (second.median - first.median) / (long - short)
        rows.append({"program": name, f"{short:g} s of audio": first.median, f"{long:g} s of audio": second.median,
                     "spread": max(first.spread, second.spread), "RTF": rtf,
                     "start-up s": first.median - short * rtf})  # fmt: skip
    ours, theirs = rows
    figures = {
        "library bytes": library.stat().st_size,
        "RTF, Python over C++": theirs["RTF"] / ours["RTF"],
        "start-up, Python over C++": theirs["start-up s"] / ours["start-up s"],
    }
    settings = {"bundle": bundle.manifest.name, "prompt": prompt, "repeats": repeats, "warm_up": 1, "threads": threads}
    return Result("embedding", settings, {"Whole processes": rows}, figures)


def _conversion(command: Sequence[str], bundle: Bundle, folder: str, length: str, threads: int) -> Callable[[], None]:
    files = ["--source", f"{folder}/{length}.wav", "--reference", f"{folder}/reference.wav"]
    arguments = ["--bundle", str(bundle.folder), *files, "--output", f"{folder}/out.wav", "--threads", str(threads)]

    def convert() -> None:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{command[0]} failed: {done.stderr.strip()}")

    return convert
