"""Shape profiles: the range of every axis that varies, per stage.

TensorRT does not notice a length too short for the network, so the shortest ones are stated here. A plan may have
several profiles, one per bucket of lengths: kernels are chosen for the typical size of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

from m8d.engines.bundle import Manifest, StageSpec
from m8d.engines.errors import InputError, check_options

TYPICAL_SECONDS = 5.0  # what kernels are chosen for
MAX_STEPS = 64  # diffusion steps of a layer
TYPICAL_STEPS = 16


@dataclass(frozen=True)
class AxisRange:
    """Smallest, most frequent and largest size of an axis."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 < self.min <= self.opt <= self.max:
            raise InputError(f"Shape profile: received {asdict(self)}, expected 0 < min <= opt <= max.")


@dataclass(frozen=True)
class ProfileLimits:
    """What a plan has to serve.

    Attributes:
        max_seconds: longest audio of a call for each bucket, > 0, rising; the last is the longest of all.
        max_batch: most items of a call, ≥ 1.
        prompt_seconds: longest prompt, ≥ 0.
    """

    max_seconds: tuple[float, ...] = (30.0,)
    max_batch: int = 1
    prompt_seconds: float = 2.0

    def __post_init__(self) -> None:
        seconds = self.max_seconds
        rising = all(a < b for a, b in pairwise(seconds))
        positive = bool(seconds) and seconds[0] > 0
        rules = (
            ("max_seconds", seconds, positive and rising, "one or more numbers above 0 that rise"),
            ("max_batch", self.max_batch, self.max_batch >= 1, "at least 1"),
            ("prompt_seconds", self.prompt_seconds, self.prompt_seconds >= 0, "0 or more"),
        )
        check_options("Profile", rules)

    def buckets(self) -> tuple[tuple[float, float], ...]:
        """(typical, longest) seconds of each: the first is tuned for 5 s, a later one for its middle."""
        first, *later = self.max_seconds
        middles = [(low + high) / 2 for low, high in pairwise(self.max_seconds)]
        return ((min(TYPICAL_SECONDS, first), first), *zip(middles, later, strict=True))


Profile = dict[str, AxisRange]


def stage_profiles(manifest: Manifest, stage: str, limits: ProfileLimits) -> tuple[Profile, ...]:
    """The range of each letter in the inputs of `stage`, for each bucket of lengths, the shortest first."""
    return tuple(_profile(manifest, stage, limits, typical, longest) for typical, longest in limits.buckets())


def _profile(manifest: Manifest, stage: str, limits: ProfileLimits, typical: float, longest: float) -> Profile:
    model, spec = manifest.model, manifest.stages[stage]

    def spread(shortest: int, rate: float) -> AxisRange:
        most = max(shortest, round(longest * rate))
        return AxisRange(shortest, min(most, max(shortest, round(typical * rate))), most)

    frames = spread(1, model.frame_rate)
    prompt = round(limits.prompt_seconds * model.frame_rate)
    # A guidance pair has the target twice; text to speech has phones before the prompt, fewer than target frames.
    rows = AxisRange(1, prompt + 2 * frames.opt, prompt + (3 if stage.startswith("t2s") else 2) * frames.max)
    samples = {
        "front_end": (model.min_semantic_samples, model.semantic_sample_rate),
        "acoustic_encoder": (model.hop_size, model.acoustic_sample_rate),
    }
    ranges: Profile = {
        "B": AxisRange(1, 1, limits.max_batch),
        "T": frames,
        "S": rows,
        "R": AxisRange(1, 2 * frames.opt, 2 * frames.max),
        "J": AxisRange(1, TYPICAL_STEPS, MAX_STEPS),
    }
    if stage in samples:
        ranges["N"] = spread(*samples[stage])
    if stage == "guidance":
        widths = sorted(_hidden_width(s) for name, s in manifest.stages.items() if name.endswith("_backbone"))
        ranges["H"] = AxisRange(widths[0], widths[-1], widths[-1])
    return {axis: ranges[axis] for axis in _letters(spec)}


def fits(spec: StageSpec, profile: Profile, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether every input's size lies inside the profile."""
    return _outside(spec, profile, shapes) is None


def check_shapes(stage: str, spec: StageSpec, profile: Profile, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises `InputError` naming the limit when an input's size lies outside the profile."""
    outside = _outside(spec, profile, shapes)
    if outside:
        name, axis, size = outside
        raise InputError(
            f"Stage {stage}, input {name}: axis {axis} has size {size}, the plan serves {profile[axis].min} to "
            f"{profile[axis].max}. Cut the input, or build plans with a larger --max-seconds or --max-batch."
        )


def _outside(spec: StageSpec, profile: Profile, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str, int] | None:
    """The first input, letter and size beyond the profile."""
    for tensor in spec.inputs:
        for axis, size in zip(tensor.shape, shapes[tensor.name], strict=True):
            if isinstance(axis, str) and not profile[axis].min <= size <= profile[axis].max:
                return tensor.name, axis, size
    return None


def _letters(spec: StageSpec) -> list[str]:
    return sorted({axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, str)})


def _hidden_width(spec: StageSpec) -> int:
    return int(spec.outputs[0].shape[-1])
