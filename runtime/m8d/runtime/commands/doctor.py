"""`m8d-run doctor`: what is usable here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from m8d.engines.flags import command


@command
def doctor(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder. Default: the built-in one.")] = None,
    device: Annotated[int, typer.Option(help="Index of the GPU.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is installed and usable, and what to do about what is not."""
    from dataclasses import asdict

    from m8d.engines.doctor import diagnose

    diagnosis = diagnose(bundle, device)
    if as_json:
        typer.echo(json.dumps(asdict(diagnosis)))
        return
    for finding in diagnosis.findings:
        typer.echo(f"{finding.state:8} {finding.subject:21} {finding.detail}")
        if finding.remedy:
            typer.echo(f"{'':8} {'':21} -> {finding.remedy}")
    if diagnosis.usable:
        first, *others = diagnosis.usable
        also = f"; also usable: {', '.join(others)}" if others else ""
        typer.echo(f"\n--provider auto takes {first}{also}")
    else:
        typer.echo("\nnothing can run this bundle here; begin with what is broken, then with what is missing")
