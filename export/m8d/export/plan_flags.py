"""How `m8d-export` is told about TensorRT plans, and the table that it prints of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from m8d.engines.tensorrt.targets import Target


@dataclass(frozen=True)
class PlanFlags:
    """What plans are built for, and how."""

    compute_capability: Annotated[
        list[str] | None, typer.Option(help="For tensorrt-rtx: such as 8.9; repeat for more.")
    ] = None
    max_seconds: Annotated[
        list[float] | None, typer.Option(help="Longest audio of a call, 30 by default; repeat for buckets of lengths.")
    ] = None
    max_batch: Annotated[int, typer.Option(help="Most items of a call.")] = 1
    optimization_level: Annotated[int | None, typer.Option(min=0, max=5, help="0 builds fast, 5 runs fast.")] = None
    workspace: Annotated[int | None, typer.Option(min=1, help="MiB of scratch memory for kernels.")] = None
    tf32: Annotated[bool, typer.Option("--tf32", help="TensorFloat-32 products: faster, some codes change.")] = False

    def target(self, name: str) -> Target:
        """Raises `ProviderError` or `InputError` when plans for it cannot be built here."""
        from m8d.engines.tensorrt.targets import resolve_target

        return resolve_target(name, tuple(self.compute_capability or ()))

    def build(self, bundle: Path, target: Target) -> None:
        """Builds the plans of every stage and prints a row for each."""
        from m8d.engines.bundle import Bundle
        from m8d.engines.summary import megabytes
        from m8d.engines.tensorrt.builder import BuilderOptions
        from m8d.engines.tensorrt.plans import build_plans
        from m8d.engines.tensorrt.profiles import ProfileLimits

        folder = build_plans(
            Bundle.open(bundle),
            target,
            ProfileLimits(tuple(self.max_seconds or (30.0,)), self.max_batch),
            BuilderOptions(self.optimization_level, self.workspace, self.tf32),
            lambda line: typer.echo(
                f"{line.stage:22} {line.precision:12} {megabytes(line.bytes):>10} {line.seconds:7.1f} s"
            ),
        )
        typer.echo(f"plans are in {folder}")
