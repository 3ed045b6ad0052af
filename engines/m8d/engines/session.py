"""A session runs one stage: named arrays in, named arrays out. Backends differ here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from m8d.engines.bundle import Bundle, StageSpec
from m8d.engines.errors import BundleError, InputError, ProviderError

if TYPE_CHECKING:
    import onnxruntime

Arrays = dict[str, np.ndarray]
PROVIDERS = ("auto", "cpu", "cuda")
ORT_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
REPORT_ERRORS_ONLY = 3  # ONNX Runtime's severity level


@dataclass(frozen=True)
class SessionOptions:
    """How stages run.

    `provider` is one of `PROVIDERS`; a named one is used or refused, `auto` takes CUDA where it is usable. `device` is
    the index of the GPU. `threads` 0 leaves the choice to the backend. `tf32` allows TensorFloat-32 products on CUDA,
    which are faster and change some codes.
    """

    provider: str = "auto"
    device: int = 0
    threads: int = 0
    tf32: bool = False


class Session(Protocol):
    spec: StageSpec

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        """Runs the stage once. `feeds` has every input by name; returns all outputs, or those named."""
        ...


def import_onnxruntime() -> onnxruntime:
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            "ONNX Runtime is not installed. Install it with `pip install m8d[cpu]`, or `m8d[gpu]` for CUDA."
        ) from error
    return onnxruntime


def resolve_provider(options: SessionOptions) -> str:
    """The provider that `options` lead to here; raises `ProviderError` when the one asked for cannot be had."""
    if options.provider not in PROVIDERS:
        raise ProviderError(f"Unknown provider {options.provider!r}: expected one of {', '.join(PROVIDERS)}.")
    available = import_onnxruntime().get_available_providers()
    if options.provider == "auto":
        return "cuda" if ORT_NAMES["cuda"] in available and _cuda_works(options) else "cpu"
    if ORT_NAMES[options.provider] not in available:
        raise ProviderError(
            f"Provider {options.provider} was asked for, but this ONNX Runtime has only {', '.join(available)}. "
            "Install `m8d[gpu]` (and uninstall plain onnxruntime), or use --provider cpu."
        )
    return options.provider


def _cuda_works(options: SessionOptions) -> bool:
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > options.device)
    except Exception:
        return False


class OnnxRuntimeSession:
    """One stage in ONNX Runtime."""

    def __init__(self, bundle: Bundle, stage: str, options: SessionOptions) -> None:
        ort = import_onnxruntime()
        self.stage, self.spec = stage, bundle.stage(stage)
        self.provider = resolve_provider(options)
        if self.spec.precision == "bf16" and self.provider == "cpu":
            raise ProviderError(
                f"Stage {stage} computes in bf16, which ONNX Runtime cannot do on the CPU. Use a GPU provider, or a "
                "bundle built with --precision fp32."
            )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.log_severity_level = REPORT_ERRORS_ONLY
        name = ORT_NAMES[self.provider]
        details = {}
        if self.provider == "cuda":
            # HEURISTIC: an exhaustive search would run again for every new length.
            details = {
                "device_id": str(options.device),
                "use_tf32": "1" if options.tf32 else "0",
                "cudnn_conv_algo_search": "HEURISTIC",
            }
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

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> Arrays:
        names = list(outputs) if outputs else [spec.name for spec in self.spec.outputs]
        check_feeds(self.stage, self.spec, feeds)
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))


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


def open_session(bundle: Bundle, stage: str, options: SessionOptions) -> Session:
    return OnnxRuntimeSession(bundle, stage, options)
