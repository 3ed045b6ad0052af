"""What a stage has to do: floating-point operations, bytes moved, and where its time goes.

Counted from ONNX Runtime's profile of the stage's calls in a conversion, which holds the shape of every tensor.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from m8d.benchmarks.recording import Call
from m8d.engines.bundle import Bundle

PRODUCTS = (
    *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "DynamicQuantizeMatMul"),
    "MatMulIntegerToFloat",
)
CONVOLUTIONS = ("Conv", "FusedConv", "ConvTranspose")


@dataclass(frozen=True)
class Cost:
    """Of all calls together: `flops` of products and convolutions, `bytes` of weights and activations read and written
    by every kernel, the number of `kernels`, and `seconds` by operator type, longest first."""

    flops: int
    bytes: int
    kernels: int
    seconds: dict[str, float]


def profile(bundle: Bundle, stage: str, calls: list[Call], threads: int = 0) -> Cost:
    """Makes `calls` of `stage` again on the CPU, after one to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(bundle.folder / bundle.stage(stage).file), options, ["CPUExecutionProvider"]
        )
        for call in [calls[0], *calls]:
            session.run(None, call.feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    warm_up = next(event for event in events if event["name"] == "model_run")
    begin = warm_up["ts"] + warm_up["dur"]
    return _sum([e for e in events if e["name"].endswith("_kernel_time") and e["ts"] >= begin])


def _sum(kernels: list[dict[str, Any]]) -> Cost:
    seconds: dict[str, float] = defaultdict(float)
    flops = moved = 0
    for event in kernels:
        details = event["args"]
        seconds[details["op_name"]] += event["dur"] / 1e6
        moved += sum(int(details.get(key) or 0) for key in ("activation_size", "parameter_size", "output_size"))
        flops += _flops(details["op_name"], _shapes(details["input_type_shape"]), _shapes(details["output_type_shape"]))
    return Cost(flops, moved, len(kernels), dict(sorted(seconds.items(), key=lambda item: -item[1])))


def _shapes(tensors: list[dict[str, list[int]]]) -> list[list[int]]:
    return [shape for tensor in tensors for shape in tensor.values()]


def _flops(operator: str, inputs: list[list[int]], outputs: list[list[int]]) -> int:
    """A multiplication and an addition count two."""
    if operator in PRODUCTS:
        return 2 * math.prod(outputs[0]) * inputs[0][-1]
    if operator in CONVOLUTIONS:
        positions = inputs[0][2:] if operator == "ConvTranspose" else outputs[0][2:]
        return 2 * outputs[0][0] * math.prod(positions) * math.prod(inputs[1])
    return 0
