"""The whole conversion in torch, step by step as the reference does it: the baseline of parity and of speed.

Nothing is hoisted, packed or skipped here. P prompt frames, T target frames, L layers, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m8d.models.checkpoint import Checkpoint
from m8d.models.diff_llama import guide
from m8d.models.front_end import FrontEnd
from m8d.models.masked import S2A, embed_codes

# noise(stage, layer, kind, step, shape) → uniform numbers; stage 1 is the 1-layer model, 2 the full one.
Noise = Callable[[int, int, int, int, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Schedule:
    """Steps of each layer and guidance of the two models; the defaults are the reference wrapper's."""

    steps: tuple[int, ...]
    coarse_guidance: float = 0.0
    fine_guidance: float = 2.5
    rescale: float = 0.75
    temperature: float = 1.5
    top_k_ratio: float = 0.02


class TorchPipeline:
    """All stages of a checkpoint in memory, as the reference holds them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.front_end = FrontEnd()
        self.w2v_bert, self.semantic_codec = checkpoint.load("w2v_bert"), checkpoint.load("semantic_codec")
        self.encoder, self.decoder = checkpoint.load("acoustic_encoder"), checkpoint.load("acoustic_decoder")
        self.s2a = (checkpoint.load("s2a_1layer"), checkpoint.load("s2a_full"))
        self.mean, self.std = checkpoint.statistics()

    @torch.inference_mode()
    def latents(self, pcm_16k: np.ndarray) -> Tensor:  # (N,) → (T, 8)
        pcm = torch.from_numpy(pcm_16k)[None]
        features, mask, frames = self.front_end(pcm, torch.tensor([pcm.shape[1]]))
        hidden = (self.w2v_bert(features, mask) - self.mean) / self.std
        return self.semantic_codec.latents(hidden, frames)[0]

    @torch.inference_mode()
    def acoustic_codes(self, pcm_24k: np.ndarray) -> Tensor:  # (N,) → (T, L)
        pcm = torch.from_numpy(pcm_24k)[None]
        return self.decoder.quantizer.encode(self.encoder(pcm, torch.tensor([pcm.shape[1]])))[0]

    @torch.inference_mode()
    def decode(
        self, semantic: Tensor, prompt: tuple[Tensor, Tensor] | None, schedule: Schedule, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """Semantic codes `(T,)` and a prompt's (semantic `(P,)`, acoustic `(P, L)`) → codes `(T, L)`, PCM `(N,)`."""
        layers = len(schedule.steps)
        before, acoustic = prompt or (semantic[:0], torch.zeros(0, layers, dtype=torch.long))
        codes = torch.zeros(len(semantic), layers, dtype=torch.long)
        for layer, steps in enumerate(schedule.steps):
            coarse = layer == 0
            model, width = self.s2a[0 if coarse else 1], 1 if coarse else layers
            guidance = schedule.coarse_guidance if coarse else schedule.fine_guidance
            decoding = _Layer(model, acoustic[:, :width], torch.cat([before, semantic]), layer, guidance, schedule)
            codes[:, layer] = decoding.run(codes[:, :layer], steps, lambda *a: noise(1 if coarse else 2, layer, *a))  # noqa: B023
        pcm = self.decoder(codes[None], torch.tensor([len(codes)]))[0]
        return codes, pcm


class _Layer:
    def __init__(self, model: S2A, prompt: Tensor, semantic: Tensor, layer: int, guidance: float, schedule: Schedule
                 ) -> None:  # fmt: skip
        self.model, self.prompt, self.semantic, self.layer = model, prompt, semantic, layer
        self.guidance, self.schedule = guidance, schedule

    def forward(self, codes: Tensor, semantic: Tensor, t: float) -> Tensor:  # (S, L), (S,) → (1, S, H)
        model, size = self.model, torch.arange(len(codes))[None]
        x = embed_codes(model.embedding_table(), codes[None])
        x = x + model.condition(semantic[None], torch.tensor([self.layer]))
        scales = model.diff_estimator.scales(torch.tensor([t]))
        return model.diff_estimator(x, scales, size, torch.zeros_like(size), size)

    def run(self, known: Tensor, steps: int, noise: Callable[[int, int, tuple[int, ...]], np.ndarray]) -> Tensor:
        target, unknown = len(known), self.model.num_codes
        width = self.prompt.shape[1]
        weight, bias = (part[self.layer] for part in self.model.heads())
        chosen, masked = torch.full((target,), unknown), torch.ones(target, dtype=torch.bool)
        for step in range(steps):
            t = 1.0 - step / steps
            later = torch.full((target, width - self.layer - 1), unknown)
            codes = torch.cat([known, chosen[:, None], later], dim=1)
            hidden = self.forward(torch.cat([self.prompt, codes]), self.semantic, t)[:, len(self.prompt) :]
            if self.guidance > 0:
                free = self.forward(codes, self.semantic[len(self.prompt) :], t)
                hidden = guide(hidden, free, torch.tensor([self.guidance]), torch.tensor([self.schedule.rescale]))
            logits = (hidden @ weight + bias)[0]
            kept = logits.topk(math.ceil((1 - (1 - self.schedule.top_k_ratio)) * unknown), dim=-1)
            logits = torch.full_like(logits, -torch.inf).scatter(1, kept.indices, kept.values)
            if steps > 1 and step == steps - 1:
                sampled = logits.argmax(-1)
            else:
                temperature = max(self.schedule.temperature * t, 1e-3) if steps > 1 else 0.2
                sampled = (logits / temperature + _gumbel(noise(0, step, (1, target, unknown)))).argmax(-1)
            chosen = torch.where(masked, sampled, chosen)
            count = int(torch.sin(torch.tensor(1.0 - (step + 1) / steps) * np.pi / 2) * target)
            if count == 0 or step == steps - 1:
                break
            confidence = logits.softmax(-1).gather(1, sampled[:, None])[:, 0]
            score = 1 - (confidence + t * _gumbel(noise(1, step, (1, target))))
            again = score.masked_fill(~masked, -torch.inf).topk(count).indices
            masked = torch.zeros(target, dtype=torch.bool).scatter(0, again, True)
            chosen = chosen.masked_fill(masked, unknown)
        return chosen


def _gumbel(uniform: np.ndarray) -> Tensor:
    return -torch.log(-torch.log(torch.from_numpy(uniform)[0] + 1e-10) + 1e-10)
