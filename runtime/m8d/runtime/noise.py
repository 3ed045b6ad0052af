"""Counter-based random numbers: the same seed gives the same audio on every backend and in every language.

A draw is named by what it is for, not by what was drawn before it, so skipped draws change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLING, REMASKING = 0, 1  # kinds of draw
STAGE_T2S, STAGE_S2A_1LAYER, STAGE_S2A_FULL = 0, 1, 2
LAYERS_PER_STAGE = 256
EPSILON = np.float32(1e-10)


@dataclass(frozen=True)
class NoiseStream:
    """Uniform draws of one layer of one stage: Philox4x64-10, key (seed, 0), counter (0, kind, step, layer)."""

    seed: int
    stage: int
    layer: int

    def uniform(self, kind: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
        """float32 in [0, 1) of `shape`, in C order."""
        counter = [0, kind, step, self.layer + LAYERS_PER_STAGE * self.stage]
        # An array: in a list, NumPy would turn a seed of 2**63 or more into a float first.
        bits = np.random.Philox(key=np.array([self.seed, 0], np.uint64), counter=counter)
        return np.random.Generator(bits).random(shape, dtype=np.float32)


def gumbel(uniform: np.ndarray) -> np.ndarray:
    """Standard Gumbel numbers from uniform ones, guarded at both ends as the reference does."""
    return -np.log(-np.log(uniform + EPSILON) + EPSILON)
