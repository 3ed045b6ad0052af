"""Does a graph compute what its module computes, at every length and batch, with and without padding?"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from m8d.export.half import rounded_in_fp32
from m8d.export.precision import PRECISIONS
from m8d.export.stages import Stage
from m8d.models.config import ModelConfig

# (batch, seconds): one frame, odd and even lengths, padded batches, the longest of the sweep.
CASES = ((1, 0.02), (1, 0.2), (1, 1.0), (2, 0.5), (3, 1.3), (4, 2.0), (1, 5.0), (1, 30.0))
PROBE_SECONDS = 0.06  # short enough for the last frame to reach the first through every convolution


@dataclass(frozen=True)
class StageParity:
    """Result of one stage. `error` is max |Δ| over the largest magnitude, `agreement` the share of equal integers."""

    stage: str
    precision: str
    error: float
    agreement: float
    bidirectional: bool
    bytes: int

    @property
    def passed(self) -> bool:
        limits = PRECISIONS[self.precision]
        return self.error <= limits.max_error and self.agreement >= limits.min_agreement and self.bidirectional


def open_graph(path: Path, threads: int = 0, half: bool = False) -> onnxruntime.InferenceSession:
    """A session on the CPU; one for a `half` graph computes in FP32 and rounds where the graph does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        if half:
            model = rounded_in_fp32(onnx.load(path, load_external_data=False))
            data = path.with_name(path.name + ".data")
            if data.exists():
                os.link(data, Path(scratch) / data.name)
            path = Path(scratch) / path.name
            onnx.save(model, path)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_stage(
    stage: Stage,
    module: torch.nn.Module,
    graph: Path,
    config: ModelConfig,
    max_seconds: float = 30.0,
    precision: str = "fp32",
) -> StageParity:
    """Compares ONNX Runtime on whole batches with torch on each item alone, over `CASES` up to `max_seconds`."""
    session = open_graph(graph, half=PRECISIONS[precision].half)
    generator = torch.Generator().manual_seed(1)
    error, equal, count = 0.0, 0, 0
    for batch, seconds in CASES:
        if seconds > max_seconds:
            continue
        inputs = stage.example(config, batch, seconds, generator)
        received = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for i in range(batch):
            alone = stage.alone(inputs, i)
            expected = module(*alone.values())
            for batched, item in zip(received, expected if isinstance(expected, tuple) else (expected,), strict=True):
                wanted = item.numpy()
                shared = wanted.shape[0] != 1 or len(batched) == 1  # an output without batch axis
                got = (batched if shared else batched[i : i + 1])[tuple(slice(0, size) for size in wanted.shape)]
                if wanted.dtype.kind == "i":
                    equal, count = equal + int((got == wanted).sum()), count + wanted.size
                else:
                    error = max(error, float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30)))
    size = sum(path.stat().st_size for path in (graph, graph.with_name(graph.name + ".data")) if path.exists())
    agreement = equal / count if count else 1.0
    return StageParity(stage.name, precision, error, agreement, _is_bidirectional(stage, session, config), size)


def _is_bidirectional(stage: Stage, session: onnxruntime.InferenceSession, config: ModelConfig) -> bool:
    """Whether changing the last frame changes the first output, where the model says it should."""
    if stage.bidirectional is None:
        return True
    inputs = stage.example(config, 1, PROBE_SECONDS, torch.Generator().manual_seed(2))
    feeds = {name: value.numpy().copy() for name, value in inputs.items()}
    before = session.run(None, feeds)
    changed = feeds[stage.bidirectional]
    tail = changed[0, -len(changed[0]) // 8 :] if changed.ndim == 2 else changed[0, -1]
    tail[...] = (tail + 1) % 7 if changed.dtype.kind == "i" else tail * -3 + 1
    after = session.run(None, feeds)
    return any((x[0, 0] != y[0, 0]).any() for x, y in zip(before, after, strict=True) if x.ndim > 1)
