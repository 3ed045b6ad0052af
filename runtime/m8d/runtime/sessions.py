"""The sessions of one pipeline, each opened when a stage is first needed."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from m8d.engines.bundle import Bundle, StageSpec
from m8d.engines.session import Arrays, Session, SessionOptions, open_session, resolve_provider


class StageSessions:
    """Opens stages on demand: a program that only encodes never loads S2A.

    Attributes:
        provider: what the options' provider came to here.
        seconds: time spent in each stage so far.
    """

    def __init__(self, bundle: Bundle, options: SessionOptions) -> None:
        self.bundle, self.options = bundle, options
        self.provider = resolve_provider(options)
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

    def stage(self, name: str) -> StageRunner:
        return StageRunner(self, name)

    def _session(self, stage: str) -> Session:
        with self._lock:
            if stage not in self._open:
                self._open[stage] = open_session(self.bundle, stage, self.options)
            return self._open[stage]


class StageRunner:
    """One stage of `StageSessions` as a session of its own."""

    def __init__(self, sessions: StageSessions, name: str) -> None:
        self.sessions, self.name = sessions, name
        self.spec: StageSpec = sessions.bundle.stage(name)

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        return self.sessions.run(self.name, feeds, outputs)
