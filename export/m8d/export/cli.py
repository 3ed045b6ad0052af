"""`m8d-export`: checkpoints to bundles. Heavy imports happen inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m8d.engines.flags import command
from m8d.export.plan_flags import PlanFlags
from m8d.models.errors import CheckpointError

if TYPE_CHECKING:
    from m8d.export.parity import StageParity

app = typer.Typer(
    name="m8d-export",
    help="Turn a checkpoint into a bundle of verified ONNX graphs, and look into bundles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

CACHE = Path("checkpoints")


def build(
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to make.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder. Default: download --repo.")] = None,
    repo: Annotated[str, typer.Option(help="Hugging Face repository in the MaskGCT layout.")] = "amphion/MaskGCT",
    revision: Annotated[str | None, typer.Option(help="Its commit, tag or branch. Default: the pinned commit.")] = None,
    cache: Annotated[Path, typer.Option(help="Where a download goes and resumes.")] = CACHE,
    name: Annotated[str | None, typer.Option(help="Name of the bundle. Default: the folder's.")] = None,
    notice: Annotated[str, typer.Option(help="One line that m8d-run prints whenever it uses the bundle.")] = "",
    without: Annotated[list[str] | None, typer.Option(help="Leave a part out: t2s.")] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            help="Phone table of text to speech, JSON. Default: the one that was downloaded with the weights."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32; fp16 or bf16 (for GPUs); int8 (integer products); fp16-storage, int8-storage (smaller files)."
        ),
    ] = "fp32",
    check_seconds: Annotated[float, typer.Option(help="Longest audio in the parity check.")] = 30.0,
    target: Annotated[
        str | None, typer.Option(help="Also build plans for tensorrt or tensorrt-rtx, see `engines`.")
    ] = None,
    *,
    plans: PlanFlags,
) -> None:
    """Export every stage, compare each with its module, and write the bundle if all agree."""
    from m8d.engines.errors import InputError
    from m8d.engines.version import VERSION
    from m8d.export.build import BuildOptions
    from m8d.export.build import build as build_bundle
    from m8d.export.precision import CHOICES
    from m8d.models.checkpoint import VOCABULARY_FILE, Checkpoint
    from m8d.models.download import download, sources

    for part in without or []:
        if part != "t2s":
            raise InputError(f"--without: received {part!r}, expected t2s.")
    if precision not in CHOICES:
        raise InputError(f"--precision: received {precision!r}, expected one of {', '.join(CHOICES)}.")
    plan_target = plans.target(target) if target else None  # refused before the work begins
    with_t2s = not without
    provenance = {"checkpoint": checkpoint.name if checkpoint else repo}
    if checkpoint is None:
        checkpoint = cache
        provenance = download(cache, sources(repo, revision, with_t2s))
    downloaded = checkpoint / VOCABULARY_FILE
    if with_t2s and vocabulary is None and downloaded.is_file():
        vocabulary = downloaded
    if with_t2s and vocabulary is None:
        typer.echo("no phone vocabulary: the bundle will not speak text. Name one with --vocabulary.", err=True)
    options = BuildOptions(
        name=name or output.name,
        created_by=f"m8d {VERSION}",
        provenance=provenance,
        notice=notice,
        with_t2s=with_t2s,
        vocabulary=vocabulary,
        precision=precision,
        max_seconds=check_seconds,
    )
    _header()
    build_bundle(Checkpoint(checkpoint), output, options, _row)
    typer.echo(f"wrote {output}")
    if plan_target:
        plans.build(output, plan_target)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint that it was built from.")],
    check_seconds: Annotated[float, typer.Option(help="Longest audio in the parity check.")] = 30.0,
) -> None:
    """Hash every file and repeat the parity check of every stage."""
    from m8d.engines.bundle import Bundle
    from m8d.engines.errors import BundleError
    from m8d.export.build import verify as verify_bundle
    from m8d.models.checkpoint import Checkpoint

    _header()
    failed = []
    for parity in verify_bundle(Bundle.open(bundle), Checkpoint(checkpoint), check_seconds):
        _row(parity)
        if not parity.passed:
            failed.append(parity.stage)
    if failed:
        raise BundleError(f"{bundle} is not what {checkpoint} computes: {', '.join(failed)}. Build it again.")
    typer.echo(f"{bundle} computes what {checkpoint} computes")


def inspect(bundle: Annotated[Path, typer.Argument(help="Bundle folder.")]) -> None:
    """Show a bundle's stages, inputs, outputs, sizes and hashes."""
    from m8d.engines.bundle import Bundle
    from m8d.engines.summary import summary

    typer.echo(summary(Bundle.open(bundle)))


def download(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoint goes; a second run resumes.")] = CACHE,
    repo: Annotated[str, typer.Option(help="Hugging Face repository in the MaskGCT layout.")] = "amphion/MaskGCT",
    revision: Annotated[str | None, typer.Option(help="Its commit, tag or branch. Default: the pinned commit.")] = None,
) -> None:
    """Fetch the published checkpoints (about 8 GB) and check every tensor's name and shape."""
    from m8d.models.download import download as fetch
    from m8d.models.download import sources

    for name, commit in fetch(folder, sources(repo, revision)).items():
        typer.echo(f"{name} at {commit}")


def engines(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    target: Annotated[str, typer.Option(help="tensorrt (on the GPU it is for) or tensorrt-rtx (anywhere).")],
    plans: PlanFlags,
) -> None:
    """Build TensorRT plans of every stage into the bundle, in its precision, without torch."""
    plans.build(bundle, plans.target(target))


def random(
    folder: Annotated[Path, typer.Argument(help="Checkpoint folder to make.")],
    size: Annotated[str, typer.Option(help="toy, or official (9 GB).")] = "toy",
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Make a checkpoint of random weights in the published layout, to try and to measure with."""
    from m8d.engines.errors import InputError
    from m8d.models.checkpoint import write_random_checkpoint
    from m8d.models.presets import PRESETS

    if size not in PRESETS:
        raise InputError(f"--size: received {size!r}, expected one of {', '.join(PRESETS)}.")
    if folder.exists():
        raise InputError(f"{folder} exists already. Remove it or name another folder.")
    write_random_checkpoint(folder, PRESETS[size], seed)
    typer.echo(f"wrote {folder}")


def _header() -> None:
    typer.echo(f"{'stage':22} {'precision':12} {'size':>10} {'max |d|':>9} {'codes':>7}  {'parity':6}")


def _row(parity: StageParity) -> None:
    from m8d.engines.summary import megabytes

    typer.echo(
        f"{parity.stage:22} {parity.precision:12} {megabytes(parity.bytes):>10} {parity.error:9.1e} "
        f"{parity.agreement:7.2%}  {'ok' if parity.passed else 'OFF'}"
    )


for function in (build, verify, inspect, engines, download, random):
    app.command()(command(function, mendable=(CheckpointError,)))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
