"""From process start to an imported, an opened and a loaded pipeline and its first conversion."""

from __future__ import annotations

import statistics
from pathlib import Path

from m8d.benchmarks.probe import run_probe
from m8d.benchmarks.results import Result, Row
from m8d.engines.bundle import Bundle

MILESTONES = ("imported", "opened", "loaded", "first conversion")


def startup(
    bundles: list[Bundle], checkpoint: Path | None, seconds: float, prompt: float, repeats: int, threads: int
) -> Result:
    """Median seconds to each milestone; files are in the page cache after the first, untimed, process."""
    tasks = {bundle.manifest.name: ("runtime", str(bundle.folder)) for bundle in bundles}
    if checkpoint:
        tasks["torch"] = ("torch", str(checkpoint))
    probes: dict[str, list[dict[str, float]]] = {name: [] for name in tasks}
    for round_number in range(repeats + 1):
        for name, (task, path) in tasks.items():
            probe = run_probe(task, path, seconds, prompt, threads=threads)
            if round_number:
                probes[name].append(probe)
    rows: list[Row] = [
        {"pipeline": name, **{m: _median(found, m) for m in MILESTONES if m in found[0]}}
        for name, found in probes.items()
    ]
    loaded = rows[0]["loaded"]
    settings = {"seconds": seconds, "prompt": prompt, "repeats": repeats, "warm_up": 1, "threads": threads}
    return Result("startup", settings, {"Seconds from process start": rows}, {"seconds to a loaded pipeline": loaded})


def _median(probes: list[dict[str, float]], milestone: str) -> float:
    return statistics.median(probe[milestone] for probe in probes)
