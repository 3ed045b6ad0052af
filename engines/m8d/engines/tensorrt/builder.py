"""ONNX → plan, without torch and, for TensorRT-RTX, without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from m8d.engines.bundle import StageSpec
from m8d.engines.errors import BundleError
from m8d.engines.tensorrt.profiles import Profile
from m8d.engines.tensorrt.targets import Target, load_module

MEBIBYTE = 2**20


@dataclass(frozen=True)
class BuilderOptions:
    """Attributes:
    optimization_level: 0 (quick build) … 5 (fast plan); None is the library's default.
    workspace: MiB of scratch memory that kernels may use; None is all there is.
    tf32: allow TensorFloat-32 in FP32 products; faster, and some codes change.
    """

    optimization_level: int | None = None
    workspace: int | None = None
    tf32: bool = False


@dataclass(frozen=True)
class NetworkTensor:
    """An input or output as TensorRT parsed it; −1 stands for an axis that varies."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class BuiltPlan:
    plan: bytes
    inputs: tuple[NetworkTensor, ...]
    outputs: tuple[NetworkTensor, ...]


class PlanBuilder:
    """Builds plans one after another.

    `timing_cache` grows with them and may be kept in a file; TensorRT-RTX has none (it is deprecated there and does
    nothing).
    """

    def __init__(self, target: Target, options: BuilderOptions, timing_cache: bytes = b"") -> None:
        self.target, self.options = target, options
        self.trt: ModuleType = load_module(target.name)
        self._messages, self._log = collector(self.trt)
        self.timing_cache = timing_cache

    def build(self, graph: Path, spec: StageSpec, profiles: tuple[Profile, ...]) -> BuiltPlan:
        """Raises `BundleError` with the parser's own words when the graph cannot be built."""
        self._messages.clear()
        builder = self.trt.Builder(self._log)
        network = builder.create_network(0)
        parser = self.trt.OnnxParser(network, self._log)
        if not parser.parse_from_file(str(graph)):
            said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise BundleError(f"{graph} cannot be parsed by {self.target.name} {self.target.version}: {said}")
        config = self._config(builder)
        for profile in profiles:
            shapes = builder.create_optimization_profile()
            for tensor in spec.inputs:
                if any(isinstance(axis, str) for axis in tensor.shape):
                    sizes = [
                        tuple(getattr(profile[a], end) if isinstance(a, str) else a for a in tensor.shape)
                        for end in ("min", "opt", "max")
                    ]
                    shapes.set_shape(tensor.name, *sizes)
            if config.add_optimization_profile(shapes) < 0:
                raise BundleError(f"{graph}: {self.target.name} refuses the shape profile {profile}: {self._messages}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            said = "; ".join(self._messages)
            raise BundleError(f"{graph} cannot be built by {self.target.name} {self.target.version}: {said}")
        if self.target.name == "tensorrt":
            self.timing_cache = bytes(config.get_timing_cache().serialize())
        return BuiltPlan(
            bytes(plan),
            tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs)),
            tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs)),
        )

    def _config(self, builder: Any) -> Any:
        trt, config = self.trt, builder.create_builder_config()
        if self.target.name == "tensorrt-rtx":
            config.num_compute_capabilities = len(self.target.capabilities)
            for i, capability in enumerate(self.target.capabilities):
                name = f"SM{capability.replace('.', '')}"
                config.set_compute_capability(getattr(trt.ComputeCapability, name), i)
        if not self.options.tf32:  # which is on by default
            config.clear_flag(trt.BuilderFlag.TF32)
        if self.options.optimization_level is not None:
            config.builder_optimization_level = self.options.optimization_level
        if self.options.workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.options.workspace * MEBIBYTE)
        if self.target.name == "tensorrt":
            config.set_timing_cache(config.create_timing_cache(self.timing_cache), False)
        return config


def collector(trt: ModuleType) -> tuple[list[str], Any]:
    """A logger that keeps errors for our own error texts: a build without a GPU prints two harmless ones per stage."""
    messages: list[str] = []

    class Collector(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR and "CUDA driver version is insufficient" not in message:
                messages.append(message)

    return messages, Collector()


def _tensor(tensor: Any) -> NetworkTensor:
    name = str(tensor.dtype).rsplit(".", 1)[-1].lower()
    return NetworkTensor(tensor.name, {"float": "float32", "half": "float16"}.get(name, name), tuple(tensor.shape))
