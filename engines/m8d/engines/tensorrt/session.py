"""Running a plan: the same code for TensorRT and TensorRT-RTX."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m8d.engines.bundle import Bundle, StageSpec
from m8d.engines.device import Device, open_device
from m8d.engines.errors import BundleError
from m8d.engines.session import check_feeds
from m8d.engines.tensorrt.builder import collector
from m8d.engines.tensorrt.plans import read_plan, rebuild_command
from m8d.engines.tensorrt.profiles import Profile, check_shapes, fits
from m8d.engines.tensorrt.targets import Target, load_module

MAX_GRAPHS = 16  # captured shapes kept per profile; a graph and its context take little memory, scratch is shared

Shapes = dict[str, tuple[int, ...]]


def open_plan(bundle: Bundle, stage: str, provider: str, index: int) -> PlanSession:
    """The plan of `stage` for GPU `index`.

    Raises:
        ProviderError: the library, CuPy or the GPU is missing.
        BundleError: there is no plan for this GPU and version, or it is stale, damaged or cannot be loaded.
    """
    trt, device = load_module(provider), open_device(index)
    target = Target(provider, trt.__version__, (device.capability,))
    plan = read_plan(bundle, stage, target)
    messages, log = collector(trt)
    with device.use():
        engine = trt.Runtime(log).deserialize_cuda_engine(plan.data)
    if engine is None:
        raise BundleError(
            f"{plan.path} cannot be loaded by {target.name} {target.version}: {'; '.join(messages)}. "
            f"Remove {plan.path.parent}. {rebuild_command(bundle, target)}"
        )
    strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    return PlanSession(
        stage, bundle.stage(stage), plan.profiles, engine, lambda: engine.create_execution_context(strategy), device
    )


class PlanSession:
    """A deserialised plan with device buffers that are allocated once per profile, at its largest sizes.

    Runs follow each other on one stream, so all contexts share one piece of scratch memory.

    Args:
        profiles: as the plan was built, the shortest lengths first; a run takes the first that fits.
        engine: `ICudaEngine`.
        new_context: makes an `IExecutionContext` without scratch memory.
    """

    def __init__(
        self,
        stage: str,
        spec: StageSpec,
        profiles: tuple[Profile, ...],
        engine: Any,
        new_context: Callable[[], Any],
        device: Device,
    ) -> None:
        self.stage, self.spec, self.profiles, self.device = stage, spec, profiles, device
        self._new_context = new_context
        self._scratch_size = max(1, engine.device_memory_size_v2)  # of the largest profile; TensorRT asks for no less
        self._scratch: Any = None
        self._lanes: dict[int, _Lane] = {}

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """As `Session.run`. Arrays of the host come back to the host; that copy is the only wait."""
        check_feeds(self.stage, self.spec, feeds)
        shapes = {tensor.name: tuple(feeds[tensor.name].shape) for tensor in self.spec.inputs}
        names = list(outputs) if outputs else [tensor.name for tensor in self.spec.outputs]
        with self.device.use():
            results = self._lane(shapes).run(feeds, shapes)
            chosen = {name: results[name] for name in names}
            if any(self.device.holds(array) for array in feeds.values()):
                return chosen
            return self.device.to_host(chosen)

    def _lane(self, shapes: Shapes) -> _Lane:
        """The buffers of the first profile that serves `shapes`; `InputError` names the limit where none does."""
        index = next((i for i, p in enumerate(self.profiles) if fits(self.spec, p, shapes)), len(self.profiles) - 1)
        check_shapes(self.stage, self.spec, self.profiles[index], shapes)
        if index not in self._lanes:
            self._lanes[index] = _Lane(self.spec, self.profiles[index], index, self._make_context, self.device)
        return self._lanes[index]

    def _make_context(self) -> Any:
        if self._scratch is None:
            self._scratch = self.device.allocate(self._scratch_size)
        context = self._new_context()
        if context is None:
            raise BundleError("TensorRT could not make an execution context: the GPU has too little free memory.")
        context.set_device_memory(self.device.address(self._scratch), self._scratch_size)
        return context


@dataclass(frozen=True)
class _Captured:
    """One shape's CUDA graph. It refers to its context, which therefore serves nothing else."""

    context: Any
    launch: Callable[[], None]
    outputs: Shapes


class _Lane:
    """One profile: its buffers, a context for any shape, and captured graphs for shapes that came again."""

    def __init__(
        self, spec: StageSpec, profile: Profile, index: int, new_context: Callable[[], Any], device: Device
    ) -> None:
        self.spec, self.index, self.device, self._new_context = spec, index, device, new_context
        self._context = self._make_context()
        largest = {
            tensor.name: tuple(profile[a].max if isinstance(a, str) else a for a in tensor.shape)
            for tensor in spec.inputs
        }
        shapes = largest | self._set_shapes(self._context, largest)
        self._buffers = {
            tensor.name: device.allocate(math.prod(shapes[tensor.name]) * np.dtype(tensor.dtype).itemsize)
            for tensor in (*spec.inputs, *spec.outputs)
        }
        self._bind(self._context)
        self._seen: Counter[tuple[tuple[int, ...], ...]] = Counter()
        self._graphs: OrderedDict[tuple[tuple[int, ...], ...], _Captured] = OrderedDict()

    def run(self, feeds: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
        """Puts the whole stage on the stream; the results are views of the output buffers."""
        for tensor in self.spec.inputs:
            self.device.copy(self._view(tensor.name, shapes[tensor.name], tensor.dtype), feeds[tensor.name])
        key = tuple(shapes.values())
        if key in self._graphs:
            self._graphs.move_to_end(key)
            captured = self._graphs[key]
            captured.launch()
            sizes = captured.outputs
        elif self._seen[key]:
            sizes = self._run_and_capture(key, shapes)
        else:
            self._seen[key] += 1
            sizes = self._set_shapes(self._context, shapes)
            self._execute(self._context)
        return {tensor.name: self._view(tensor.name, sizes[tensor.name], tensor.dtype) for tensor in self.spec.outputs}

    def _run_and_capture(self, key: tuple[tuple[int, ...], ...], shapes: Shapes) -> Shapes:
        """Runs once in a context of its own, which settles what depends on shapes, then records the same run."""
        context = self._make_context()
        sizes = self._set_shapes(context, shapes)
        self._bind(context)
        self._execute(context)
        # TensorRT-RTX says where a graph is not possible.
        capturable = getattr(context, "is_stream_capturable", None)
        if capturable is None or capturable(self.device.stream.ptr):
            self._graphs[key] = _Captured(context, self.device.capture(lambda: self._execute(context)), sizes)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        return sizes

    def _make_context(self) -> Any:
        context = self._new_context()
        self._demand(context.set_optimization_profile_async(self.index, self.device.stream.ptr), "select its profile")
        return context

    def _set_shapes(self, context: Any, shapes: Shapes) -> Shapes:
        """Returns the shapes of the outputs."""
        for name, shape in shapes.items():
            self._demand(context.set_input_shape(name, shape), f"take {name} of shape {shape}")
        sizes = {tensor.name: tuple(context.get_tensor_shape(tensor.name)) for tensor in self.spec.outputs}
        self._demand(all(min(size) >= 0 for size in sizes.values()), f"tell the sizes of its outputs {sizes}")
        return sizes

    def _bind(self, context: Any) -> None:
        for name, buffer in self._buffers.items():
            self._demand(context.set_tensor_address(name, self.device.address(buffer)), f"bind {name}")

    def _execute(self, context: Any) -> None:
        self._demand(context.execute_async_v3(self.device.stream.ptr), "run")

    def _demand(self, done: bool, what: str) -> None:
        if not done:
            raise BundleError(f"TensorRT could not {what} with profile {self.index} of its plan. Rebuild the plans.")

    def _view(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return self._buffers[name][:size].view(dtype).reshape(shape)
