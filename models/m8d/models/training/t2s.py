"""Trains T2S by masked prediction: phones and a prompt's semantic codes to semantic codes.

N phones, P prompt frames, T target frames, K codes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models.config import T2SConfig
from m8d.models.masked import T2S, embed_codes
from m8d.models.training.data import FRAME_RATE, Recordings
from m8d.models.training.loop import Trainer
from m8d.models.training.phones import PHONE_ID, as_read
from m8d.models.training.s2a import near_codes, set_projected
from m8d.models.training.tokens import Tokens

BATCH = 6
PROMPT_SHARE = (0.2, 0.5)  # of an utterance
NO_PROMPT = 0.15


class T2STrainer(Trainer):
    """Each utterance is its own prompt up to a random place, as in the paper.

    Phone ids are those of `phones.vocabulary`. Embeddings and targets begin from the semantic codebook `(K, D)`, as
    those of S2A do from theirs.
    """

    name = "t2s"

    def __init__(
        self,
        config: T2SConfig,
        train: tuple[Recordings, Tokens],
        held_out: dict[str, tuple[Recordings, Tokens]],
        codebook: Tensor,
        batch: int = BATCH,
    ) -> None:
        self.train, self.held_out, self.batch = train, held_out, batch
        model = T2S(config)
        set_projected(model.cond_emb, codebook)
        self.targets = near_codes(codebook)
        self.modules = nn.ModuleDict({"t2s": model})

    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        recordings, tokens = self.train
        items = [self.item(recordings, tokens, int(i), chance) for i in recordings.sample(chance, self.batch)]
        loss, right = self.items_loss(self.modules["t2s"], items, chance, self.targets)
        return loss, {"accuracy": right}

    def item(self, recordings: Recordings, tokens: Tokens, index: int, chance: np.random.Generator,
             ) -> tuple[Tensor, Tensor, int]:  # fmt: skip
        """Phone ids `(N,)`, codes `(P + T,)` and P. A dropped prompt drops its phones and everything before it."""
        phones = [(PHONE_ID[name], end) for name, end in recordings.utterances[index].phones]
        codes = tokens.semantic[index]
        prompt = int(len(codes) * chance.uniform(*PROMPT_SHARE))
        if chance.random() < NO_PROMPT:
            phones = [(phone, end) for phone, end in phones if end > prompt / FRAME_RATE]
            codes, prompt = codes[prompt:], 0
        return torch.tensor(as_read([phone for phone, _ in phones], chance)), codes, prompt

    def items_loss(self, model: T2S, items: list[tuple[Tensor, Tensor, int]], chance: np.random.Generator,
                   targets: Tensor | None = None) -> tuple[Tensor, float]:  # fmt: skip
        backbone, table = model.diff_estimator, model.embedding_table()
        losses, right, count = [], 0.0, 0
        for phones, codes, prompt in items:
            t = float(chance.random())
            frames = len(codes) - prompt
            masked = torch.from_numpy(chance.permutation(frames) < max(1, frames * math.sin(t * math.pi / 2)))
            shown = codes.clone()
            shown[prompt:][masked] = model.num_codes
            x = torch.cat([model.condition(phones[None]), embed_codes(table, shown[None, :, None])], dim=1)
            size = torch.arange(x.shape[1])[None]
            hidden = backbone(x, backbone.scales(torch.tensor([t])), size, torch.zeros_like(size), size[:, -frames:])
            logits, wanted = model.to_logit(hidden[0][masked]), codes[prompt:][masked]
            losses.append(F.cross_entropy(logits, wanted if targets is None else targets[wanted]))
            right += float((logits.argmax(-1) == wanted).sum())
            count += len(wanted)
        return torch.stack(losses).mean(), right / count

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        figures = {}
        for name, (recordings, tokens) in self.held_out.items():
            chance = np.random.default_rng(0)
            items = [self.item(recordings, tokens, i, chance) for i in range(min(24, len(recordings)))]
            loss, right = self.items_loss(modules["t2s"], items, chance)
            figures[f"loss_{name}"], figures[f"accuracy_{name}"] = float(loss), right
        return figures
