"""`m8d-run stream`: live conversion from standard input to standard output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command
from m8d.runtime.commands.options import RunFlags, SamplingFlags
from m8d.runtime.commands.voice import VoiceFlags

READ_SECONDS = 0.05  # of audio asked of standard input at a time
BYTES = 2  # of a 16-bit sample


@dataclass(frozen=True)
class BlockFlags:
    """How the stream is cut; see `StreamOptions`."""

    block: Annotated[float, typer.Option(help="Seconds converted at a time.")] = 1.0
    look_ahead: Annotated[float, typer.Option(help="Seconds the encoder hears after a block.")] = 0.3
    context: Annotated[float, typer.Option(help="Seconds it hears before, and S2A goes on from.")] = 2.0
    hold: Annotated[float, typer.Option(help="Seconds of a block's end decoded again with the next.")] = 0.1


@command
def stream(
    run: RunFlags,
    sampling: SamplingFlags,
    speaker: VoiceFlags,
    blocks: BlockFlags,
    rate: Annotated[int, typer.Option(help="Sample rate of raw input, Hz; WAV input says its own.")] = 24000,
    raw: Annotated[bool, typer.Option("--raw", help="Write raw samples without a WAV header.")] = False,
) -> None:
    """Convert speech from standard input as it arrives: 16-bit mono PCM, raw or WAV, to 24 kHz on standard output."""
    import dataclasses
    import sys

    import numpy as np

    from m8d.runtime.commands.job import Job
    from m8d.runtime.streaming import StreamOptions
    from m8d.runtime.wav_stream import read_wav_rate, wav_header

    if run.json:
        raise InputError("stream writes audio to standard output: --json wants it too. Drop --json.")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    options = StreamOptions(**dataclasses.asdict(blocks))
    job = Job(run)
    begin, rate = read_wav_rate(source, rate)
    live = job.pipeline.stream(speaker.load(job.pipeline), rate, options, sampling.options(job.pipeline))
    if not raw:
        sink.write(wav_header(live.sample_rate))

    def write(sound: np.ndarray) -> None:
        sink.write((np.clip(sound, -1, 1) * (2**15 - 1)).astype("<i2").tobytes())
        sink.flush()

    pending, size = begin, round(READ_SECONDS * rate) * BYTES
    while chunk := source.read1(size):
        pending += chunk
        whole = len(pending) // BYTES * BYTES
        write(live.push(np.frombuffer(pending[:whole], "<i2")) if whole else np.zeros(0, np.float32))
        pending = pending[whole:]
    write(live.finish())
    if not run.quiet:
        said = sum(timing.audio for timing in live.timings)
        slowest = max((timing.computing / timing.audio for timing in live.timings), default=0.0)
        computing = sum(timing.computing for timing in live.timings)
        print(
            f"{said:.1f} s in {len(live.timings)} blocks, algorithmic delay {live.delay:.2f} s, computing "
            f"{computing / max(said, 1e-9):.2f} s per second of audio, slowest block {slowest:.2f}", file=sys.stderr,
        )  # fmt: skip
