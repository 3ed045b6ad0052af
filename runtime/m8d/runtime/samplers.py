"""What a decoding step does with logits, and where its arrays live: with NumPy, or on a GPU without leaving it.

T target frames, R scored ones, K codes, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Protocol

import numpy as np

from m8d.engines.device import Device
from m8d.runtime.noise import LAYERS_PER_STAGE, REMASKING, SAMPLING, NoiseStream, gumbel

KERNELS = "decoding.cu"
NAMES = ("settle", "remask")
# Sums round as NumPy's do.
COMPILER_OPTIONS = ("--std=c++17", "--fmad=false")
THREADS = 256  # of a block; MAX_THREADS in the kernels

Array = Any  # of NumPy or CuPy


@dataclass(frozen=True)
class Step:
    """One step of one layer.

    Attributes:
        number: from 0.
        layer: the column of the codes that is filled.
        t: diffusion time, 1 … 0.
        temperature: of Gumbel sampling; 0 takes the likeliest code.
        top_k_ratio: share of the codes that can be sampled.
        remaining: how many frames are masked again.
        mask_code: what stands for an unknown code.
    """

    number: int
    layer: int
    t: np.float32
    temperature: float
    top_k_ratio: float
    remaining: int
    mask_code: int


class Sampler(Protocol):
    arrays: Any  # numpy or cupy

    def active(self) -> AbstractContextManager[None]:
        """Where array work has to happen."""
        ...

    def array(self, array: np.ndarray) -> Array:
        """A host array as one of `arrays`."""
        ...

    def host(self, array: Array) -> np.ndarray: ...

    def rows(self, masked: Array) -> Array:
        """Which frames `(R,)` to score: every masked one, and others where that is quicker."""
        ...

    def settle(self, logits: Array, rows: Array, codes: Array, masked: Array, noise: NoiseStream, step: Step) -> None:
        """Chooses a code for every masked frame, then masks the least certain ones again.

        `logits (R, K)` of `rows (R,)`; `codes (T, L)` and `masked (T,)` are changed in place.
        """
        ...


class HostSampler:
    """With NumPy: scores no frame that is settled."""

    arrays: Any = np

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()

    def array(self, array: np.ndarray) -> np.ndarray:
        return array

    def host(self, array: np.ndarray) -> np.ndarray:
        return array

    def rows(self, masked: np.ndarray) -> np.ndarray:
        return np.flatnonzero(masked)

    def settle(self, logits: np.ndarray, rows: np.ndarray, codes: np.ndarray, masked: np.ndarray, noise: NoiseStream,
               step: Step) -> None:  # fmt: skip
        size = logits.shape[-1]
        candidates, logits = top_k(logits, step.top_k_ratio)
        choice = logits.argmax(-1)
        if step.temperature > 0:
            uniform = noise.uniform(SAMPLING, step.number, (1, len(codes), size))[0]
            choice = (logits / np.float32(step.temperature) + gumbel(uniform[rows[:, None], candidates])).argmax(-1)
        codes[rows, step.layer] = np.take_along_axis(candidates, choice[:, None], axis=1)[:, 0]
        again = rows[:0]
        if step.remaining:
            confidence = np.take_along_axis(softmax(logits), choice[:, None], axis=1)[:, 0]
            shake = gumbel(noise.uniform(REMASKING, step.number, (1, len(codes)))[0, rows])
            score = np.float32(1.0) - (step.t * shake + confidence)
            again = rows[np.argsort(-score, kind="stable")[: step.remaining]]
        masked[:] = False
        masked[again] = True
        codes[again, step.layer] = step.mask_code


Launch = Callable[[str, int, tuple[Any, ...]], None]  # kernel, blocks, arguments


class DeviceSampler:
    """With two kernels. Scores every frame, so that shapes repeat and the host never asks which are masked."""

    def __init__(self, device: Device, launch: Launch) -> None:
        self.device, self._launch = device, launch
        self.arrays = device.arrays

    def active(self) -> AbstractContextManager[None]:
        return self.device.use()

    def array(self, array: np.ndarray) -> Array:
        return self.arrays.asarray(array)

    def host(self, array: Array) -> np.ndarray:
        return self.device.to_host({"": array})[""]

    def rows(self, masked: Array) -> Array:
        return self.arrays.arange(len(masked))

    def settle(self, logits: Array, rows: Array, codes: Array, masked: Array, noise: NoiseStream, step: Step) -> None:
        frames, size = logits.shape
        int32, uint64, float32 = np.int32, np.uint64, np.float32
        scores = self.arrays.empty(frames, float32)
        place = (int32(codes.shape[1]), int32(step.layer))
        settings = (int32(kept_codes(size, step.top_k_ratio)), uint64(noise.seed), uint64(step.number))
        drawn = (uint64(noise.layer + LAYERS_PER_STAGE * noise.stage), float32(step.temperature), step.t)
        logits = self.arrays.ascontiguousarray(logits)
        self._launch("settle", frames, (logits, masked, codes, scores, int32(size), *place, *settings, *drawn))
        left = (int32(step.mask_code), int32(step.remaining))
        self._launch("remask", 1, (scores, masked, codes, int32(frames), *place, *left))


def kernel_source() -> str:
    return (files("m8d.runtime") / KERNELS).read_text(encoding="utf-8")


def device_sampler(device: Device) -> DeviceSampler:
    """Compiles the kernels for `device`; CuPy keeps what it compiled."""
    with device.use():
        module = device.arrays.RawModule(code=kernel_source(), options=COMPILER_OPTIONS)
        return DeviceSampler(device, partial(_launch, {name: module.get_function(name) for name in NAMES}))


def _launch(kernels: dict[str, Any], name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
    kernels[name]((blocks,), (THREADS,), arguments)


def kept_codes(size: int, ratio: float) -> int:
    """How many of `size` codes can be sampled; rounds as the reference's ceil((1 - 0.98) * K) does."""
    return min(size, math.ceil((1 - (1 - ratio)) * size))


def top_k(logits: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """The `kept_codes` largest of `logits (R, K)`: their codes, ascending, and logits, both `(R, k)`.

    All else has probability 0, so sampling and softmax need nothing more.
    """
    size = logits.shape[-1]
    count = kept_codes(size, ratio)
    codes = np.sort(np.argpartition(logits, size - count, axis=-1)[:, size - count :], axis=-1)
    return codes, np.take_along_axis(logits, codes, axis=-1)


def softmax(x: np.ndarray) -> np.ndarray:
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)
