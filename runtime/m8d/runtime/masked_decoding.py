"""Mask-and-predict decoding (MaskGIT, arXiv 2202.04200; MaskGCT, arXiv 2409.00750), the runtime's only loop.

P prompt frames, T target frames, S rows of a sequence, L layers of the model, K codes, H width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m8d.engines.session import Session
from m8d.runtime.noise import REMASKING, SAMPLING, NoiseStream, gumbel

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
    """The rows around the target, fixed within a layer.

    Attributes:
        prefix: `(P, L)` int64, codes of the rows before the target (a row of K + 1 holds no code).
        condition: `(1, P + T, H)` float32, for prefix and target.
        free_condition: `(1, T, H)` float32, what the guidance pass sees for the target rows.
        scales: `(steps, M, H)` float32, the norm scales of each step.
    """

    prefix: np.ndarray
    condition: np.ndarray
    free_condition: np.ndarray
    scales: np.ndarray


class MaskedModel:
    """The backbone, head and guidance graphs of one masked transformer."""

    def __init__(self, backbone: Session, head: Session, guidance: Session, num_codes: int) -> None:
        self.backbone, self.head, self.guidance = backbone, head, guidance
        self.num_codes = num_codes

    @property
    def mask_code(self) -> int:
        return self.num_codes

    def hidden(self, codes: np.ndarray, context: Context, step: int, rows: np.ndarray) -> np.ndarray:
        """Hidden states `(1, R, H)` at target frames `rows (R,)`, given target codes `(T, L)`."""
        sequence = np.concatenate([context.prefix, codes])
        return self._forward([(sequence, context.condition, rows + len(context.prefix))], context.scales[step])[0]

    def guided_hidden(
        self, codes: np.ndarray, context: Context, step: int, rows: np.ndarray, sampling: LayerSampling
    ) -> np.ndarray:
        """The same with classifier-free guidance; its deviation needs every target frame, so all are computed."""
        sequence = np.concatenate([context.prefix, codes])
        every = np.arange(len(codes))
        conditional, unconditional = self._forward(
            [(sequence, context.condition, every + len(context.prefix)), (codes, context.free_condition, every)],
            context.scales[step],
        )
        guided = self.guidance.run(
            {
                "conditional": conditional,
                "unconditional": unconditional,
                "guidance": np.array([sampling.guidance], np.float32),
                "rescale": np.array([sampling.rescale], np.float32),
            }
        )["guided"]
        return guided[:, rows]

    def _forward(self, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], scales: np.ndarray) -> list[np.ndarray]:
        """One backbone call over sequences that do not see each other: (codes, condition, rows wanted) of each."""
        lengths = [len(codes) for codes, _, _ in parts]
        offsets = np.cumsum([0, *lengths[:-1]])
        wanted = [rows + start for (_, _, rows), start in zip(parts, offsets, strict=True)]
        hidden = self.backbone.run(
            {
                "codes": np.concatenate([codes for codes, _, _ in parts])[None],
                "condition": np.concatenate([condition for _, condition, _ in parts], axis=1),
                "scales": scales[None],
                "positions": np.concatenate([np.arange(n) for n in lengths])[None],
                "segments": np.repeat(np.arange(len(parts)), lengths)[None],
                "rows": np.concatenate([rows + start for (_, _, rows), start in zip(parts, offsets, strict=True)])[
                    None
                ],
            }
        )["hidden"]
        return np.split(hidden, np.cumsum([len(rows) for rows in wanted])[:-1], axis=1)

    def logits(self, hidden: np.ndarray, layer: int) -> np.ndarray:  # (1, R, H) → (R, K)
        return self.head.run({"hidden": hidden, "layer": np.array([layer])})["logits"][0]


class LayerDecoding:
    """The state of one layer: which frames are settled, and their codes.

    Attributes:
        codes: `(T, L)` int64 with this layer's column filled step by step; K where unknown.
        masked: `(T,)` bool, frames not settled yet.
    """

    def __init__(self, model: MaskedModel, context: Context, codes: np.ndarray, layer: int, noise: NoiseStream,
                 sampling: LayerSampling) -> None:  # fmt: skip
        self.model, self.context, self.layer = model, context, layer
        self.noise, self.sampling = noise, sampling
        self.codes = codes.copy()
        self.codes[:, layer] = model.mask_code
        self.masked = np.ones(len(codes), bool)

    def run(self, progress: Progress) -> np.ndarray:
        """All steps; returns the codes `(T, L)`."""
        for step in range(self.sampling.steps):
            self.step(step)
            progress(1)
            if not self.masked.any():
                progress(self.sampling.steps - step - 1)
                break
        return self.codes

    def step(self, step: int) -> None:
        """Chooses a code for every masked frame, then masks the least certain ones again."""
        rows = np.flatnonzero(self.masked)
        t = np.float32(1.0 - step * (1.0 / self.sampling.steps))
        if self.sampling.guidance > 0 and len(self.context.prefix):
            hidden = self.model.guided_hidden(self.codes, self.context, step, rows, self.sampling)
        else:  # without a prefix both passes are the same and guidance does nothing
            hidden = self.model.hidden(self.codes, self.context, step, rows)
        candidates, logits = top_k(self.model.logits(hidden, self.layer), self.sampling.top_k_ratio)
        choice = self.choose(logits, candidates, rows, step, t)
        self.codes[rows, self.layer] = np.take_along_axis(candidates, choice[:, None], axis=1)[:, 0]

        remaining = masked_count(len(self.codes), step + 1, self.sampling.steps)
        again = rows[:0]
        if remaining:
            confidence = np.take_along_axis(softmax(logits), choice[:, None], axis=1)[:, 0]
            shake = gumbel(self.noise.uniform(REMASKING, step, (1, len(self.codes)))[0, rows])
            score = np.float32(1.0) - (t * shake + confidence)
            again = rows[np.argsort(-score, kind="stable")[:remaining]]
        self.masked[:] = False
        self.masked[again] = True
        self.codes[again, self.layer] = self.model.mask_code

    def choose(self, logits: np.ndarray, candidates: np.ndarray, rows: np.ndarray, step: int, t: np.float32
               ) -> np.ndarray:  # fmt: skip
        """Index `(R,)` into the candidates `(R, k)`: greedy at the last of several steps, Gumbel-argmax before."""
        steps = self.sampling.steps
        if steps > 1 and step == steps - 1:
            return logits.argmax(-1)
        temperature = self.sampling.temperature * float(t) if steps > 1 else SINGLE_STEP_TEMPERATURE
        uniform = self.noise.uniform(SAMPLING, step, (1, len(self.codes), self.model.num_codes))[0]
        noise = gumbel(uniform[rows[:, None], candidates])
        return (logits / np.float32(max(temperature, MIN_TEMPERATURE)) + noise).argmax(-1)


def top_k(logits: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """The `ceil(ratio * K)` largest of `logits (R, K)`: their codes, ascending, and logits, both `(R, k)`.

    All else has probability 0, so sampling and softmax need nothing more.
    """
    size = logits.shape[-1]
    count = min(size, math.ceil((1 - (1 - ratio)) * size))  # rounds as the reference's ceil((1 - 0.98) * K) does
    codes = np.sort(np.argpartition(logits, size - count, axis=-1)[:, size - count :], axis=-1)
    return codes, np.take_along_axis(logits, codes, axis=-1)


def softmax(x: np.ndarray) -> np.ndarray:
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def masked_count(frames: int, step: int, steps: int) -> int:
    """How many of `frames` are masked at the start of `step`: floor(sin(t · π / 2) · frames), in float32 throughout.

    The reference computes it so, and rounding decides where the product is near a whole number.
    """
    if step >= steps:
        return 0
    t = np.float32(1.0 - step * (1.0 / steps))
    angle = t * FLOAT_PI / np.float32(2)
    return int(np.float32(math.sin(float(angle))) * np.float32(frames))
