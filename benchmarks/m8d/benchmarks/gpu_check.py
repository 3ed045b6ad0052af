"""What only a GPU can show, as checks with an expected outcome; docs/gpu-validation.md says why each is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from m8d.benchmarks.recording import Recording, record_conversion
from m8d.benchmarks.results import Result
from m8d.benchmarks.tasks import Tasks
from m8d.engines.bundle import Bundle
from m8d.engines.device import Device, open_device
from m8d.engines.errors import InputError, M8DError
from m8d.engines.providers import runtime_target
from m8d.engines.session import Arrays, SessionOptions, open_session, resolve_provider
from m8d.engines.tensorrt.builder import BuilderOptions
from m8d.engines.tensorrt.plans import build_plans, has_plans
from m8d.engines.tensorrt.profiles import ProfileLimits
from m8d.engines.tensorrt.targets import MODULES, resolve_target
from m8d.runtime import Pipeline
from m8d.runtime.noise import NoiseStream
from m8d.runtime.samplers import HostSampler, Sampler, Step, device_sampler

GPU_PROVIDERS = ("cuda", *MODULES)
# Of a stage, max |Δ| over the largest magnitude; a GPU sums in another order than the CPU.
TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
EQUAL_CODES = 0.99  # of FP32; codes on a near-tie may flip
RUNS = 3  # of each call: plain, captured, launched as a graph
CALLS = 3  # of each stage
CONVERSIONS = 5
GROWTH = 16 * 2**20  # bytes of device memory that later conversions may add


@dataclass(frozen=True)
class GpuOptions:
    """`providers` to check; one that does not start is a failed check. `seconds` and `prompt` of the conversion."""

    providers: tuple[str, ...] = GPU_PROVIDERS
    device: int = 0
    seconds: float = 3.0
    prompt: float = 2.0


@dataclass(frozen=True)
class Check:
    provider: str
    check: str
    received: str
    expected: str
    passed: bool


def gpu_check(bundle: Bundle, reference: Bundle, options: GpuOptions) -> Result:
    """Runs all checks on `bundle`; `reference` is the same checkpoint in a precision that the CPU can run.

    Plans that the bundle lacks for this GPU are built into it.

    Raises:
        ProviderError: there is no usable GPU.
    """
    device = open_device(options.device)
    if any(stage.precision == "bf16" for stage in reference.manifest.stages.values()):
        raise InputError("The CPU cannot run a bf16 bundle: name its fp32 twin with --reference.")
    recording = record_conversion(reference, SessionOptions("cpu"), options.seconds, options.prompt)
    checks = [same_sampling("kernels", device_sampler(device))]
    figures: dict[str, float] = {}
    for provider in options.providers:
        try:
            _build_missing(bundle, provider, options)
            session_options = SessionOptions(provider, options.device)
            resolve_provider(session_options, bundle)
            checks += stage_checks(bundle, recording, session_options)
            seconds, whole = _whole_checks(bundle, recording, session_options, device, options)
            checks += whole
            figures[f"{provider} seconds per second"] = seconds / options.seconds
        except M8DError as error:
            checks.append(Check(provider, "starts", str(error), "no error", False))
    figures |= {"checks": len(checks), "failed": sum(not check.passed for check in checks)}
    settings = {**asdict(options), "bundle": bundle.manifest.name, "reference": reference.manifest.name}
    rows = [{**asdict(check), "passed": "ok" if check.passed else "FAILED"} for check in checks]
    return Result("gpu-check", settings, {"GPU checks": rows}, figures)


def same_sampling(provider: str, sampler: Sampler) -> Check:
    """One step of each kind of layer: the device chooses and masks as NumPy does."""
    different = 0
    for frames, size, temperature in ((150, 1024, 1.5), (500, 8192, 0.9), (37, 1024, 0.0), (1, 1024, 0.2)):
        generator = np.random.default_rng(frames)
        logits = generator.normal(scale=3, size=(frames, size)).astype(np.float32)
        step = Step(3, 0, np.float32(0.7), temperature, 0.02, frames // 2, size)
        settled = []
        for one in (HostSampler(), sampler):
            with one.active():
                codes, masked = one.array(np.full((frames, 1), size)), one.array(np.ones(frames, bool))
                rows = one.rows(masked)
                one.settle(one.array(logits), rows, codes, masked, NoiseStream(2**63 + 7, 2, 5), step)
                settled.append((one.host(codes), one.host(masked)))
        different += sum(int((a != b).sum()) for a, b in zip(*settled, strict=True))
    return Check(provider, "one step as NumPy's", f"{different} different", "0 different", different == 0)


def stage_checks(bundle: Bundle, recording: Recording, options: SessionOptions) -> Iterator[Check]:
    """Every stage on what it was given on the CPU: near those results, and the same each time."""
    for stage in recording.stages:
        tolerance = TOLERANCES.get(bundle.stage(stage).precision, TOLERANCES["fp16"])
        session = open_session(bundle, stage, options)
        error, equal, repeated = 0.0, 1.0, True
        for call in recording.of(stage)[:CALLS]:
            first, *others = [session.run(call.feeds, list(call.results)) for _ in range(RUNS)]
            repeated = repeated and all(_same(first, other) for other in others)
            for name, wanted in call.results.items():
                if wanted.dtype.kind == "i":
                    equal = min(equal, float((first[name] == wanted).mean()))
                else:
                    largest = np.maximum(np.abs(wanted).max(), 1e-30)
                    error = float(np.maximum(error, np.abs(first[name] - wanted).max() / largest))  # NaN stays NaN
        near = error <= tolerance and equal >= EQUAL_CODES
        received = f"error {error:.1e}, codes {equal:.2%}"
        yield Check(options.provider, stage, received, f"{tolerance:.0e}, {EQUAL_CODES:.0%}", near)
        yield Check(options.provider, f"{stage}, {RUNS} runs", "equal" if repeated else "differ", "equal", repeated)


def _same(first: Arrays, second: Arrays) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def _whole_checks(
    bundle: Bundle, recording: Recording, session_options: SessionOptions, device: Device, options: GpuOptions
) -> tuple[float, list[Check]]:
    """Median seconds of a conversion, and checks of its codes, repeatability and memory."""
    provider = session_options.provider
    convert = Tasks(Pipeline(bundle, session_options), options.seconds, options.prompt).converting()
    first, second = convert(), convert()
    free = device.arrays.cuda.runtime.memGetInfo()[0]
    seconds = []
    for _ in range(CONVERSIONS):
        start = time.perf_counter()
        convert()
        seconds.append(time.perf_counter() - start)
    growth = free - device.arrays.cuda.runtime.memGetInfo()[0]
    agreement = float((first.acoustic_codes == recording.decoding.acoustic_codes).mean())
    exact = all(stage.precision == "fp32" for stage in bundle.manifest.stages.values())
    wanted = EQUAL_CODES if exact else 0.0  # in half precision one flipped code changes all that follow
    finite = bool(np.isfinite(first.audio.samples).all())
    same = np.array_equal(first.acoustic_codes, second.acoustic_codes)
    mebibytes = [f"{size / 2**20:.0f} MiB" for size in (growth, GROWTH)]
    return float(np.median(seconds)), [
        Check(provider, "conversion, codes of the CPU", f"{agreement:.2%}", f"{wanted:.0%}", agreement >= wanted),
        Check(provider, "conversion, finite audio", str(finite), "True", finite),
        Check(provider, "conversion, again", "equal" if same else "differs", "equal", same),
        Check(provider, f"memory of {CONVERSIONS} more", mebibytes[0], f"up to {mebibytes[1]}", growth <= GROWTH),
    ]


def _build_missing(bundle: Bundle, provider: str, options: GpuOptions) -> None:
    if provider not in MODULES or has_plans(bundle, runtime_target(provider, options.device)):
        return
    capability = open_device(options.device).capability
    target = resolve_target(provider, (capability,) if provider == "tensorrt-rtx" else ())
    build_plans(bundle, target, ProfileLimits((10.0, 30.0)), BuilderOptions())
