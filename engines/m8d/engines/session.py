"""A session runs one stage: named arrays in, named arrays out. Backends differ here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from m8d.engines.bundle import Bundle, StageSpec
from m8d.engines.device import Device, open_device
from m8d.engines.errors import BundleError, InputError, ProviderError
from m8d.engines.providers import ORT_NAMES, PROVIDERS, SessionOptions, import_onnxruntime, resolve_provider
from m8d.engines.tensorrt.targets import MODULES

__all__ = [
    "PROVIDERS",
    "Arrays",
    "OnnxRuntimeSession",
    "Session",
    "SessionOptions",
    "check_feeds",
    "open_session",
    "resolve_provider",
]

Arrays = dict[str, np.ndarray]
REPORT_ERRORS_ONLY = 3  # ONNX Runtime's severity level


class Session(Protocol):
    spec: StageSpec

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        """Runs the stage once. `feeds` has every input by name; returns all outputs, or those named.

        On a GPU provider, feeds may be CuPy arrays, and then results are too: they are ordered by the device's stream,
        nothing waits for them, and they hold until the next run of the same stage.
        """
        ...


class OnnxRuntimeSession:
    """One stage in ONNX Runtime, on the CPU or on CUDA."""

    def __init__(self, bundle: Bundle, stage: str, options: SessionOptions) -> None:
        ort = import_onnxruntime()
        self.stage, self.spec = stage, bundle.stage(stage)
        self.provider = resolve_provider(options, bundle).provider
        if self.spec.precision == "bf16" and self.provider == "cpu":
            raise ProviderError(
                f"Stage {stage} computes in bf16, which ONNX Runtime cannot do on the CPU. Use a GPU provider, or a "
                "bundle built with --precision fp32."
            )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        # Every session has its own threads, which would wait for more work by spinning while another session runs.
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        settings.log_severity_level = REPORT_ERRORS_ONLY
        self.device = open_device(options.device) if self.provider == "cuda" else None
        name, details = ORT_NAMES[self.provider], cuda_details(self.device, options) if self.device else {}
        path = bundle.folder / self.spec.file
        try:
            self._session = ort.InferenceSession(str(path), settings, providers=[(name, details)])
        except Exception as error:
            raise BundleError(f"{path} cannot be loaded by ONNX Runtime {ort.__version__}: {error}") from error
        # A provider that fails to load is dropped without an error.
        if name not in self._session.get_providers():
            raise ProviderError(
                f"Provider {self.provider} was asked for, but ONNX Runtime could not start it and fell back to "
                f"{', '.join(self._session.get_providers())}. Check driver and CUDA libraries, or use --provider cpu."
            )
        self._unsynchronised = ort.RunOptions()
        self._unsynchronised.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        names = list(outputs) if outputs else [spec.name for spec in self.spec.outputs]
        check_feeds(self.stage, self.spec, feeds)
        if self.device and any(self.device.holds(array) for array in feeds.values()):
            with self.device.use():
                return self._run_on(self.device, feeds, names)
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))

    def _run_on(self, device: Device, feeds: Mapping[str, Any], names: list[str]) -> Arrays:
        """Binds arrays that are on the device, so that nothing passes through the host."""
        binding, location = self._session.io_binding(), ("cuda", device.index)
        inputs = {name: device.arrays.ascontiguousarray(device.arrays.asarray(feeds[name])) for name in feeds}
        results = {}
        for tensor in self.spec.outputs:
            if tensor.name in names:
                shape = output_shape(self.stage, self.spec, tensor.name, feeds)
                results[tensor.name] = device.arrays.empty(shape, tensor.dtype)
        for name, array in inputs.items():
            binding.bind_input(name, *location, array.dtype, array.shape, device.address(array))
        for name, array in results.items():
            binding.bind_output(name, *location, array.dtype, array.shape, device.address(array))
        self._session.run_with_iobinding(binding, self._unsynchronised)
        return results


def cuda_details(device: Device, options: SessionOptions) -> dict[str, str]:
    """Settings of ONNX Runtime's CUDA provider."""
    return {
        "device_id": str(device.index),
        "user_compute_stream": str(device.stream.ptr),
        "use_tf32": "1" if options.tf32 else "0",
        "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search would run again for every new length
    }


def check_feeds(stage: str, spec: StageSpec, feeds: Mapping[str, np.ndarray]) -> None:
    """Raises `InputError` when names, dtypes or shapes are not those of the stage, or one letter has two sizes."""
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        if tensor.name not in feeds:
            raise InputError(f"Stage {stage} needs input {tensor.name}; received {', '.join(feeds) or 'none'}.")
        array = feeds[tensor.name]
        fits = str(array.dtype) == tensor.dtype and array.ndim == len(tensor.shape)
        for axis, size in zip(tensor.shape, array.shape, strict=False):
            fits = fits and size == (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
        if not fits:
            wanted = ", ".join(str(sizes.get(a, a)) if isinstance(a, str) else str(a) for a in tensor.shape)
            raise InputError(
                f"Stage {stage}, input {tensor.name}: received {array.dtype} {array.shape}, "
                f"expected {tensor.dtype} ({wanted})."
            )


def output_shape(stage: str, spec: StageSpec, name: str, feeds: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an output whose letters are all letters of the inputs; `InputError` where one is not."""
    sizes = {a: n for t in spec.inputs for a, n in zip(t.shape, feeds[t.name].shape, strict=True) if isinstance(a, str)}
    (shape,) = (tensor.shape for tensor in spec.outputs if tensor.name == name)
    unknown = [axis for axis in shape if isinstance(axis, str) and axis not in sizes]
    if unknown:
        raise InputError(
            f"Stage {stage} takes arrays of the host: received arrays on the device, where the size {unknown[0]} of "
            f"{name} would not be known."
        )
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in shape)


def open_session(bundle: Bundle, stage: str, options: SessionOptions) -> Session:
    provider = resolve_provider(options, bundle).provider
    if provider in MODULES:
        from m8d.engines.tensorrt.session import open_plan

        return open_plan(bundle, stage, provider, options.device)
    return OnnxRuntimeSession(bundle, stage, options)
