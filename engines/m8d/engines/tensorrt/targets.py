"""TensorRT and TensorRT-RTX through one surface: which of them is here, and what it builds for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from m8d.engines.device import open_device
from m8d.engines.errors import InputError, ProviderError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


@dataclass(frozen=True)
class Target:
    """A builder and the GPUs it builds for.

    Attributes:
        name: `tensorrt` or `tensorrt-rtx`.
        version: of the library; a plan is bound to it.
        capabilities: compute capabilities such as `8.9`; TensorRT builds for the GPU that is present.
    """

    name: str
    version: str
    capabilities: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.name}-{self.version}_" + "+".join(f"sm{c.replace('.', '')}" for c in self.capabilities)


def load_module(name: str) -> ModuleType:
    if name not in MODULES:
        raise ProviderError(f"Unknown target {name!r}: expected one of {', '.join(MODULES)}.")
    try:
        return importlib.import_module(MODULES[name])
    except ImportError as error:
        raise ProviderError(
            f"{name} was asked for but is not installed. Install it with `pip install m8d[{name}]`."
        ) from error


def resolve_target(name: str, capabilities: tuple[str, ...]) -> Target:
    """Raises `ProviderError` when the library or, for TensorRT, a GPU is missing; `InputError` for a bad capability."""
    module = load_module(name)
    if name == "tensorrt-rtx":
        known = {member for member in dir(module.ComputeCapability) if member.startswith("SM")}
        for capability in capabilities:
            if f"SM{capability.replace('.', '')}" not in known:
                raise InputError(
                    f"--compute-capability: received {capability!r}, expected one such as 8.9; TensorRT-RTX "
                    f"{module.__version__} knows {', '.join(sorted(known))}."
                )
        if not capabilities:
            raise InputError("TensorRT-RTX builds ahead of time: name at least one --compute-capability, such as 8.9.")
        return Target(name, module.__version__, tuple(sorted(capabilities)))
    if capabilities:
        raise InputError("--compute-capability is for tensorrt-rtx: TensorRT builds for the GPU that is present.")
    return Target(name, module.__version__, (present_capability(),))


def present_capability() -> str:
    """Compute capability of the first GPU. Regular TensorRT cannot build without one."""
    try:
        return open_device(0).capability
    except ProviderError as error:
        raise ProviderError(
            "TensorRT builds plans on the GPU they are for, and none is usable here. Run this on that machine, or "
            "build ahead of time with --target tensorrt-rtx."
        ) from error
