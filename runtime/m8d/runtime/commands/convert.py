"""`m8d-run convert` and `reconstruct`: audio to audio."""

from __future__ import annotations

from typing import Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command
from m8d.runtime.commands.options import RunFlags, SamplingFlags
from m8d.runtime.commands.voice import VoiceFlags


@command
def convert(
    source: Annotated[str, typer.Option("--source", "-s", help="What is said: an audio file, or - for stdin.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Audio file to write, or - for WAV on stdout.")],
    speaker: VoiceFlags,
    run: RunFlags,
    sampling: SamplingFlags,
    save_codes: Annotated[str | None, typer.Option(help="Also write the acoustic codes (T, Q) as .npy.")] = None,
) -> None:
    """Say what a source says in another voice."""
    from m8d.runtime.audio import load_audio, save_array, save_audio
    from m8d.runtime.commands.job import Job

    job = Job(run, output)
    pipeline, options = job.pipeline, sampling.options(job.pipeline)
    spoken, voice = load_audio(source), speaker.load(pipeline)
    if voice is None:
        raise InputError("convert needs a voice: give --reference or --voice. Without one, use `m8d-run reconstruct`.")
    with job.progress(options, spoken.seconds) as progress:
        result = pipeline.revoice(spoken, voice, options, progress)
    save_audio(output, result.audio)
    if save_codes:
        save_array(save_codes, result.acoustic_codes)
    job.finish([output, *filter(None, [save_codes])], result.audio.seconds, frames=len(result.acoustic_codes))


@command
def reconstruct(
    audio: Annotated[str, typer.Argument(help="Audio file, or - for stdin.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Audio file to write, or - for WAV on stdout.")],
    run: RunFlags,
    sampling: SamplingFlags,
) -> None:
    """Encode AUDIO to latents and decode them again, without a voice."""
    from m8d.runtime.audio import load_audio, save_audio
    from m8d.runtime.commands.job import Job

    job = Job(run, output)
    options = sampling.options(job.pipeline)
    spoken = load_audio(audio)
    with job.progress(options, spoken.seconds) as progress:
        result = job.pipeline.revoice(spoken, None, options, progress)
    save_audio(output, result.audio)
    job.finish([output], result.audio.seconds, frames=len(result.acoustic_codes))
