"""Peak memory of a conversion in a process of its own, and whether it grows over many."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m8d.benchmarks.probe import run_probe
from m8d.benchmarks.results import Result, Row
from m8d.benchmarks.tasks import Tasks
from m8d.engines.bundle import Bundle
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline

SHORTEST, LONGEST = 0.3, 4.0  # seconds of speech in the growth test
SETTLED = 0.25  # share of the conversions after which the arena has met every size


def memory(
    bundles: list[Bundle], checkpoint: Path | None, seconds: float, prompt: float, conversions: int, threads: int
) -> Result:
    rows: list[Row] = []
    for bundle in bundles:
        for low_memory in (False, True):
            probe = run_probe("runtime", str(bundle.folder), seconds, prompt, low_memory, threads)
            rows.append(_row(bundle.manifest.name, "--low-memory" if low_memory else "", probe, _size(bundle)))
    if checkpoint:
        weights = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
        rows.append(_row("torch", "", run_probe("torch", str(checkpoint), seconds, prompt, threads=threads), weights))
    figures: Row = {}
    if checkpoint:
        for row in rows[:2]:
            figures[f"peak, share of torch's {row['mode']}".strip()] = row["peak GB"] / rows[-1]["peak GB"]
    tables = {"Peak resident memory of one conversion": rows}
    if conversions:
        grown = growth(bundles[0], conversions, threads)
        resident = [row["resident MB"] for row in grown]
        figures[f"growth over {conversions} conversions, MB"] = resident[-1] - resident[int(len(grown) * SETTLED)]
        tables["Resident memory over conversions of varying length"] = grown[:: max(1, len(grown) // 20)]
    settings = {"seconds": seconds, "prompt": prompt, "conversions": conversions, "threads": threads}
    return Result("memory", settings, tables, figures)


def _row(name: str, mode: str, probe: dict[str, float], size: int) -> Row:
    return {"pipeline": name, "mode": mode, "peak GB": probe["peak bytes"] / 1e9, "weights on disk, GB": size / 1e9}


def _size(bundle: Bundle) -> int:
    return sum(record.bytes for record in bundle.manifest.files.values())


def growth(bundle: Bundle, conversions: int, threads: int) -> list[Row]:
    """Resident memory after each of `conversions` turbo conversions of random length, in this process."""
    pipeline = Pipeline(bundle, SessionOptions(provider="cpu", threads=threads))
    chance = np.random.default_rng(0)
    rows = []
    for number in range(1, conversions + 1):
        Tasks(pipeline, chance.uniform(SHORTEST, LONGEST), chance.uniform(SHORTEST, 2)).converting("turbo")()
        rows.append({"conversions": number, "resident MB": resident_bytes() / 1e6})
    return rows


def resident_bytes() -> int:
    """Of this process, now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
