"""What a conversion should cost elsewhere, on paper: the counted work of a latency result against data-sheet figures.

A stage takes the longest of computing (operations over the usable share of the peak), moving (weights and activations
over the bandwidth) and launching (kernels times what one costs). No number here was measured on the device it is of.
"""

from __future__ import annotations

from dataclasses import dataclass

from m8d.benchmarks.results import Result, Row
from m8d.engines.errors import InputError

USABLE = 0.5  # share of a peak that products of a few hundred rows reach
FUSED = 0.25  # kernels left when a compiler has fused elementwise operators
FP32_BYTES = 4


@dataclass(frozen=True)
class Device:
    """Dense peak FLOP/s in the precision of `bytes` per number, memory bytes/s, seconds per kernel launch."""

    name: str
    peak: float
    bandwidth: float
    launch: float
    bytes: int


# Data sheets: NVIDIA H100 SXM, GeForce RTX 4090 (FP32 accumulation), L4, Jetson AGX Orin 64 GB; half of the figures
# that are given with sparsity. The laptop is eight AVX2 cores at 3 GHz with two channels of DDR5-5600.
DEVICES = (
    Device("H100 SXM, FP16", 989e12, 3350e9, 2e-6, 2),
    Device("RTX 4090, FP16", 165e12, 1008e9, 2e-6, 2),
    Device("L4, FP16", 121e12, 300e9, 2e-6, 2),
    Device("Jetson AGX Orin, FP16", 42.5e12, 205e9, 5e-6, 2),
    Device("laptop CPU, FP32", 768e9, 90e9, 0, 4),
)


def projection(measured: Result) -> Result:
    """Expected RTF of the measured conversion on every device, and what bounds it.

    Raises:
        InputError: `measured` is no latency result.
    """
    stages = next((rows for title, rows in measured.tables.items() if title.startswith("Stages of ")), None)
    if measured.kind != "latency" or not stages:
        raise InputError(f"A projection needs a latency result; received one of kind {measured.kind!r}.")
    stages = [row for row in stages if row["task"] == "convert"]
    seconds = measured.settings["seconds"]
    rows = [_expected(device, stages, seconds) for device in DEVICES]
    work: list[Row] = [
        {"stage": row["stage"], "GFLOP per s of audio": row["GFLOP"] / seconds,
         "GB per s of audio": row["GB moved"] / seconds, "FLOP per byte": row["GFLOP"] / row["GB moved"],
         "kernels per s of audio": row["kernels"] / seconds}
        for row in stages
    ]  # fmt: skip
    settings = {"seconds": seconds, "prompt": measured.settings["prompt"], "usable share of the peak": USABLE,
                "kernels left by fusion": FUSED}  # fmt: skip
    return Result("projection", settings, {"Work": work, "Expected": rows},
                  {f"RTF, {row['device']}": row["RTF"] for row in rows})  # fmt: skip


def _expected(device: Device, stages: list[Row], seconds: float) -> Row:
    total, bounds = 0.0, {"compute": 0.0, "bandwidth": 0.0, "launch": 0.0}
    for stage in stages:
        times = {
            "compute": stage["GFLOP"] * 1e9 / (device.peak * USABLE),
            "bandwidth": stage["GB moved"] * 1e9 * device.bytes / FP32_BYTES / device.bandwidth,
            "launch": stage["kernels"] * FUSED * device.launch,
        }
        bound = max(times, key=lambda name: times[name])
        bounds[bound] += times[bound]
        total += times[bound]
    return {"device": device.name, "s": total, "RTF": total / seconds,
            **{f"bound by {name}": value / total for name, value in bounds.items()}}  # fmt: skip
