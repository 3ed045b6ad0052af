"""Which provider runs the stages: the one that was asked for, or the best that is usable here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from m8d.engines.bundle import Bundle
from m8d.engines.device import open_device
from m8d.engines.errors import ProviderError
from m8d.engines.tensorrt.plans import has_plans
from m8d.engines.tensorrt.targets import MODULES, Target, load_module

if TYPE_CHECKING:
    import onnxruntime

PROVIDERS = ("auto", "cpu", "cuda", *MODULES)
ORT_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class SessionOptions:
    """How stages run.

    `provider` is one of `PROVIDERS`; a named one is used or refused, `auto` takes the best that is usable. `device` is
    the index of the GPU. `threads` 0 leaves the choice to the backend. `tf32` allows TensorFloat-32 products on CUDA,
    which are faster and change some codes; TensorRT decides that when a plan is built.
    """

    provider: str = "auto"
    device: int = 0
    threads: int = 0
    tf32: bool = False


@dataclass(frozen=True)
class Choice:
    """A provider, and in words why it was taken."""

    provider: str
    reason: str


def import_onnxruntime() -> onnxruntime:
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            "ONNX Runtime is not installed. Install it with `pip install m8d[cpu]`, or `m8d[gpu]` for CUDA."
        ) from error
    return onnxruntime


def resolve_provider(options: SessionOptions, bundle: Bundle) -> Choice:
    """The provider that `options` lead to here; raises `ProviderError` when the one asked for cannot be had."""
    if options.provider not in PROVIDERS:
        raise ProviderError(f"Unknown provider {options.provider!r}: expected one of {', '.join(PROVIDERS)}.")
    if options.provider != "auto":
        _require(options.provider, options)
        return Choice(options.provider, "it was asked for")
    missing = []
    for name in (*MODULES, "cuda"):
        try:
            _require(name, options)
            if name in MODULES and not has_plans(bundle, runtime_target(name, options.device)):
                raise ProviderError("the bundle has no plans for this GPU")
            return Choice(name, "the fastest that is usable here")
        except ProviderError as error:
            missing.append(f"{name}: {error}")
    import_onnxruntime()
    return Choice("cpu", " ".join(missing))


def runtime_target(name: str, device: int) -> Target:
    """What plans have to be built for to run here."""
    return Target(name, load_module(name).__version__, (open_device(device).capability,))


def _require(name: str, options: SessionOptions) -> None:
    """Raises `ProviderError` with what to install."""
    if name in MODULES:
        load_module(name)
        open_device(options.device)
        return
    available = import_onnxruntime().get_available_providers()
    if ORT_NAMES[name] not in available:
        raise ProviderError(
            f"Provider {name} was asked for, but this ONNX Runtime has only {', '.join(available)}. "
            "Install `m8d[gpu]` (and uninstall plain onnxruntime), or use --provider cpu."
        )
    if name == "cuda":
        open_device(options.device)
