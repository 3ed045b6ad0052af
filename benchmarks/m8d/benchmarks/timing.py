"""Timing that survives a noisy machine: variants take turns, so that a slow minute is slow for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of each repeat."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Slowest less fastest, over the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median

    def row(self) -> dict[str, float | int]:
        return {"seconds": self.median, "fastest": min(self.seconds), "spread": self.spread,
                "repeats": len(self.seconds)}  # fmt: skip


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, Timing]:
    """Times every call `repeats` times, all of them in each round, after `warm_up` untimed rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(warm_up + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
