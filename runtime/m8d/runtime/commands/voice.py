"""`m8d-run voice`, and how commands are given a voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command
from m8d.runtime.commands.options import RunFlags

if TYPE_CHECKING:
    from m8d.runtime.decoder import Voice
    from m8d.runtime.pipeline import Pipeline


@dataclass(frozen=True)
class VoiceFlags:
    """Who speaks: a reference to encode, or a voice encoded before."""

    reference: Annotated[
        str | None, typer.Option("--reference", "-r", help="The voice: an audio file of 1 to 2 s or more.")
    ] = None
    voice: Annotated[str | None, typer.Option(help="The voice: a file that `m8d-run voice` made.")] = None

    def load(self, pipeline: Pipeline) -> Voice | None:
        from m8d.runtime.audio import load_audio
        from m8d.runtime.voice_file import load_voice

        if self.reference and self.voice:
            raise InputError("--reference and --voice both name a voice. Give one of them.")
        if self.voice:
            return load_voice(self.voice, pipeline.bundle.manifest.model)
        return pipeline.voice(load_audio(self.reference)) if self.reference else None


@command
def voice(
    reference: Annotated[str, typer.Argument(help="Audio file of the voice, 1 to 2 s or more, or - for stdin.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Voice file to write, .npz.")],
    run: RunFlags,
) -> None:
    """Encode a reference voice once, for any number of conversions."""
    from m8d.runtime.audio import load_audio
    from m8d.runtime.commands.job import Job
    from m8d.runtime.voice_file import save_voice

    job = Job(run, output)
    spoken = load_audio(reference)
    encoded = job.pipeline.voice(spoken)
    save_voice(output, encoded)
    job.finish([output], spoken.seconds, frames=len(encoded.semantic_codes))
