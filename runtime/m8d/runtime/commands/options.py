"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m8d.engines.errors import InputError

if TYPE_CHECKING:
    from m8d.runtime.pipeline import Pipeline
    from m8d.runtime.sampling import SamplingOptions


@dataclass(frozen=True)
class RunFlags:
    """Where and how stages run, and what is printed."""

    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Bundle folder. Default: the built-in one.")] = (
        None
    )
    provider: Annotated[
        str, typer.Option(help="auto, cpu, cuda, tensorrt or tensorrt-rtx. A named one is used or refused.")
    ] = "auto"  # fmt: skip
    device: Annotated[int, typer.Option(help="Index of the GPU.")] = 0
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of a stage; 0 leaves it to the backend.")] = 0
    tf32: Annotated[bool, typer.Option("--tf32", help="TensorFloat-32 on CUDA: faster, some codes change.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep one stage in memory at a time; slower when run again.")
    ] = False
    json: Annotated[bool, typer.Option("--json", help="Print a summary with stage times as JSON.")] = False


@dataclass(frozen=True)
class SamplingFlags:
    """How codes are sampled; what is not given is the bundle's default."""

    seed: Annotated[int, typer.Option(help="Seed of the noise: the same seed gives the same audio.")] = 0
    quality: Annotated[str, typer.Option(help="best, default, fast or turbo: fewer steps, less time.")] = "default"
    layer_steps: Annotated[
        str | None, typer.Option(help="Steps of each layer, e.g. 40,16,1: the last number holds for all that follow.")
    ] = None
    guidance: Annotated[
        str | None, typer.Option(help="Guidance of the 1-layer and the full model, e.g. 0,2.5; 0 is none.")
    ] = None
    rescale: Annotated[float | None, typer.Option(help="Share of guidance rescaling, 0 to 1.")] = None
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature at the first step.")] = None
    top_k: Annotated[float | None, typer.Option(help="Share of the codes that can be sampled, e.g. 0.02.")] = None
    prompt_seconds: Annotated[float | None, typer.Option(help="How much of the reference is used.")] = None
    latent_metric: Annotated[
        str | None, typer.Option(help="cosine, or euclidean to reproduce the reference wrapper's decoder.")
    ] = None

    def options(self, pipeline: Pipeline, defaults: Callable[..., SamplingOptions] | None = None) -> SamplingOptions:
        """What was given, over `defaults` of the pipeline, `pipeline.sampling` where they are not named."""
        from m8d.runtime.quality import schedule

        layers = pipeline.bundle.manifest.model.num_quantizers
        steps = numbers(self.layer_steps, "--layer-steps", int, layers)
        guidance = numbers(self.guidance, "--guidance", float, 2)
        given = dict(
            seed=self.seed,
            coarse_steps=steps and int(steps[0]),
            fine_steps=steps and tuple(int(n) for n in steps[1:]),
            coarse_guidance=guidance and guidance[0],
            fine_guidance=guidance and guidance[1],
            rescale=self.rescale,
            temperature=self.temperature,
            top_k_ratio=self.top_k,
            prompt_seconds=self.prompt_seconds,
            latent_metric=self.latent_metric,
        )
        named = schedule(self.quality, layers)
        return (defaults or pipeline.sampling)(**{**named, **{k: v for k, v in given.items() if v is not None}})


def numbers(text: str | None, flag: str, kind: type, count: int) -> list[float] | None:
    """Comma-separated numbers, the last one repeated up to `count`."""
    if text is None:
        return None
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not 0 < len(values) <= count:
        raise InputError(f"{flag}: received {text!r}, expected 1 to {count} numbers with commas between them.")
    return values + values[-1:] * (count - len(values))
