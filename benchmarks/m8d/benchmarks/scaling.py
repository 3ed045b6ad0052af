"""How cost grows with length: seconds of computing against seconds of speech, and the exponent that fits."""

from __future__ import annotations

import numpy as np

from m8d.benchmarks import speech
from m8d.benchmarks.results import Result, Row
from m8d.benchmarks.timing import interleaved
from m8d.engines.bundle import Bundle
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline
from m8d.runtime.quality import schedule


def scaling(bundle: Bundle, lengths: list[float], prompt: float, quality: str, repeats: int, threads: int) -> Result:
    """Encoding and converting with `bundle` at every length of `lengths` (s)."""
    pipeline = Pipeline(bundle, SessionOptions(provider="cpu", threads=threads))
    sampling = pipeline.sampling(**schedule(quality, bundle.manifest.model.num_quantizers))
    reference = speech.reference(prompt)
    voice = pipeline.voice(reference)
    calls = {}
    for seconds in lengths:
        source = speech.source(seconds)
        latents = pipeline.encoder.encode(source).latents
        calls["encode", seconds] = lambda source=source: pipeline.encoder.encode(source)
        calls["decode", seconds] = lambda latents=latents: pipeline.decode(latents, voice, sampling)
    timings = interleaved({f"{task} {seconds}": call for (task, seconds), call in calls.items()}, repeats)
    rows: list[Row] = []
    figures: Row = {}
    for task in ("encode", "decode"):
        medians = [timings[f"{task} {seconds}"].median for seconds in lengths]
        for seconds, median in zip(lengths, medians, strict=True):
            spread = timings[f"{task} {seconds}"].spread
            rows.append(
                {"task": task, "audio s": seconds, "seconds": median, "RTF": median / seconds, "spread": spread}
            )
        figures[f"{task}, exponent"] = fitted_exponent(lengths, medians)
    settings = {"bundle": bundle.manifest.name, "prompt": prompt, "quality": quality, "repeats": repeats, "warm_up": 1,
                "threads": threads}  # fmt: skip
    return Result("scaling", settings, {"Cost against length": rows}, figures)


def fitted_exponent(lengths: list[float], seconds: list[float]) -> float:
    """`a` of the least-squares fit seconds = c · length^a, on logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])
