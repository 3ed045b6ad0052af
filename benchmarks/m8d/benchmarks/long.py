"""Long recordings and streams: what cutting costs, in time, memory and accuracy."""

from __future__ import annotations

import tempfile

import numpy as np
import soundfile

from m8d.benchmarks import speech
from m8d.benchmarks.commands import m8d_run
from m8d.benchmarks.results import Result, Row
from m8d.engines.bundle import Bundle
from m8d.engines.errors import InputError
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline
from m8d.runtime.long_audio import LONG, LONG_SECONDS, encode_long
from m8d.runtime.quality import schedule
from m8d.runtime.streaming import StreamOptions

CUTS = {"recordings": LONG, "live": StreamOptions(), "live, 2 s": StreamOptions(2.0, 1.0, 5.0, 0.1)}
WHOLE_SECONDS = LONG_SECONDS - 5  # still treated as a whole by default


def long(bundle: Bundle, seconds: float, quality: str, threads: int) -> Result:
    """Encodes and converts `seconds` and a quarter of it with m8d-run, and streams a minute in this process.

    Raises:
        InputError: a quarter of `seconds` is not long.
    """
    if seconds / 4 <= LONG_SECONDS:
        raise InputError(f"long: received {seconds:g} s, expected more than {4 * LONG_SECONDS:g} s.")
    pipeline = Pipeline(bundle, SessionOptions(provider="cpu", threads=threads))
    rows = _recordings(bundle, seconds, quality, threads)
    encode, convert = ([row for row in rows if row["task"] == task] for task in ("encode", "convert"))
    figures = {
        "encode, peak at 4 times the length": encode[1]["peak MB"] / encode[0]["peak MB"],
        "convert, peak at 4 times the length": convert[1]["peak MB"] / convert[0]["peak MB"],
    }
    settings = {"bundle": bundle.manifest.name, "seconds": seconds, "quality": quality, "threads": threads}
    tables = {"Recordings": rows, "Latents of blocks against the whole": _accuracy(pipeline),
              "Streams": _streams(pipeline, quality)}  # fmt: skip
    return Result("long", settings, tables, figures)


def _recordings(bundle: Bundle, seconds: float, quality: str, threads: int) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        voice = speech.reference(2.0)
        soundfile.write(f"{folder}/voice.wav", voice.samples, voice.sample_rate)
        for length in (seconds / 4, seconds):
            spoken = speech.source(length)
            soundfile.write(f"{folder}/long.wav", spoken.samples, spoken.sample_rate)
            common = ["--bundle", bundle.folder, "--provider", "cpu", "--threads", threads, "--quiet"]
            tasks: dict[str, list[object]] = {
                "encode": ["encode", f"{folder}/long.wav", "--output", f"{folder}/z.npy"],
                "convert": ["convert", "--source", f"{folder}/long.wav", "--reference", f"{folder}/voice.wav",
                            "--output", f"{folder}/out.wav", "--quality", quality],
            }  # fmt: skip
            for task, arguments in tasks.items():
                run = m8d_run(*arguments, *common)
                rows.append({"task": task, "audio s": length, "seconds": run.seconds, "RTF": run.seconds / length,
                             "peak MB": run.peak / 1e6, "samples MB": 4e-6 * len(spoken.samples)})  # fmt: skip
    return rows


def _accuracy(pipeline: Pipeline) -> list[Row]:
    audio = speech.source(WHOLE_SECONDS)
    whole = pipeline.encoder.encode(audio).latents
    codes = pipeline.encoder.semantic_codes(whole)
    rows: list[Row] = []
    for name, options in CUTS.items():
        latents = encode_long(pipeline.encoder, audio, options=options).latents
        rows.append({"cut": name, "block s": options.block, "look-ahead s": options.look_ahead,
                     "context s": options.context, "RMS error / std": float(np.std(latents - whole) / np.std(whole)),
                     "equal codes": float(np.mean(pipeline.encoder.semantic_codes(latents) == codes))})  # fmt: skip
    return rows


def _streams(pipeline: Pipeline, quality: str) -> list[Row]:
    audio, voice = speech.source(WHOLE_SECONDS), pipeline.voice(speech.reference(2.0))
    sampling = pipeline.sampling(**schedule(quality, pipeline.bundle.manifest.model.num_quantizers))
    rows: list[Row] = []
    for name in ("live", "live, 2 s"):
        stream = pipeline.stream(voice, audio.sample_rate, CUTS[name], sampling)
        for block in np.array_split(audio.samples, round(audio.seconds)):
            stream.push(block)
        stream.finish()
        spoken, computing = (sum(getattr(t, kind) for t in stream.timings) for kind in ("audio", "computing"))
        rows.append({"cut": name, "delay s": stream.delay, "computing s per s": computing / spoken,
                     "slowest block s": max(t.computing for t in stream.timings)})  # fmt: skip
    return rows
