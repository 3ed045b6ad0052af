"""`python -m m8d.models.training`: every step of the recipe, and all of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="python -m m8d.models.training",
    help="Train a small checkpoint on synthetic speech. Every step goes on from where it was stopped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Work = Annotated[Path, typer.Option(help="Folder of the corpus, the checkpoints and the logs.")]
Minutes = Annotated[float, typer.Option(help="Training time of the step in all, earlier runs included.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]
DecayFrom = Annotated[
    int | None, typer.Option(help="Step from which the learning rate falls: the last third of the training.")
]
HalfLife = Annotated[int, typer.Option(help="Steps in which the falling learning rate halves.")]
Bfloat16 = Annotated[
    bool, typer.Option("--bfloat16", help="Multiply in bfloat16: half the time where the processor has it.")
]
DEFAULT_WORK = Path("work/training")
NEVER = sys.maxsize  # as a step
HALF_LIFE = 2500  # steps
MINUTES = {"features": 60.0, "latents": 25.0, "codec": 180.0, "s2a_1layer": 120.0, "s2a_full": 120.0, "t2s": 60.0}


def run_steps(
    work: Path,
    minutes: dict[str, float],
    threads: int,
    decay_from: int | None = None,
    freeze_codebooks_at: int = NEVER,
    freeze_at: int = NEVER,
    half_life: int = HALF_LIFE,
    bfloat16: bool = False,
) -> None:
    import torch

    from m8d.models.training.codec import Freezing
    from m8d.models.training.loop import LoopOptions
    from m8d.models.training.recipe import Recipe

    torch.set_num_threads(threads)
    options = LoopOptions(decay_from=decay_from, half_life=half_life, bfloat16=bfloat16)
    recipe = Recipe(work, options=options, freezing=Freezing(freeze_codebooks_at, freeze_at))
    for step, budget in minutes.items():
        typer.echo(f"{step}: until {budget:g} minutes")
        recipe.train(step, budget)


@app.command()
def corpus(
    work: Work = DEFAULT_WORK,
    text: Annotated[Path | None, typer.Option(help="Folder of fortune files. Default: Debian's.")] = None,
    seed: Annotated[int, typer.Option(help="Draws speakers, sentences and what is held out.")] = 0,
    scale: Annotated[float, typer.Option(help="Factor on the hours of speech.")] = 1.0,
) -> None:
    """Speak the corpus (needs flite, libespeak-ng, fortunes of Debian and hibari-tts of PyPI)."""
    from m8d.models.training.corpus import FORTUNES, make_corpus

    make_corpus(work / "corpus", text or FORTUNES, seed, scale)


@app.command()
def semantics(
    work: Work = DEFAULT_WORK,
    features_minutes: Minutes = MINUTES["features"],
    latents_minutes: Minutes = MINUTES["latents"],
    threads: Threads = 1,
) -> None:
    """Train W2V-BERT on phones, then RepCodec on its features."""
    run_steps(work, {"features": features_minutes, "latents": latents_minutes}, threads)


@app.command()
def codec(
    work: Work = DEFAULT_WORK,
    minutes: Minutes = MINUTES["codec"],
    freeze_codebooks_at: Annotated[
        int,
        typer.Option(
            show_default=False,
            help="Step from which codes keep what they stand for, while the encoder learns to choose.",
        ),
    ] = NEVER,
    freeze_at: Annotated[
        int,
        typer.Option(
            show_default=False, help="Step from which the codes stay and only the decoder learns: S2A can begin."
        ),
    ] = NEVER,
    decay_from: DecayFrom = None,
    threads: Threads = 1,
) -> None:
    """Train the acoustic encoder, quantizers and decoder."""
    run_steps(work, {"codec": minutes}, threads, decay_from, freeze_codebooks_at, freeze_at)


@app.command()
def s2a(
    work: Work = DEFAULT_WORK,
    coarse_minutes: Minutes = MINUTES["s2a_1layer"],
    fine_minutes: Minutes = MINUTES["s2a_full"],
    decay_from: DecayFrom = None,
    half_life: HalfLife = HALF_LIFE,
    bfloat16: Bfloat16 = False,
    threads: Threads = 1,
) -> None:
    """Train the 1-layer and the full S2A model on the codes of the encoders as they are."""
    minutes = {"s2a_1layer": coarse_minutes, "s2a_full": fine_minutes}
    run_steps(work, minutes, threads, decay_from, half_life=half_life, bfloat16=bfloat16)


@app.command()
def t2s(
    work: Work = DEFAULT_WORK,
    minutes: Minutes = MINUTES["t2s"],
    decay_from: DecayFrom = None,
    half_life: HalfLife = HALF_LIFE,
    bfloat16: Bfloat16 = False,
    threads: Threads = 1,
) -> None:
    """Train T2S."""
    run_steps(work, {"t2s": minutes}, threads, decay_from, half_life=half_life, bfloat16=bfloat16)


@app.command("all")
def everything(
    work: Work = DEFAULT_WORK,
    scale: Annotated[float, typer.Option(help="Factor on every step's minutes.")] = 1.0,
    threads: Threads = 1,
) -> None:
    """Corpus and every training step in order; what is finished is passed over."""
    corpus(work)
    run_steps(work, {step: budget * scale for step, budget in MINUTES.items()}, threads)


@app.command()
def status(work: Work = DEFAULT_WORK) -> None:
    """Print how long each step has trained and its latest figures on held-out speech, as JSON lines."""
    import json

    from m8d.models.training.recipe import STEPS, Recipe

    progress = Recipe(work).progress()
    for step in STEPS:
        log = work / step / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        figures = next((line for line in reversed(lines) if any(key.startswith("eval/") for key in line)), {})
        typer.echo(json.dumps({"name": step, **progress.get(step, {}), **figures}))


@app.command()
def probe(work: Work = DEFAULT_WORK) -> None:
    """Measure how much of the speaker the latents still tell, as a JSON line."""
    import json

    from m8d.models.training.recipe import Recipe

    typer.echo(json.dumps(Recipe(work).probe()))


@app.command()
def package(
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to make.")],
    work: Work = DEFAULT_WORK,
) -> None:
    """Write the trained stages as a checkpoint in the published layout, in FP16."""
    from m8d.models.errors import CheckpointError
    from m8d.models.training.recipe import Recipe

    try:
        untrained = Recipe(work).package(output)
    except CheckpointError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"wrote {output}" + (f" with random weights in {', '.join(untrained)}" if untrained else ""))


if __name__ == "__main__":
    app()
