"""Mask-and-predict decoding (MaskGIT, arXiv 2202.04200; MaskGCT, arXiv 2409.00750), the runtime's only loop.

P prompt frames, T target frames, S rows of a sequence, L layers of the model, K codes, H width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from m8d.engines.session import Session
from m8d.runtime.noise import NoiseStream
from m8d.runtime.samplers import Array, Sampler, Step

MIN_TEMPERATURE = 1e-3
SINGLE_STEP_TEMPERATURE = 0.2
FLOAT_PI = np.float32(np.pi)

Progress = Callable[[int], None]  # told the number of steps done since it was last told


@dataclass(frozen=True)
class LayerSampling:
    """How one layer is decoded; see `SamplingOptions`."""

    steps: int
    guidance: float
    rescale: float
    temperature: float
    top_k_ratio: float


@dataclass(frozen=True)
class Context:
    """The rows around the target, fixed within a layer; arrays of the sampler's kind.

    Attributes:
        prefix: `(P, L)` int64, codes of the rows before the target (a row of K + 1 holds no code).
        condition: `(1, P + T, H)` float32, for prefix and target.
        positions: `(P + T,)` int64, the RoPE position of each row.
        free_condition: `(1, T, H)` float32, what the guidance pass sees for the target rows; their positions count
            from 0.
        scales: `(steps, M, H)` float32, the norm scales of each step.
    """

    prefix: Array
    condition: Array
    positions: Array
    free_condition: Array
    scales: Array


class Part(NamedTuple):
    """A sequence of a backbone call: codes `(S, L)`, condition `(1, S, H)`, positions `(S,)` and rows wanted `(R,)`."""

    codes: Array
    condition: Array
    positions: Array
    rows: Array


class MaskedModel:
    """The backbone, head and guidance graphs of one masked transformer, on arrays of the module `arrays`."""

    def __init__(self, backbone: Session, head: Session, guidance: Session, num_codes: int, arrays: Any) -> None:
        self.backbone, self.head, self.guidance = backbone, head, guidance
        self.num_codes, self.arrays = num_codes, arrays

    @property
    def mask_code(self) -> int:
        return self.num_codes

    def hidden(self, codes: Array, context: Context, step: int, rows: Array) -> Array:
        """Hidden states `(1, R, H)` at target frames `rows (R,)`, given target codes `(T, L)`."""
        sequence = self.arrays.concatenate([context.prefix, codes])
        part = Part(sequence, context.condition, context.positions, rows + len(context.prefix))
        return self._forward([part], context.scales[step])[0]

    def guided_hidden(self, codes: Array, context: Context, step: int, rows: Array, sampling: LayerSampling) -> Array:
        """The same with classifier-free guidance; its deviation needs every target frame, so all are computed."""
        sequence = self.arrays.concatenate([context.prefix, codes])
        every = self.arrays.arange(len(codes))
        parts = [
            Part(sequence, context.condition, context.positions, every + len(context.prefix)),
            Part(codes, context.free_condition, every, every),
        ]
        conditional, unconditional = self._forward(parts, context.scales[step])
        guided = self.guidance.run(
            {
                "conditional": conditional,
                "unconditional": unconditional,
                "guidance": self.arrays.full(1, sampling.guidance, np.float32),
                "rescale": self.arrays.full(1, sampling.rescale, np.float32),
            }
        )["guided"]
        return guided[:, rows]

    def _forward(self, parts: list[Part], scales: Array) -> list[Array]:
        """One backbone call over sequences that do not see each other."""
        arrays, lengths = self.arrays, [len(part.codes) for part in parts]
        offsets = [sum(lengths[:i]) for i in range(len(parts))]
        ends = np.cumsum([len(part.rows) for part in parts])[:-1].tolist()
        hidden = self.backbone.run(
            {
                "codes": arrays.concatenate([part.codes for part in parts])[None],
                "condition": arrays.concatenate([part.condition for part in parts], axis=1),
                "scales": scales[None],
                "positions": arrays.concatenate([part.positions for part in parts])[None],
                "segments": arrays.concatenate([arrays.full(n, i, np.int64) for i, n in enumerate(lengths)])[None],
                "rows": arrays.concatenate([p.rows + start for p, start in zip(parts, offsets, strict=True)])[None],
            }
        )["hidden"]
        return arrays.split(hidden, ends, axis=1)

    def logits(self, hidden: Array, layer: int) -> Array:  # (1, R, H) → (R, K)
        return self.head.run({"hidden": hidden, "layer": self.arrays.full(1, layer, np.int64)})["logits"][0]


class LayerDecoding:
    """The state of one layer: which frames are settled, and their codes.

    Attributes:
        codes: `(T, L)` int64 with this layer's column filled step by step; K where unknown.
        masked: `(T,)` bool, frames not settled yet.
    """

    def __init__(self, model: MaskedModel, context: Context, codes: np.ndarray, layer: int, noise: NoiseStream,
                 sampling: LayerSampling, sampler: Sampler) -> None:  # fmt: skip
        self.model, self.context, self.layer = model, context, layer
        self.noise, self.sampling, self.sampler = noise, sampling, sampler
        codes = codes.copy()
        codes[:, layer] = model.mask_code
        self.codes = sampler.array(codes)
        self.masked = sampler.array(np.ones(len(codes), bool))

    def run(self, progress: Progress) -> np.ndarray:
        """All steps; returns the codes `(T, L)`, the only numbers that a GPU hands back."""
        for step in range(self.sampling.steps):
            self.step(step)
            progress(1)
            if not self._remaining(step):
                progress(self.sampling.steps - step - 1)
                break
        return self.sampler.host(self.codes)

    def step(self, step: int) -> None:
        """Chooses a code for every masked frame, then masks the least certain ones again."""
        rows = self.sampler.rows(self.masked)
        if self.sampling.guidance > 0 and len(self.context.prefix):
            hidden = self.model.guided_hidden(self.codes, self.context, step, rows, self.sampling)
        else:  # without a prefix both passes are the same and guidance does nothing
            hidden = self.model.hidden(self.codes, self.context, step, rows)
        t = np.float32(1.0 - step * (1.0 / self.sampling.steps))
        details = Step(
            number=step,
            layer=self.layer,
            t=t,
            temperature=self._temperature(step, float(t)),
            top_k_ratio=self.sampling.top_k_ratio,
            remaining=self._remaining(step),
            mask_code=self.model.mask_code,
        )
        logits = self.model.logits(hidden, self.layer)
        self.sampler.settle(logits, rows, self.codes, self.masked, self.noise, details)

    def _temperature(self, step: int, t: float) -> float:
        """Greedy (0) at the last of several steps."""
        steps = self.sampling.steps
        if steps > 1 and step == steps - 1:
            return 0.0
        return max(self.sampling.temperature * t if steps > 1 else SINGLE_STEP_TEMPERATURE, MIN_TEMPERATURE)

    def _remaining(self, step: int) -> int:
        return masked_count(len(self.codes), step + 1, self.sampling.steps)


def masked_count(frames: int, step: int, steps: int) -> int:
    """How many of `frames` are masked at the start of `step`: floor(sin(t · π / 2) · frames), in float32 throughout.

    The reference computes it so, and rounding decides where the product is near a whole number.
    """
    if step >= steps:
        return 0
    t = np.float32(1.0 - step * (1.0 / steps))
    angle = t * FLOAT_PI / np.float32(2)
    return int(np.float32(math.sin(float(angle))) * np.float32(frames))
