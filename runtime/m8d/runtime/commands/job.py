"""One run of a command: pipeline, progress and the summary at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tqdm import tqdm

from m8d.engines.errors import InputError
from m8d.runtime.audio import STANDARD_STREAM
from m8d.runtime.commands.options import RunFlags
from m8d.runtime.decoder import total_steps
from m8d.runtime.long_audio import expected_blocks
from m8d.runtime.masked_decoding import Progress
from m8d.runtime.pipeline import Pipeline
from m8d.runtime.sampling import SamplingOptions


class Job:
    """Opens the pipeline that the flags name and prints, unless quiet, what it is."""

    def __init__(self, flags: RunFlags, *outputs: str | None) -> None:
        if flags.json and STANDARD_STREAM in outputs:
            raise InputError("--json and an output of - both want standard output. Write to a file, or drop --json.")
        self.flags = flags
        self.start = time.perf_counter()
        self.pipeline = Pipeline.load(
            flags.bundle, flags.provider, flags.device, flags.threads, flags.low_memory, flags.tf32
        )
        notice = self.pipeline.bundle.manifest.notice
        if notice and not flags.quiet:
            print(notice, file=sys.stderr)

    def progress(self, options: SamplingOptions, seconds: float) -> AbstractContextManager[Progress]:
        """A bar over the steps of decoding `seconds` of speech."""
        return self.bar(total_steps(options) * expected_blocks(seconds))

    @contextmanager
    def bar(self, steps: int) -> Iterator[Progress]:
        """A bar over masked-decoding steps, on a terminal only."""
        hidden = True if self.flags.quiet else None  # None: hidden when not a terminal
        with tqdm(total=steps, unit="step", desc="decoding", disable=hidden, leave=False) as bar:
            yield bar.update

    def finish(self, wrote: list[str], audio_seconds: float | None = None, **details: Any) -> None:
        """Prints the summary: JSON to standard output with --json, else one line to standard error."""
        elapsed = time.perf_counter() - self.start
        sessions = self.pipeline.sessions
        if self.flags.json:
            summary = {
                "wrote": wrote,
                "audio_seconds": audio_seconds,
                "elapsed_seconds": round(elapsed, 4),
                "provider": sessions.provider,
                "provider_reason": sessions.reason,
                "bundle": self.pipeline.bundle.manifest.name,
                "stage_seconds": {name: round(seconds, 4) for name, seconds in sessions.seconds.items()},
                **details,
            }
            print(json.dumps(summary))
        elif not self.flags.quiet:
            speed = f", {elapsed / audio_seconds:.2f} s per second of audio" if audio_seconds else ""
            took = f"{sessions.provider} (auto)" if self.flags.provider == "auto" else sessions.provider
            print(f"wrote {', '.join(wrote)} in {elapsed:.1f} s on {took}{speed}", file=sys.stderr)
