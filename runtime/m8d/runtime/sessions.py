"""The sessions of one pipeline, each opened when a stage is first needed."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from m8d.engines.bundle import TTS_STAGES, Bundle, StageSpec
from m8d.engines.device import open_device
from m8d.engines.errors import InputError
from m8d.engines.session import Arrays, Session, SessionOptions, open_session, resolve_provider
from m8d.runtime.samplers import HostSampler, Sampler, device_sampler


class StageSessions:
    """Opens stages on demand: a program that only encodes never loads S2A.

    With `low_memory`, a stage that is opened closes all but those of its own model.

    Attributes:
        provider: what the options' provider came to here.
        reason: why it was taken.
        seconds: time spent in each stage so far; on a GPU, in handing it over, while arrays stay there.
    """

    def __init__(self, bundle: Bundle, options: SessionOptions, low_memory: bool = False) -> None:
        self.bundle, self.options, self.low_memory = bundle, options, low_memory
        choice = resolve_provider(options, bundle)
        self.provider, self.reason = choice.provider, choice.reason
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def run(self, stage: str, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        session = self._session(stage)
        start = time.perf_counter()
        try:
            return session.run(feeds, outputs)
        finally:
            self.seconds[stage] += time.perf_counter() - start

    @cached_property
    def sampler(self) -> Sampler:
        """Masked decoding stays where the stages run."""
        return HostSampler() if self.provider == "cpu" else device_sampler(open_device(self.options.device))

    def preload(self, with_tts: bool = False) -> None:
        """Opens every stage now, several at a time: most of it is copying weights into the layout of the products."""
        if self.low_memory:
            raise InputError("Low memory opens a stage when it is needed: drop low_memory, or do not preload.")
        with self._lock, ThreadPoolExecutor() as pool:
            skipped = {*self._open, *(() if with_tts else TTS_STAGES)}
            missing = [stage for stage in self.bundle.manifest.stages if stage not in skipped]
            opened = pool.map(lambda stage: open_session(self.bundle, stage, self.options), missing)
            self._open |= dict(zip(missing, opened, strict=True))

    def stage(self, name: str) -> StageRunner:
        return StageRunner(self, name)

    def _session(self, stage: str) -> Session:
        with self._lock:
            if stage not in self._open:
                if self.low_memory:
                    self._open = {name: s for name, s in self._open.items() if _together(name, stage)}
                self._open[stage] = open_session(self.bundle, stage, self.options)
            return self._open[stage]


def _together(first: str, second: str) -> bool:
    """Whether two stages are graphs of one masked transformer; guidance has no weights and goes with all."""
    return "guidance" in (first, second) or first.rsplit("_", 1)[0] == second.rsplit("_", 1)[0]


class StageRunner:
    """One stage of `StageSessions` as a session of its own."""

    def __init__(self, sessions: StageSessions, name: str) -> None:
        self.sessions, self.name = sessions, name
        self.spec: StageSpec = sessions.bundle.stage(name)

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        return self.sessions.run(self.name, feeds, outputs)
