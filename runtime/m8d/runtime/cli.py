"""`m8d-run`: speech in, speech or latents out. Heavy imports happen inside the commands."""

from __future__ import annotations

import typer

from m8d.runtime.commands.convert import convert, reconstruct
from m8d.runtime.commands.doctor import doctor
from m8d.runtime.commands.extract import extract
from m8d.runtime.commands.info import info
from m8d.runtime.commands.latents import decode, encode, interpolate
from m8d.runtime.commands.stream import stream
from m8d.runtime.commands.tts import tts
from m8d.runtime.commands.voice import voice

app = typer.Typer(
    name="m8d-run",
    help="Convert voices, encode speech to 8-D latents and decode it again, without PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (convert, reconstruct, stream, tts, encode, decode, interpolate, extract, voice, info, doctor):
    app.command()(function)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
