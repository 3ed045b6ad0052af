"""`python -m m8d.benchmarks`: measurements, each written as JSON, and the report they make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command

if TYPE_CHECKING:
    from m8d.benchmarks.results import Result
    from m8d.engines.bundle import Bundle

app = typer.Typer(
    name="python -m m8d.benchmarks",
    help="Measure a bundle on this machine. BUNDLE may be `builtin`. Every command prints its tables and, last, its "
    "figures as one JSON line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Bundles = Annotated[list[Path], typer.Argument(help="Bundle folders; the first is the one that figures are about.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Also run the torch pipeline with this checkpoint.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="JSON file to write.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 leaves it to the backends.")]


@dataclass(frozen=True)
class Speech:
    seconds: Annotated[float, typer.Option(help="Seconds of speech.")] = 2.0
    prompt: Annotated[float, typer.Option(help="Seconds of the reference.")] = 1.0
    threads: Threads = 0


def latency(
    bundles: Bundles,
    spoken: Speech,
    checkpoint: Checkpoint = None,
    repeats: Annotated[int, typer.Option(help="Timed rounds.")] = 3,
    quality: Annotated[list[str] | None, typer.Option(help="Schedules to convert with beside the default.")] = None,
    provider: Annotated[str, typer.Option(help="As in m8d-run.")] = "cpu",
    output: Output = None,
) -> None:
    """Time whole tasks and stages, beside the torch pipeline and the ceilings of this machine."""
    from m8d.benchmarks.latency import LatencyOptions
    from m8d.benchmarks.latency import latency as measure

    qualities = ("fast", "turbo") if quality is None else tuple(quality)
    options = LatencyOptions(spoken.seconds, spoken.prompt, repeats, qualities, provider, spoken.threads)
    _finish(measure(_open(bundles), checkpoint, options), output)


def memory(
    bundles: Bundles,
    spoken: Speech,
    checkpoint: Checkpoint = None,
    conversions: Annotated[int, typer.Option(help="Conversions of varying length to watch for growth.")] = 200,
    output: Output = None,
) -> None:
    """Measure peak memory, and growth over many conversions."""
    from m8d.benchmarks.memory import memory as measure

    _finish(measure(_open(bundles), checkpoint, spoken.seconds, spoken.prompt, conversions, spoken.threads), output)


def startup(
    bundles: Bundles,
    spoken: Speech,
    checkpoint: Checkpoint = None,
    repeats: Annotated[int, typer.Option(help="Timed rounds.")] = 3,
    output: Output = None,
) -> None:
    """Time import, loading and the first conversion in new processes."""
    from m8d.benchmarks.startup import startup as measure

    _finish(measure(_open(bundles), checkpoint, spoken.seconds, spoken.prompt, repeats, spoken.threads), output)


def parity(bundles: Bundles, spoken: Speech, output: Output = None) -> None:
    """Compare bundles of smaller precisions with the first, stage by stage and as a whole."""
    from m8d.benchmarks.parity import parity as measure

    first, *others = _open(bundles)
    if not others:
        raise InputError("parity compares bundles with the first: received one, expected two or more.")
    _finish(measure(first, others, spoken.seconds, spoken.prompt, spoken.threads), output)


def scaling(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    seconds: Annotated[list[float] | None, typer.Option(help="A length; repeat for more.")] = None,
    prompt: Annotated[float, typer.Option(help="Seconds of the reference.")] = 1.0,
    quality: Annotated[str, typer.Option(help="Schedule, see m8d-run convert.")] = "default",
    repeats: Annotated[int, typer.Option(help="Timed rounds.")] = 3,
    threads: Threads = 0,
    output: Output = None,
) -> None:
    """Measure how cost grows with length."""
    from m8d.benchmarks.scaling import scaling as measure

    lengths = sorted(seconds or [1.0, 2.0, 4.0, 8.0])
    if len(lengths) < 2:
        raise InputError("scaling fits a line: received one --seconds, expected two or more.")
    _finish(measure(_open([bundle])[0], lengths, prompt, quality, repeats, threads), output)


def throughput(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    files: Annotated[int, typer.Option(help="Recordings of the corpus.")] = 200,
    seconds: Annotated[float, typer.Option(help="Length of one, on average.")] = 5.0,
    actors: Annotated[list[int] | None, typer.Option(help="Ray actors to compare with; repeat for more.")] = None,
    output: Output = None,
) -> None:
    """Time m8d-run extract over a corpus, in one process and on Ray."""
    from m8d.benchmarks.throughput import throughput as measure

    _finish(measure(_open([bundle])[0], files, seconds, actors or []), output)


def long(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    seconds: Annotated[float, typer.Option(help="Length of the recording.")] = 1200.0,
    quality: Annotated[str, typer.Option(help="Schedule, see m8d-run convert.")] = "turbo",
    threads: Threads = 0,
    output: Output = None,
) -> None:
    """Measure what long recordings and streams cost in time, memory and accuracy."""
    from m8d.benchmarks.long import long as measure

    _finish(measure(_open([bundle])[0], seconds, quality, threads), output)


def embedding(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    spoken: Speech,
    program: Annotated[Path, typer.Option(help="m8d-convert, beside its libm8d.so.")] = Path("build/cpp/m8d-convert"),
    long: Annotated[float, typer.Option(help="Seconds of the longer recording.")] = 20.0,
    repeats: Annotated[int, typer.Option(help="Timed rounds.")] = 3,
    output: Output = None,
) -> None:
    """Time the C++ program beside the Python command, in whole processes."""
    from m8d.benchmarks.embedding import embedding as measure

    opened = _open([bundle])[0]
    _finish(measure(opened, program, spoken.seconds, long, spoken.prompt, repeats, spoken.threads), output)


def quality(
    bundles: Bundles,
    speech: Annotated[Path, typer.Option(help="Folder of `python -m m8d.models.training corpus`, or of `recordings`.")],
    split: Annotated[str, typer.Option(help="Its split: seen or unseen speakers, or real recordings.")] = "unseen",
    count: Annotated[int, typer.Option(help="Clips to judge.")] = 24,
    schedules: Annotated[list[str] | None, typer.Option("--quality", help="Schedules to convert with.")] = None,
    whisper: Annotated[Path | None, typer.Option(help="CTranslate2 folder of the recogniser.")] = None,
    threads: Threads = 0,
    output: Output = None,
) -> None:
    """Judge reconstruction, conversion and speech from text: words, voice, cleanness."""
    from m8d.benchmarks.judges import Judges
    from m8d.benchmarks.quality import quality as measure

    names = tuple(schedules or ("default", "fast", "turbo"))
    _finish(measure(_open(bundles), speech, split, count, names, Judges(whisper), threads), output)


def recordings(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make, for `quality --split real`.")],
) -> None:
    """Gather real recordings from Debian packages."""
    from m8d.benchmarks.recordings import make_recordings

    typer.echo(f"wrote {make_recordings(output)} recordings to {output}")


def spectrograms(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")],
) -> None:
    """Draw the demo's source, its reference and what the bundle makes of them."""
    from m8d.benchmarks.spectrograms import draw_conversion

    draw_conversion(_open([bundle])[0], output)
    typer.echo(f"wrote {output}")


def project(
    latency_result: Annotated[Path, typer.Argument(help="JSON that `latency --output` wrote.")], output: Output = None
) -> None:
    """Estimate, on paper, what the measured conversion costs on other devices."""
    from m8d.benchmarks.projection import projection
    from m8d.benchmarks.results import read_result

    _finish(projection(read_result(latency_result)), output)


def gpu_check(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder; plans that it lacks for this GPU are built into it.")],
    reference: Annotated[Path | None, typer.Option(help="The same in fp32, where BUNDLE is not.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="cuda, tensorrt or tensorrt-rtx. Default: all.")] = None,
    device: Annotated[int, typer.Option(help="Index of the GPU.")] = 0,
    output: Output = None,
) -> None:
    """Check on a GPU what only a GPU can show; exit status 2 when a check fails."""
    from m8d.benchmarks.gpu_check import GPU_PROVIDERS, GpuOptions
    from m8d.benchmarks.gpu_check import gpu_check as check
    from m8d.engines.errors import ProviderError

    options = GpuOptions(tuple(provider or GPU_PROVIDERS), device)
    result = check(_open([bundle])[0], _open([reference or bundle])[0], options)
    _finish(result, output)
    if result.figures["failed"]:
        raise ProviderError(f"{result.figures['failed']} of {result.figures['checks']} checks failed, see the table.")


def report(
    results: Annotated[list[Path], typer.Argument(help="JSON files that --output wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for report.md, report.html and the plots.")],
) -> None:
    """Make a Markdown and an HTML page of results, with plots."""
    from m8d.benchmarks.report import write_report
    from m8d.benchmarks.results import read_result

    write_report([read_result(path) for path in results], output)
    typer.echo(f"wrote {output / 'report.md'} and {output / 'report.html'}")


COMMANDS = (
    latency,
    memory,
    startup,
    parity,
    scaling,
    throughput,
    long,
    embedding,
    quality,
    recordings,
    spectrograms,
    project,
    gpu_check,
    report,
)

for function in COMMANDS:
    app.command(function.__name__.replace("_", "-"))(command(function))


def _open(paths: list[Path]) -> list[Bundle]:
    from m8d.engines.builtin import builtin_bundle
    from m8d.engines.bundle import Bundle

    bundles = [builtin_bundle() if str(path) == "builtin" else Bundle.open(path) for path in paths]
    names = [bundle.manifest.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise InputError(f"Bundles need names of their own: received {', '.join(names)}. Build with --name.")
    return bundles


def _finish(result: Result, output: Path | None) -> None:
    from m8d.benchmarks.report import markdown_tables

    typer.echo(markdown_tables(result))
    if output:
        result.write(output)
    typer.echo(json.dumps(result.figures))


if __name__ == "__main__":
    app()
