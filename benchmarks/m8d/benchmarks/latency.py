"""How long encoding, reconstructing, converting and speaking take, as a whole and by stage, beside what limits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m8d.benchmarks import speech
from m8d.benchmarks.cost import profile
from m8d.benchmarks.machine import Ceilings, ceilings
from m8d.benchmarks.recording import recording_pipeline
from m8d.benchmarks.results import Result, Row
from m8d.benchmarks.tasks import Tasks
from m8d.benchmarks.timing import Timing, interleaved
from m8d.engines.bundle import TTS_STAGES, Bundle
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline

S2A_BACKBONES = ("s2a_1layer_backbone", "s2a_full_backbone")
TOP_OPERATORS = 6
WORTH_SHOWING = 0.01  # share of the time from which a stage's operators are listed

Key = tuple[str, str, str]  # pipeline, task, quality


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

    Stage times come from the timed runs of the first bundle; operations and bytes from one that is recorded and
    profiled.
    """
    limits = ceilings(options.threads)
    measured = _Measured(bundles, checkpoint, options)
    timings = measured.run()
    first = bundles[0]
    stages, operators = measured.stages(limits)
    return Result(
        kind="latency",
        settings={
            **dataclasses.asdict(options), "warm_up": 1, "torch baseline": bool(checkpoint),
            "bundles": {bundle.manifest.name: _precisions(bundle) for bundle in bundles},
        },
        tables={
            "Ceilings": [{"threads": options.threads or "all", "FP32 product, GFLOP/s": limits.gemm / 1e9,
                          "memory, GB/s": limits.bandwidth / 1e9}],
            "Whole tasks": _task_rows(timings, measured.codes, options.seconds),
            f"Stages of {first.manifest.name}": stages,
            "Time by operator": operators,
        },
        figures=_figures(timings, first.manifest.name, measured.codes, stages, limits),
    )  # fmt: skip


class _Measured:
    """The calls of a measurement and what they leave behind: codes, and seconds per stage of the first bundle."""

    def __init__(self, bundles: list[Bundle], checkpoint: Path | None, options: LatencyOptions) -> None:
        self.first, self.options = bundles[0], options
        self.session_options = SessionOptions(provider=options.provider, threads=options.threads)
        self.codes: dict[str, np.ndarray] = {}
        self.stage_seconds: dict[str, list[dict[str, float]]] = {"convert": [], "speak": []}
        self.calls: dict[Key, Callable[[], object]] = {}
        if checkpoint:
            self._add_torch(checkpoint)
        for bundle in bundles:
            self._add(bundle)

    def _add_torch(self, checkpoint: Path) -> None:
        from m8d.benchmarks.baseline import Baseline

        options = self.options
        baseline, sampling = Baseline(checkpoint, options.threads), Pipeline(self.first).sampling()
        source, reference = speech.source(options.seconds), speech.reference(options.prompt)

        def convert() -> None:
            self.codes["torch"] = baseline.decode(source, reference, sampling)

        self.calls["torch", "encode", ""] = lambda: baseline.encode(source)
        self.calls["torch", "reconstruct", ""] = lambda: baseline.decode(source, None, sampling)
        self.calls["torch", "convert", "default"] = convert

    def _add(self, bundle: Bundle) -> None:
        name, pipeline = bundle.manifest.name, Pipeline(bundle, self.session_options)
        tasks = Tasks(pipeline, self.options.seconds, self.options.prompt)
        self.calls[name, "encode", ""] = tasks.encode
        self.calls[name, "reconstruct", ""] = tasks.reconstruct
        for quality in ("default", *self.options.qualities):
            self.calls[name, "convert", quality] = tasks.converting(quality)
        default = tasks.converting()

        def convert() -> None:
            self.codes[name] = default().acoustic_codes

        self.calls[name, "convert", "default"] = self._watched(pipeline, "convert", convert)
        if bundle.speaks:
            self.calls[name, "speak", ""] = self._watched(pipeline, "speak", tasks.speak)

    def _watched(self, pipeline: Pipeline, task: str, call: Callable[[], None]) -> Callable[[], None]:
        """`call` that notes how long each stage took, for the first bundle."""

        def run() -> None:
            pipeline.sessions.seconds.clear()
            call()
            if pipeline.bundle is self.first:
                self.stage_seconds[task].append(dict(pipeline.sessions.seconds))

        return run

    def run(self) -> dict[Key, Timing]:
        """Times everything, then lets go of the pipelines: recording needs their memory."""
        timings = interleaved({"/".join(key): call for key, call in self.calls.items()}, self.options.repeats)
        keys = list(self.calls)
        self.calls.clear()
        return {key: timings["/".join(key)] for key in keys}

    def stages(self, limits: Ceilings) -> tuple[list[Row], list[Row]]:
        """Rows of the stages of a conversion and, where the bundle speaks, of T2S; and of their operators."""
        pipeline, sessions = recording_pipeline(self.first, self.session_options)
        tasks = Tasks(pipeline, self.options.seconds, self.options.prompt)
        tasks.converting()()
        watched = {call.stage: "convert" for call in sessions.calls}
        if self.first.speaks:
            converted = len(sessions.calls)
            tasks.speak()
            watched |= dict.fromkeys(TTS_STAGES, "speak")
            sessions.calls[converted:] = [call for call in sessions.calls[converted:] if call.stage in TTS_STAGES]
        rows, operators = [], []
        for stage, task in watched.items():
            calls = [call for call in sessions.calls if call.stage == stage]
            cost = profile(self.first, stage, calls, self.options.threads)
            times = self.stage_seconds[task][1:]  # the first is the warm-up
            seconds = float(np.median([run[stage] for run in times]))
            share = seconds / float(np.median([sum(run.values()) for run in times]))
            rows.append({
                "stage": stage, "task": task, "calls": len(calls), "seconds": seconds, "share": share,
                "GFLOP": cost.flops / 1e9, "GFLOP/s": cost.flops / seconds / 1e9,
                "of product ceiling": cost.flops / seconds / limits.gemm, "GB moved": cost.bytes / 1e9,
                "of memory ceiling": cost.bytes / seconds / limits.bandwidth, "kernels": cost.kernels,
            })  # fmt: skip
            if share > WORTH_SHOWING:
                spent = sum(cost.seconds.values())
                named = [f"{name} {value / spent:.0%}" for name, value in list(cost.seconds.items())[:TOP_OPERATORS]]
                operators.append({"stage": stage, **{f"{i}.": text for i, text in enumerate(named, 1)}})
        return rows, operators


def _precisions(bundle: Bundle) -> str:
    return " ".join(sorted({spec.precision for spec in bundle.manifest.stages.values()}))


def _task_rows(timings: dict[Key, Timing], codes: dict[str, np.ndarray], seconds: float) -> list[Row]:
    base = next(iter(timings))[0]
    rows = []
    for (name, task, quality), timing in timings.items():
        compared = timings.get((base, task, "default" if task == "convert" else ""))
        same = task == "convert" and quality == "default" and codes[name].shape == codes[base].shape
        rows.append({
            "pipeline": name, "task": task, "quality": quality, **timing.row(), "RTF": timing.median / seconds,
            f"times {base}": compared.median / timing.median if compared else None,
            "codes as in it": float((codes[name] == codes[base]).mean()) if same else None,
        })  # fmt: skip
    return rows


def _figures(
    timings: dict[Key, Timing], name: str, codes: dict[str, np.ndarray], stages: list[Row], limits: Ceilings
) -> Row:
    backbones = [row for row in stages if row["stage"] in S2A_BACKBONES]
    work, spent = (sum(row[key] for row in backbones) for key in ("GFLOP", "seconds"))
    figures: Row = {"S2A share of the product ceiling": 1e9 * work / spent / limits.gemm}
    for (pipeline, task, quality), timing in timings.items():
        in_torch = timings.get(("torch", task, "default" if task == "convert" else ""))
        if pipeline == name and in_torch:
            figures[f"{task} {quality}".strip() + ", times torch"] = in_torch.median / timing.median
    if "torch" in codes:
        figures["codes equal to torch"] = float((codes[name] == codes["torch"]).mean())
    return figures
