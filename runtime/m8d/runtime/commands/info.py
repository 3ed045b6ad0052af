"""`m8d-run info`: what a bundle holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from m8d.engines.flags import command


@command
def info(
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Bundle folder. Default: built-in.")] = None,
    verify: Annotated[bool, typer.Option(help="Hash every file, also those too large to hash on each load.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a bundle's stages, sizes, sampling defaults and origin."""
    from dataclasses import asdict

    from m8d.engines.builtin import builtin_bundle
    from m8d.engines.bundle import Bundle
    from m8d.engines.summary import summary

    opened = Bundle.open(bundle) if bundle else builtin_bundle()
    if verify:
        opened.check_files()
    if as_json:
        typer.echo(json.dumps({"folder": str(opened.folder), **asdict(opened.manifest)}))
    else:
        typer.echo(summary(opened))
