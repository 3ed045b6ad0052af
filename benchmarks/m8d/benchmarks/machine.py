"""What a measurement was taken on, and the ceilings of it: no stage can run faster than these."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("m8d", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "tensorrt-rtx", "cupy-cuda12x")
# Instruction sets that decide how fast products of each type run.
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp")
GEMM_SHAPE = (150, 1024, 4096)  # the largest product of S2A at 2 s of speech behind 1 s of prompt
COPY_BYTES = 256 * 2**20
REPEATS = 20


@dataclass(frozen=True)
class Ceilings:
    """`gemm` FLOP/s of one FP32 product of `GEMM_SHAPE` in ONNX Runtime; `bandwidth` bytes/s of reading and writing."""

    gemm: float
    bandwidth: float


def describe() -> dict[str, Any]:
    """Processor, instruction sets, cores, memory, versions and commit, as JSON values."""
    facts = _processor()
    return {
        "processor": facts.get("model name", platform.processor() or platform.machine()),
        "instructions": [name for name in INSTRUCTIONS if name in facts.get("flags", "").split()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit that is measured, with a `+` where the sources have changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        done = subprocess.run([*git, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def ceilings(threads: int) -> Ceilings:
    """Measured here and now with `threads` threads (0: ONNX Runtime's choice)."""
    m, k, n = GEMM_SHAPE
    product = _product_session(k, n, threads)
    rows = np.ones((m, k), np.float32)
    gemm = 2 * m * k * n / _fastest(lambda: product.run(None, {"x": rows}))
    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    return Ceilings(gemm, 2 * COPY_BYTES / _fastest(lambda: np.copyto(target, source)))


def _product_session(k: int, n: int, threads: int) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((k, n), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, size]) for name, size in (("x", k), ("y", n)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "product", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def _fastest(call: Callable[[], object]) -> float:
    """Median seconds of `call` after a warm-up."""
    call()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
