"""`m8d-run tts`: text to audio."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command
from m8d.runtime.commands.options import RunFlags, SamplingFlags


@dataclass(frozen=True)
class TextFlags:
    """What is said; exactly one of the first two, and one of the next two."""

    text: Annotated[str | None, typer.Option("--text", "-t", help="What is said.")] = None
    text_file: Annotated[
        str | None, typer.Option(help="The same from a UTF-8 file, or - for stdin; empty lines part paragraphs.")
    ] = None
    prompt_text: Annotated[str | None, typer.Option("--prompt-text", "-p", help="What the reference says.")] = None
    transcribe: Annotated[bool, typer.Option("--transcribe", help="Let Whisper hear what the reference says.")] = False
    transcribe_model: Annotated[str, typer.Option(help="Size of Whisper, or a CTranslate2 model's folder.")] = "base"

    def check(self) -> None:
        if (self.text is None) == (self.text_file is None):
            raise InputError("Expected either --text or --text-file.")
        if (self.prompt_text is None) != self.transcribe:
            raise InputError(
                "Text to speech needs to know what the reference says: expected either --prompt-text or --transcribe."
            )

    def read(self) -> str:
        if self.text is not None:
            return self.text
        name = str(self.text_file)
        try:
            return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"Cannot read the text file {name}: {error}. Expected UTF-8 text.") from error


@dataclass(frozen=True)
class SpeakingFlags:
    """How it is said."""

    language: Annotated[str, typer.Option(help="Of the text: en, de, fr or ko.")] = "en"
    prompt_language: Annotated[str | None, typer.Option(help="Of the reference. Default: --language.")] = None
    duration: Annotated[float | None, typer.Option(help="Seconds of the whole. Default: the reference's pace.")] = None
    speed: Annotated[float, typer.Option(help="2 is twice as fast as the reference.")] = 1.0
    pause: Annotated[float, typer.Option(help="Seconds of silence between pieces of longer text.")] = 0.15
    t2s_steps: Annotated[int | None, typer.Option(help="Steps of T2S decoding. Default: the bundle's.")] = None
    t2s_guidance: Annotated[float | None, typer.Option(help="Guidance of T2S; 0 is none.")] = None


@command
def tts(
    reference: Annotated[str, typer.Option("--reference", "-r", help="The voice: an audio file of 2 to 10 s.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Audio file to write, or - for WAV on stdout.")],
    words: TextFlags,
    speaking: SpeakingFlags,
    run: RunFlags,
    sampling: SamplingFlags,
) -> None:
    """Say a text in the voice of REFERENCE."""
    words.check()
    from m8d.runtime.audio import load_audio, save_audio
    from m8d.runtime.commands.job import Job
    from m8d.runtime.speaker import total_steps
    from m8d.runtime.text.transcription import transcribe

    text, voice = words.read(), load_audio(reference)
    job = Job(run, output)
    pipeline, speaker = job.pipeline, job.pipeline.speaker
    options = pipeline.speaking(
        language=speaking.language,
        prompt_language=speaking.prompt_language,
        duration=speaking.duration,
        speed=speaking.speed,
        pause=speaking.pause,
        steps=speaking.t2s_steps,
        guidance=speaking.t2s_guidance,
    )
    decoding = sampling.options(pipeline, pipeline.speech_sampling)
    speaker.phone_ids(text, options.language)  # refuses what cannot be said before the work begins
    prompt_text = words.prompt_text
    if prompt_text is None:
        prompt_text = transcribe(voice, options.prompt_language or options.language, words.transcribe_model)
        if not run.quiet:
            print(f"the reference says: {prompt_text}", file=sys.stderr)
    prompt = pipeline.prompt(voice, prompt_text, options)
    script = speaker.script(text, prompt, options)
    if prompt.pace != prompt.measured_pace and options.duration is None and not run.quiet:
        print(
            f"the reference has {prompt.measured_pace:.1f} frames per phone, {prompt.pace:g} are used: "
            "is --prompt-text what it says, and is it free of long silence?",
            file=sys.stderr,
        )
    with job.bar(total_steps(script, options, decoding)) as progress:
        speech = speaker.speak(script, prompt, options, decoding, progress)
    save_audio(output, speech.audio)
    job.finish([output], speech.audio.seconds, pieces=[piece.text for piece in script], prompt_text=prompt_text)
