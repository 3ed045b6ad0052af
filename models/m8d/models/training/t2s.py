"""Trains T2S by masked prediction: phones and a prompt's semantic codes to semantic codes.

Which phone a frame belongs to is what takes a small model longest to find out. The corpus knows it, so one attention
head in each of the two blocks before the last is told.

N phones, P prompt frames, T target frames, S = N + P + T rows, K codes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models.config import T2SConfig
from m8d.models.diff_llama import Attention, DiffLlama
from m8d.models.masked import T2S, embed_codes
from m8d.models.training.data import FRAME_RATE, SEMANTIC_CENTRE, Recordings
from m8d.models.training.loop import Trainer
from m8d.models.training.phones import PHONE_ID, as_read
from m8d.models.training.s2a import near_codes, set_projected

BATCH = 6
PROMPT_SHARE = (0.2, 0.5)  # of an utterance
NO_PROMPT = 0.15
NO_TEXT = 0.1  # codes alone, as guidance sees them
OTHER_PROMPT = 0.7  # of the prompts are another utterance, as when speaking; the others are an utterance's beginning
ALIGNMENT_WEIGHT = 0.2


@dataclass(frozen=True)
class Spoken:
    recordings: Recordings
    codes: list[Tensor]  # (T,) each


@dataclass(frozen=True)
class Item:
    phones: Tensor  # (N,)
    codes: Tensor  # (P + T,)
    spoken: Tensor  # (P + T,), which phone each frame says; empty without phones
    prompt: int  # P


class WatchedAttention:
    """Keeps what attention before the last block is given, to tell their first head where to look."""

    def __init__(self, backbone: DiffLlama) -> None:
        self.attentions = [block.self_attn for block in backbone.layers[-3:-1]]
        self.calls: dict[nn.Module, tuple[Any, ...]] = {}
        self.hooks = [attention.register_forward_pre_hook(self.calls.__setitem__) for attention in self.attentions]

    def __enter__(self) -> WatchedAttention:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def loss(self, item: Item) -> Tensor:
        """Cross-entropy of the frames' attention with the phones they say."""
        losses = [F.cross_entropy(self.scores(attention)[len(item.phones) :], item.spoken)
                  for attention in self.attentions]  # fmt: skip
        return torch.stack(losses).mean()

    def scores(self, attention: Attention) -> Tensor:  # (S, S)
        query_rows, rows, query_rotation, rotation, _ = self.calls[attention]
        query = query_rotation.apply(attention.split(attention.q_proj(query_rows)))[0, 0]
        key = rotation.apply(attention.split(attention.k_proj(rows)))[0, 0]
        return query @ key.T * attention.head_size**-0.5


class T2STrainer(Trainer):
    """Phone ids are those of `phones.vocabulary`. Embeddings and targets begin from the semantic codebook `(K, D)`, as
    those of S2A do from theirs.
    """

    name = "t2s"

    def __init__(
        self,
        config: T2SConfig,
        train: Spoken,
        held_out: dict[str, Spoken],
        codebook: Tensor,
        batch: int = BATCH,
    ) -> None:
        self.train, self.held_out, self.batch = train, held_out, batch
        model = T2S(config)
        set_projected(model.cond_emb, codebook)
        self.targets = near_codes(codebook)
        self.modules = nn.ModuleDict({"t2s": model})

    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        items = [self.item(self.train, int(i), chance) for i in self.train.recordings.sample(chance, self.batch)]
        loss, alignment, right = self.items_loss(self.modules["t2s"], items, chance, self.targets)
        return loss + ALIGNMENT_WEIGHT * alignment, {"accuracy": right, "alignment": float(alignment.detach())}

    def item(self, said: Spoken, index: int, chance: np.random.Generator) -> Item:
        """An utterance behind a prompt of its speaker; a dropped prompt drops its phones and everything before it."""
        if chance.random() < NO_TEXT:
            nothing = torch.zeros(0, dtype=torch.long)
            return Item(nothing, said.codes[index], nothing, 0)
        recordings = said.recordings
        prompt = int(len(said.codes[index]) * chance.uniform(*PROMPT_SHARE))
        if chance.random() < NO_PROMPT:
            return self.utterance(said, index, chance, start=prompt)
        item = dataclasses.replace(self.utterance(said, index, chance), prompt=prompt)
        others = [i for i in recordings.by_speaker[recordings.speaker_ids[index]] if i != index]
        if not others or chance.random() > OTHER_PROMPT:
            return item
        before = self.utterance(said, int(chance.choice(others)), chance)
        return Item(
            torch.cat([before.phones, item.phones]),
            torch.cat([before.codes, item.codes]),
            torch.cat([before.spoken, item.spoken + len(before.phones)]),
            len(before.codes),
        )

    def utterance(self, said: Spoken, index: int, chance: np.random.Generator, start: int = 0) -> Item:
        """What is said from frame `start` on, without a prompt."""
        codes = said.codes[index][start:]
        phones = [(PHONE_ID[name], end) for name, end in said.recordings.utterances[index].phones]
        read = as_read([(phone, end) for phone, end in phones if end > start / FRAME_RATE], chance)
        times = (start + np.arange(len(codes))) / FRAME_RATE + SEMANTIC_CENTRE
        spoken = np.searchsorted([end for _, end in read], times, side="right").clip(max=len(read) - 1)
        return Item(torch.tensor([phone for phone, _ in read]), codes, torch.from_numpy(spoken), 0)

    def items_loss(self, model: T2S, items: list[Item], chance: np.random.Generator, targets: Tensor | None = None,
                   ) -> tuple[Tensor, Tensor, float]:  # fmt: skip
        """Cross-entropy at the hidden frames, that of the watched attention, accuracy."""
        backbone, table = model.diff_estimator, model.embedding_table()
        losses, alignments, right, count = [], [], 0.0, 0
        for item in items:
            t = float(chance.random())
            frames = len(item.codes) - item.prompt
            masked = torch.from_numpy(chance.permutation(frames) < max(1, frames * math.sin(t * math.pi / 2)))
            shown = item.codes.clone()
            shown[item.prompt :][masked] = model.num_codes
            x = torch.cat([model.condition(item.phones[None]), embed_codes(table, shown[None, :, None])], dim=1)
            size = torch.arange(x.shape[1])[None]
            with WatchedAttention(backbone) as watched:
                hidden = backbone(x, backbone.scales(torch.tensor([t])), size, torch.zeros_like(size),
                                  size[:, -frames:])  # fmt: skip
                if len(item.phones):
                    alignments.append(watched.loss(item))
            logits, wanted = model.to_logit(hidden[0][masked]), item.codes[item.prompt :][masked]
            losses.append(F.cross_entropy(logits, wanted if targets is None else targets[wanted]))
            right += float((logits.argmax(-1) == wanted).sum())
            count += len(wanted)
        alignment = torch.stack(alignments).mean() if alignments else torch.zeros(())
        return torch.stack(losses).mean(), alignment, right / count

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        figures = {}
        for name, spoken in self.held_out.items():
            chance = np.random.default_rng(0)
            items = [self.item(spoken, i, chance) for i in range(min(24, len(spoken.recordings)))]
            loss, alignment, right = self.items_loss(modules["t2s"], items, chance)
            figures |= {f"loss_{name}": float(loss), f"alignment_{name}": float(alignment), f"accuracy_{name}": right}
        return figures
