"""One task in a process of its own, so that its start and its memory are its own: prints a JSON line.

`python -m m8d.benchmarks.probe STARTED TASK PATH SECONDS PROMPT LOW_MEMORY THREADS`, where STARTED is the clock when
the process was asked for. Imports what a user's program would, when it would.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from m8d.benchmarks.commands import peak_bytes
from m8d.engines.errors import M8DError

TASKS = ("runtime", "torch")


def run_probe(
    task: str, path: str, seconds: float, prompt: float, low_memory: bool = False, threads: int = 0
) -> dict[str, float]:
    """Seconds from process start to each milestone, and the peak of resident memory in bytes.

    `task` is `runtime` (`path` a bundle) or `torch` (`path` a checkpoint).
    """
    command = [sys.executable, "-m", "m8d.benchmarks.probe", repr(time.time()), task, path, str(seconds), str(prompt),
               str(int(low_memory)), str(threads)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise M8DError(f"Measuring {path} in a process of its own failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _runtime(path: str, seconds: float, prompt: float, low_memory: bool, threads: int, reached: Any) -> None:
    from m8d.runtime import Pipeline

    reached("imported")
    pipeline = Pipeline.load(path, provider="cpu", threads=threads, low_memory=low_memory)
    reached("opened")
    if not low_memory:
        pipeline.preload()
        reached("loaded")
    from m8d.benchmarks import speech

    source, reference = speech.source(seconds), speech.reference(prompt)
    pipeline.convert((source.samples, source.sample_rate), (reference.samples, reference.sample_rate))
    reached("first conversion")


def _torch(path: str, seconds: float, prompt: float, low_memory: bool, threads: int, reached: Any) -> None:
    from m8d.benchmarks import speech
    from m8d.benchmarks.baseline import Baseline
    from m8d.models.config import ModelConfig
    from m8d.runtime.sampling import SamplingOptions

    reached("imported")
    baseline = Baseline(Path(path), threads)
    reached("loaded")
    layers = ModelConfig.from_checkpoint(Path(path)).acoustic_decoder.num_quantizers
    options = SamplingOptions(40, (16, *[1] * (layers - 2)), 0.0, 2.5, 0.75, 1.5, 0.02, 2.0, "cosine")
    baseline.decode(speech.source(seconds), speech.reference(prompt), options)
    reached("first conversion")


def main() -> None:
    started, task, path, seconds, prompt, low_memory, threads = sys.argv[1:]
    milestones: dict[str, float] = {}

    def reached(name: str) -> None:
        milestones[name] = time.time() - float(started)

    run = {"runtime": _runtime, "torch": _torch}[task]
    run(path, float(seconds), float(prompt), bool(int(low_memory)), int(threads), reached)
    print(json.dumps({**milestones, "peak bytes": peak_bytes("self")}))


if __name__ == "__main__":
    main()
