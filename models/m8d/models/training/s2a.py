"""Trains the two S2A models by masked prediction with a prompt (MaskGCT, arXiv 2409.00750).

Codes that sound alike are nearly as good as the right one, and a small model sees too little speech to find out which
those are. So embeddings begin as projections of the codebooks, and targets give near codes a part of the right one's
weight.

The prompt is another utterance of the target's speaker, as in a conversion; one time in seven there is none, which is
what classifier-free guidance subtracts.

B batch, P prompt frames, T target frames, S = P + T rows, Q quantizers, K codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models.config import S2AConfig
from m8d.models.masked import S2A, embed_codes
from m8d.models.training.loop import Trainer
from m8d.models.training.tokens import Tokens

BATCH = 10
TARGET = (60, 180)  # frames
PROMPT = (30, 120)  # frames
NO_PROMPT = 0.15
OWN_WEIGHT = 0.6  # of a target, on average, that the right code keeps
EMBEDDING_STD = 0.2  # at the start
ALL_MASKED = 0.4  # of the steps beyond layer 0 see nothing of the layer, as the one-step layers do when decoding


@dataclass(frozen=True)
class Batch:
    semantic: Tensor  # (B, S)
    acoustic: Tensor  # (B, S, Q)
    prompt: int  # P
    no_prompt: Tensor  # (B,) bool


def draw_batch(tokens: Tokens, chance: np.random.Generator, count: int, no_prompt: float, other_speaker: bool = False,
               ) -> Batch:  # fmt: skip
    """Target crops behind prompt crops of the same speaker, or of any other if `other_speaker`."""
    longest = max(map(len, tokens.semantic))
    prompt, target = (min(int(chance.integers(low, high + 1)), longest) for low, high in (PROMPT, TARGET))
    speakers = list(tokens.speakers)
    semantic, acoustic = [], []
    while len(semantic) < count:
        speaker = speakers[chance.integers(len(speakers))]
        source = speakers[chance.integers(len(speakers))] if other_speaker else speaker
        target_index, prompt_index = (int(chance.choice(tokens.speakers[s])) for s in (speaker, source))
        sizes = (len(tokens.semantic[prompt_index]), prompt), (len(tokens.semantic[target_index]), target)
        if any(size < wanted for size, wanted in sizes):
            continue
        parts = []
        for index, (size, wanted) in zip((prompt_index, target_index), sizes, strict=True):
            start = int(chance.integers(size - wanted + 1))
            crop = slice(start, start + wanted)
            parts.append((tokens.semantic[index][crop], tokens.acoustic[index][crop]))
        semantic.append(torch.cat([part[0] for part in parts]))
        acoustic.append(torch.cat([part[1] for part in parts]))
    drop = torch.from_numpy(chance.random(count) < no_prompt)
    return Batch(torch.stack(semantic), torch.stack(acoustic), prompt, drop)


def target_logits(model: S2A, batch: Batch, layer: int, masked: Tensor, t: Tensor) -> Tensor:
    """Logits `(B, T, K)` of `layer` at the target frames.

    Args:
        model: with as many layers as it has; it sees that many of the batch's.
        batch: codes.
        layer: known below, partly masked at, unknown above.
        masked: `(B, T)`, which target frames hide this layer.
        t: `(B,)` diffusion times.
    """
    count, size = batch.semantic.shape
    frames = size - batch.prompt
    codes = batch.acoustic[..., : model.num_layers].clone()
    codes[:, batch.prompt :, layer + 1 :] = model.num_codes
    codes[:, batch.prompt :, layer][masked] = model.num_codes
    rows = torch.arange(size).expand(count, size)
    # Without its prompt an item starts at position 0 and attends to itself alone.
    positions = torch.where(batch.no_prompt[:, None], (rows - batch.prompt).clamp(min=0), rows)
    segments = ((rows < batch.prompt) & batch.no_prompt[:, None]).long()
    x = embed_codes(model.embedding_table(), codes) + model.condition(batch.semantic, torch.tensor([layer]))
    backbone = model.diff_estimator
    hidden = backbone(x, backbone.scales(t), positions, segments, rows[:, -frames:])
    return model.to_logits[layer](hidden)


@dataclass(frozen=True)
class Codebooks:
    """What codes stand for: `semantic (K', D)`, and `acoustic (K, C)` of each layer."""

    semantic: Tensor
    acoustic: list[Tensor]


def near_codes(table: Tensor) -> Tensor:
    """`(K, K)`, a row for each code: weights of a target, falling with squared distance in `table (K, C)`."""
    distances = torch.cdist(table, table).square()
    low, high = -20.0, 20.0  # of the logarithm of the width, halved until the right codes keep OWN_WEIGHT on average
    for _ in range(40):
        middle = (low + high) / 2
        weights = torch.softmax(-distances / math.exp(middle), -1)
        low, high = (middle, high) if float(weights.diagonal().mean()) > OWN_WEIGHT else (low, middle)
    return weights


def set_projected(embedding: nn.Embedding, table: Tensor) -> None:
    """Starts `embedding (K, H)` as a random projection of `table (K, C)`."""
    rows = (table - table.mean(0)) @ torch.randn(table.shape[1], embedding.embedding_dim)
    embedding.weight.data.copy_(rows * (EMBEDDING_STD / rows.std()))


def masked_loss(
    model: S2A, batch: Batch, layer: int, t: Tensor, chance: np.random.Generator, targets: Tensor | None = None
) -> tuple[Tensor, float]:
    """Cross-entropy and accuracy at the hidden frames, a share `sin(t π / 2)` of them; `targets` by `near_codes`."""
    frames = batch.semantic.shape[1] - batch.prompt
    share = torch.sin(t * math.pi / 2)[:, None]
    order = torch.from_numpy(chance.random((len(t), frames))).argsort().argsort()
    masked = order < (share * frames).clamp(min=1)
    logits = target_logits(model, batch, layer, masked, t)[masked]
    wanted = batch.acoustic[:, batch.prompt :, layer][masked]
    loss = F.cross_entropy(logits, wanted if targets is None else targets[wanted])
    return loss, float((logits.argmax(-1) == wanted).float().mean())


class S2ATrainer(Trainer):
    """Layer 0 with a model of one layer, layers 1 … Q - 1 with the full one."""

    def __init__(
        self, config: S2AConfig, train: Tokens, held_out: dict[str, Tokens], codebooks: Codebooks, batch: int = BATCH
    ) -> None:
        self.train, self.held_out, self.batch = train, held_out, batch
        self.layers = [0] if config.num_quantizer == 1 else list(range(1, config.num_quantizer))
        self.name = "s2a_1layer" if config.num_quantizer == 1 else "s2a_full"
        model = S2A(config)
        set_projected(model.cond_emb, codebooks.semantic)
        for embedding, table in zip(model.token_emb, codebooks.acoustic, strict=False):
            assert isinstance(embedding, nn.Embedding)
            set_projected(embedding, table)
        self.targets = [near_codes(table) for table in codebooks.acoustic[: config.num_quantizer]]
        self.modules = nn.ModuleDict({self.name: model})

    def draw_layer(self, chance: np.random.Generator) -> int:
        weights = np.linspace(1.0, 0.3, len(self.layers))  # what the first layers get wrong is heard most
        return int(chance.choice(self.layers, p=weights / weights.sum()))

    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        layer = self.draw_layer(chance)
        t = torch.from_numpy(chance.random(self.batch)).float()
        if layer > 0 and chance.random() < ALL_MASKED:
            t = torch.ones(self.batch)
        batch = draw_batch(self.train, chance, self.batch, NO_PROMPT)
        loss, right = masked_loss(self.modules[self.name], batch, layer, t, chance, self.targets[layer])
        return loss, {"accuracy": right}

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Losses of fully masked targets: with their own prompt, a stranger's, and none."""
        figures = {}
        t = torch.ones(self.batch)
        for name, tokens in self.held_out.items():
            for kind, (no_prompt, other) in {"own": (0, False), "other": (0, True), "none": (1, False)}.items():
                chance = np.random.default_rng(0)
                results = [
                    masked_loss(modules[self.name], draw_batch(tokens, chance, self.batch, no_prompt, other),
                                self.layers[i % len(self.layers)], t, chance)
                    for i in range(8)
                ]  # fmt: skip
                figures[f"{kind}_{name}"] = sum(float(loss) for loss, _ in results) / len(results)
                if kind == "own":
                    figures[f"accuracy_{name}"] = sum(right for _, right in results) / len(results)
        return figures
