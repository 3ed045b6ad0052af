"""How long encoding, reconstructing and converting take, as a whole and stage by stage, beside what limits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m8d.benchmarks import speech
from m8d.benchmarks.cost import profile
from m8d.benchmarks.machine import Ceilings, ceilings
from m8d.benchmarks.recording import Recording, record_conversion
from m8d.benchmarks.results import Result, Row
from m8d.benchmarks.timing import Timing, interleaved
from m8d.engines.bundle import Bundle
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline
from m8d.runtime.quality import schedule

BACKBONES = ("s2a_1layer_backbone", "s2a_full_backbone")
TOP_OPERATORS = 6


@dataclass(frozen=True)
class LatencyOptions:
    """`seconds` of speech, `prompt` of reference; `qualities` beside the default are converted with too."""

    seconds: float = 2.0
    prompt: float = 1.0
    repeats: int = 3
    qualities: tuple[str, ...] = ("fast", "turbo")
    provider: str = "cpu"
    threads: int = 0


def latency(bundles: list[Bundle], checkpoint: Path | None, options: LatencyOptions) -> Result:
    """Times every task with every bundle, and with the torch pipeline where there is a checkpoint, turn by turn.

    Stage times come from the timed conversions; operations and bytes from one that is recorded and profiled.
    """
    limits = ceilings(options.threads)
    source, reference = speech.source(options.seconds), speech.reference(options.prompt)
    session_options = SessionOptions(provider=options.provider, threads=options.threads)
    pipelines = {bundle.manifest.name: Pipeline(bundle, session_options) for bundle in bundles}
    calls: dict[tuple[str, str, str], Callable[[], object]] = {}
    codes: dict[str, np.ndarray] = {}
    stage_seconds: dict[str, list[dict[str, float]]] = {name: [] for name in pipelines}
    spoken, voice = (source.samples, source.sample_rate), (reference.samples, reference.sample_rate)

    def converting(name: str, quality: str) -> Callable[[], object]:
        pipeline = pipelines[name]
        sampling = pipeline.sampling(**schedule(quality, pipeline.bundle.manifest.model.num_quantizers))

        def convert() -> None:
            pipeline.sessions.seconds.clear()
            result = pipeline.convert(spoken, voice, sampling)
            if quality == "default":
                codes[name] = result.acoustic_codes
                stage_seconds[name].append(dict(pipeline.sessions.seconds))

        return convert

    if checkpoint:
        from m8d.benchmarks.baseline import Baseline

        baseline, sampling = Baseline(checkpoint, options.threads), pipelines[bundles[0].manifest.name].sampling()

        def convert_in_torch() -> None:
            codes["torch"] = baseline.decode(source, reference, sampling)

        calls["torch", "encode", ""] = lambda: baseline.encode(source)
        calls["torch", "reconstruct", ""] = lambda: baseline.decode(source, None, sampling)
        calls["torch", "convert", "default"] = convert_in_torch
    for name, pipeline in pipelines.items():
        calls[name, "encode", ""] = lambda pipeline=pipeline: pipeline.encode(*spoken)
        calls[name, "reconstruct", ""] = lambda pipeline=pipeline: pipeline.reconstruct(*spoken)
        for quality in ("default", *options.qualities):
            calls[name, "convert", quality] = converting(name, quality)
    timings = interleaved({"/".join(key): call for key, call in calls.items()}, options.repeats)
    timings_of = {key: timings["/".join(key)] for key in calls}
    first = bundles[0]
    recording = record_conversion(first, session_options, source, reference,
                                  pipelines[first.manifest.name].sampling())  # fmt: skip
    stages, operators = _stage_rows(first, recording, stage_seconds[first.manifest.name], limits, options.threads)
    figures = _figures(timings_of, first.manifest.name, codes, stages)
    return Result(
        kind="latency",
        settings={
            **dataclasses.asdict(options), "warm_up": 1, "torch baseline": bool(checkpoint),
            "bundles": {bundle.manifest.name: _precisions(bundle) for bundle in bundles},
        },
        tables={
            "Ceilings": [{"threads": options.threads or "all", "FP32 product, GFLOP/s": limits.gemm / 1e9,
                          "memory, GB/s": limits.bandwidth / 1e9}],
            "Whole tasks": _task_rows(timings_of, codes, options.seconds),
            f"Stages of a conversion with {first.manifest.name}": stages,
            "Time by operator": operators,
        },
        figures=figures,
    )  # fmt: skip


def _precisions(bundle: Bundle) -> str:
    return " ".join(sorted({spec.precision for spec in bundle.manifest.stages.values()}))


def _task_rows(timings: dict[tuple[str, str, str], Timing], codes: dict[str, np.ndarray], seconds: float) -> list[Row]:
    base = next((name for name, _, _ in timings if name == "torch"), next(name for name, _, _ in timings))
    rows = []
    for (name, task, quality), timing in timings.items():
        reference = timings[base, task, "default" if task == "convert" else ""].median
        same = task == "convert" and quality == "default" and codes[name].shape == codes[base].shape
        rows.append({
            "pipeline": name, "task": task, "quality": quality, **timing.row(), "RTF": timing.median / seconds,
            f"times {base}": reference / timing.median,
            "codes as in it": float((codes[name] == codes[base]).mean()) if same else None,
        })  # fmt: skip
    return rows


def _stage_rows(
    bundle: Bundle, recording: Recording, timed: list[dict[str, float]], limits: Ceilings, threads: int
) -> tuple[list[Row], list[Row]]:
    rows, operators = [], []
    total = float(np.median([sum(seconds.values()) for seconds in timed]))
    for stage in recording.stages:
        calls = recording.of(stage)
        cost = profile(bundle, stage, calls, threads)
        seconds = float(np.median([times[stage] for times in timed]))
        rows.append({
            "stage": stage, "calls": len(calls), "seconds": seconds, "share": seconds / total,
            "GFLOP": cost.flops / 1e9, "GFLOP/s": cost.flops / seconds / 1e9,
            "of product ceiling": cost.flops / seconds / limits.gemm, "GB moved": cost.bytes / 1e9,
            "of memory ceiling": cost.bytes / seconds / limits.bandwidth, "kernels": cost.kernels,
        })  # fmt: skip
        spent = sum(cost.seconds.values())
        shares = {operator: value / spent for operator, value in list(cost.seconds.items())[:TOP_OPERATORS]}
        if seconds > 0.01 * total:
            operators.append(
                {"stage": stage, **{f"{i}.": f"{o} {s:.0%}" for i, (o, s) in enumerate(shares.items(), 1)}}
            )
    return rows, operators


def _figures(
    timings: dict[tuple[str, str, str], Timing], name: str, codes: dict[str, np.ndarray], stages: list[Row]
) -> Row:
    backbones = [row for row in stages if row["stage"] in BACKBONES]
    work, spent = (sum(row[key] for row in backbones) for key in ("GFLOP", "seconds"))
    ceiling = backbones[0]["GFLOP/s"] / backbones[0]["of product ceiling"]
    figures: Row = {"S2A share of the product ceiling": work / spent / ceiling}
    for (pipeline, task, quality), timing in timings.items():
        in_torch = timings.get(("torch", task, "default" if task == "convert" else ""))
        if pipeline == name and in_torch:
            figures[f"{task} {quality}".strip() + ", times torch"] = in_torch.median / timing.median
    if "torch" in codes:
        figures["codes equal to torch"] = float((codes[name] == codes["torch"]).mean())
    return figures
