"""The stage calls of one conversion, recorded to be made again: under a profiler, or in another precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m8d.benchmarks.tasks import Tasks
from m8d.engines.bundle import Bundle
from m8d.engines.session import Arrays, SessionOptions
from m8d.runtime import Pipeline
from m8d.runtime.decoder import Decoder, Decoding
from m8d.runtime.encoder import Encoder
from m8d.runtime.sessions import StageSessions


@dataclass(frozen=True)
class Call:
    stage: str
    feeds: Arrays
    results: Arrays


class RecordingSessions(StageSessions):
    """Sessions that keep what goes in and out; `calls` grows with every run. One model is in memory at a time."""

    def __init__(self, bundle: Bundle, options: SessionOptions) -> None:
        super().__init__(bundle, options, low_memory=True)
        self.calls: list[Call] = []

    def run(self, stage: str, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        results = super().run(stage, feeds, outputs)
        self.calls.append(Call(stage, dict(feeds), results))
        return results


def recording_pipeline(bundle: Bundle, options: SessionOptions) -> tuple[Pipeline, RecordingSessions]:
    """A pipeline all of whose stage calls are kept."""
    pipeline, sessions = Pipeline(bundle, options), RecordingSessions(bundle, options)
    pipeline.sessions, pipeline.encoder, pipeline.decoder = sessions, Encoder(sessions), Decoder(sessions)
    return pipeline, sessions


@dataclass(frozen=True)
class Recording:
    calls: list[Call]
    decoding: Decoding

    def of(self, stage: str) -> list[Call]:
        return [call for call in self.calls if call.stage == stage]

    @property
    def stages(self) -> list[str]:
        """In the order of their first calls."""
        return list(dict.fromkeys(call.stage for call in self.calls))


def record_conversion(bundle: Bundle, options: SessionOptions, seconds: float, prompt: float) -> Recording:
    pipeline, sessions = recording_pipeline(bundle, options)
    return Recording(sessions.calls, Tasks(pipeline, seconds, prompt).converting()())
