"""What is installed and usable here, and what to do about what is not. Nothing here raises; a lack is a finding."""

from __future__ import annotations

import importlib
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import Bundle
from m8d.engines.device import Device
from m8d.engines.errors import M8DError
from m8d.engines.providers import ORT_NAMES
from m8d.engines.tensorrt.plans import descriptions, read_plan, rebuild_command
from m8d.engines.tensorrt.targets import MODULES, Target
from m8d.engines.version import VERSION

OK, MISSING, BROKEN = "ok", "missing", "broken"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is.
        state: `ok`, `missing` (not there, and needed only by some providers) or `broken`.
        detail: version, or what is wrong.
        remedy: what to do; empty where all is well.
    """

    subject: str
    state: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Attributes:
    findings: in the order that they build on each other.
    usable: providers that can run the bundle, the fastest first.
    """

    findings: tuple[Finding, ...]
    usable: tuple[str, ...]


def diagnose(folder: Path | None = None, index: int = 0) -> Diagnosis:
    """Looks at the libraries, GPU `index`, and the bundle in `folder` (None: the built-in one)."""
    runtimes = _onnxruntime()
    libraries = {name: _library(name, module, f"pip install m8d[{name}]") for name, module in MODULES.items()}
    device, gpu = _gpu(index)
    bundle, opened = _bundle(folder)
    findings = [Finding("m8d", OK, f"{VERSION}, Python {platform.python_version()}, {platform.platform()}")]
    findings += [*runtimes.values(), *libraries.values(), *gpu, opened]
    usable = []
    for name in MODULES:
        if bundle:
            findings.append(_plans(name, bundle, device))
            if findings[-1].state == OK:
                usable.append(name)
    if device and runtimes["cuda"].state == OK:
        usable.append("cuda")
    if runtimes["cpu"].state == OK and bundle and all(s.precision != "bf16" for s in bundle.manifest.stages.values()):
        usable.append("cpu")
    return Diagnosis(tuple(findings), tuple(usable) if bundle else ())


def _onnxruntime() -> dict[str, Finding]:
    installed = _library("ONNX Runtime", "onnxruntime", "pip install m8d[cpu], or m8d[gpu] for CUDA")
    if installed.state != OK:
        return {"cpu": installed, "cuda": Finding("CUDA in ONNX Runtime", MISSING, "no ONNX Runtime")}
    available = sys.modules["onnxruntime"].get_available_providers()
    if ORT_NAMES["cuda"] in available:
        cuda = Finding("CUDA in ONNX Runtime", OK, "this build has it")
    else:
        cuda = Finding("CUDA in ONNX Runtime", MISSING, "this build has not", "pip uninstall onnxruntime, then "
                       "pip install m8d[gpu]")  # fmt: skip
    return {"cpu": installed, "cuda": cuda}


def _library(subject: str, module: str, remedy: str) -> Finding:
    try:
        return Finding(subject, OK, str(importlib.import_module(module).__version__))
    except ModuleNotFoundError:
        return Finding(subject, MISSING, "not installed", remedy)
    except Exception as error:  # a library that is there and does not load can raise anything
        return Finding(subject, BROKEN, f"does not load: {error}", f"reinstall it: {remedy}")


def _gpu(index: int) -> tuple[Device | None, list[Finding]]:
    cupy = _library("CuPy", "cupy", "pip install cupy-cuda12x, where there is an NVIDIA GPU")
    if cupy.state != OK:
        return None, [cupy]
    runtime = sys.modules["cupy"].cuda.runtime
    try:
        driver = runtime.driverGetVersion()
        device = Device(index)
        described = runtime.getDeviceProperties(index)
        name, memory = described["name"].decode(), described["totalGlobalMem"] / 2**30
    except Exception as error:  # CuPy has an exception of its own for each layer of CUDA
        remedy = "" if isinstance(error, M8DError) else "check nvidia-smi; without a GPU, --provider cpu works"
        return None, [cupy, Finding("GPU", MISSING, str(error), remedy)]
    detail = f"{name}, compute capability {device.capability}, {memory:.0f} GiB"
    supported = f"driver for CUDA {driver // 1000}.{driver % 1000 // 10}"
    return device, [cupy, Finding(f"GPU {index}", OK, f"{detail}, {supported}")]


def _bundle(folder: Path | None) -> tuple[Bundle | None, Finding]:
    try:
        bundle = Bundle.open(folder) if folder else builtin_bundle()
    except M8DError as error:
        return None, Finding("bundle", BROKEN, str(error))
    precisions = "+".join(sorted({stage.precision for stage in bundle.manifest.stages.values()}))
    return bundle, Finding("bundle", OK, f"{bundle.manifest.name}, {precisions}, {bundle.folder}")


def _plans(name: str, bundle: Bundle, device: Device | None) -> Finding:
    """What the bundle has for `name`: all good, none, or the first that is bad."""
    subject = f"{name} plans"
    folders = sorted({f.name for f, values in descriptions(bundle) if values.get("target", {}).get("name") == name})
    try:
        version = importlib.import_module(MODULES[name]).__version__
    except Exception:  # reported with the libraries
        version = ""
    if not folders:
        capability = device.capability if device else "8.9"
        remedy = rebuild_command(bundle, Target(name, version, (capability,)))
        return Finding(subject, MISSING, "the bundle has none", remedy)
    if not (device and version):
        lacking = "library" if device else "GPU"
        return Finding(subject, MISSING, f"{', '.join(folders)}; not checked without the {lacking}")
    try:
        for stage in bundle.manifest.stages:
            read_plan(bundle, stage, Target(name, version, (device.capability,)))
    except M8DError as error:  # its text has the command that mends it
        return Finding(subject, BROKEN, str(error))
    return Finding(subject, OK, ", ".join(folders))
