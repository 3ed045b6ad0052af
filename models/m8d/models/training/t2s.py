"""Trains T2S by masked prediction: phones and a prompt's semantic codes to semantic codes.

Which phone a frame says is what takes a small model longest to find out. The corpus knows it: phones are placed where
they are heard, one attention head in each of the two blocks before the last is told where to look, and a duration
predictor learns how long phones last, to place them when there is nothing to hear yet.

B batch, N phones, P prompt frames, T target frames, S = N + P + T rows, K codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from m8d.models.config import T2SConfig
from m8d.models.diff_llama import Attention, DiffLlama
from m8d.models.masked import T2S, embed_codes, phone_positions
from m8d.models.training.data import FRAME_RATE, SEMANTIC_CENTRE, Recordings
from m8d.models.training.loop import Trainer
from m8d.models.training.phones import PHONE_ID, SILENCE, as_read
from m8d.models.training.s2a import near_codes, set_projected

BATCH = 8
SIMILAR = 4  # batches are drawn at once and divided by length
NO_PROMPT = 0.5
NO_TEXT = 0.1  # codes alone, as guidance sees them
WEIGHTS = {"alignment": 0.2, "durations": 0.2}  # of losses beside that of the codes
IGNORED = -100  # of targets
SHORTEST = 0.01  # s, of a phone
PADDING = -1  # segment of rows that belong to no item


@dataclass(frozen=True)
class Spoken:
    recordings: Recordings
    codes: list[Tensor]  # (T,) each


@dataclass(frozen=True)
class Item:
    phones: Tensor  # (N,)
    codes: Tensor  # (P + T,)
    spoken: Tensor  # (P + T,), which phone each frame says, or IGNORED
    middles: Tensor  # (N,), the frame in the middle of each phone
    seconds: Tensor  # (N,), how long each phone lasts
    prompt: tuple[int, int] = (0, 0)  # how many of the phones and frames are the prompt's


def _padded(parts: list[Tensor], value: float = 0) -> Tensor:  # (B, longest, …)
    return pad_sequence(parts, batch_first=True, padding_value=value)


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

    def loss(self, spoken: Tensor) -> Tensor:
        """Cross-entropy of the rows' attention with the rows they say, `spoken (B, S)`, or `IGNORED`."""
        losses = [F.cross_entropy(self.scores(attention).flatten(0, 1), spoken.flatten(), ignore_index=IGNORED)
                  for attention in self.attentions]  # fmt: skip
        return torch.stack(losses).mean()

    def scores(self, attention: Attention) -> Tensor:  # (B, S, S)
        query_rows, rows, query_rotation, rotation, bias = self.calls[attention]
        query = query_rotation.apply(attention.split(attention.q_proj(query_rows)))[:, 0]
        key = rotation.apply(attention.split(attention.k_proj(rows)))[:, 0]
        return query @ key.mT * attention.head_size**-0.5 + bias[:, 0]


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
        losses, right = self.items_loss(self.modules["t2s"], self.draw(chance), chance, self.targets)
        figures = {name: float(losses[name].detach()) for name in WEIGHTS}
        return losses["codes"] + sum(WEIGHTS[name] * losses[name] for name in WEIGHTS), {"accuracy": right, **figures}

    def draw(self, chance: np.random.Generator) -> list[Item]:
        """A batch of items of about one length, so that little of it is padding."""
        drawn = self.train.recordings.sample(chance, SIMILAR * self.batch)
        items = sorted((self.item(self.train, int(i), chance) for i in drawn), key=lambda item: len(item.codes))
        first = self.batch * int(chance.integers(SIMILAR))
        return items[first : first + self.batch]

    def item(self, said: Spoken, index: int, chance: np.random.Generator) -> Item:
        """An utterance, behind another of its speaker as its prompt but where it has none."""
        if chance.random() < NO_TEXT:
            codes, nothing = said.codes[index], torch.zeros(0, dtype=torch.long)
            return Item(nothing, codes, torch.full_like(codes, IGNORED), nothing, nothing.float())
        recordings = said.recordings
        item = self.utterance(said, index, chance)
        others = [i for i in recordings.by_speaker[recordings.speaker_ids[index]] if i != index]
        if not others or chance.random() < NO_PROMPT:
            return item
        before = self.utterance(said, int(chance.choice(others)), chance)
        return Item(
            torch.cat([before.phones, item.phones]),
            torch.cat([before.codes, item.codes]),
            torch.cat([before.spoken, item.spoken + len(before.phones)]),
            torch.cat([before.middles, item.middles + len(before.codes)]),
            torch.cat([before.seconds, item.seconds]),
            (len(before.phones), len(before.codes)),
        )

    def utterance(self, said: Spoken, index: int, chance: np.random.Generator) -> Item:
        codes = said.codes[index]
        phones = [(PHONE_ID[name], end) for name, end in said.recordings.utterances[index].phones]
        before = [end for _, end in takewhile(lambda phone: phone[0] == PHONE_ID[SILENCE], phones)]  # is not read
        read = as_read(phones, chance)
        ends = torch.tensor([end for _, end in read])
        starts = torch.tensor([*([0.0, *before][-1:]), *ends[:-1]])
        times = torch.arange(len(codes)) / FRAME_RATE + SEMANTIC_CENTRE
        return Item(
            phones=torch.tensor([phone for phone, _ in read]),
            codes=codes,
            spoken=torch.searchsorted(ends, times, right=True).clamp(max=len(read) - 1),
            middles=((starts + ends) / 2 * FRAME_RATE).long().clamp(max=len(codes) - 1),
            seconds=(ends - starts).clamp(min=SHORTEST),
        )

    def items_loss(self, model: T2S, items: list[Item], chance: np.random.Generator, targets: Tensor | None = None,
                   ) -> tuple[dict[str, Tensor], float]:  # fmt: skip
        """Cross-entropy of `codes` at the hidden frames and of the `alignment` of the watched attention, squared error
        of the logarithms of `durations`; accuracy."""
        backbone, times = model.diff_estimator, torch.from_numpy(chance.random(len(items))).float()
        rows = [rows_of(model, item, float(t), chance) for item, t in zip(items, times, strict=True)]
        with WatchedAttention(backbone) as watched:
            hidden = backbone(
                _padded([r.x for r in rows]),
                backbone.scales(times),
                _padded([r.positions for r in rows]),
                _padded([torch.zeros_like(r.positions) for r in rows], PADDING),
                _padded([r.scored for r in rows]),
            )
            alignment = watched.loss(_padded([r.spoken for r in rows], IGNORED))
        logits = model.to_logit(hidden[_padded([r.hidden for r in rows], False)]).float()
        wanted = torch.cat([r.wanted for r in rows])
        losses = {
            "codes": F.cross_entropy(logits, wanted if targets is None else targets[wanted]),
            "alignment": alignment,
            "durations": torch.cat([r.duration_errors for r in rows]).square().mean(),
        }
        return losses, float((logits.argmax(-1) == wanted).float().mean())

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        figures = {}
        for name, spoken in self.held_out.items():
            chance = np.random.default_rng(0)
            items = [self.item(spoken, i, chance) for i in range(min(24, len(spoken.recordings)))]
            losses, right = self.items_loss(modules["t2s"], items, chance)
            figures |= {f"{loss}_{name}": float(value) for loss, value in losses.items()}
            figures[f"accuracy_{name}"] = right
        return figures


@dataclass(frozen=True)
class Rows:
    """What the backbone is given of an item, and what is wanted of it."""

    x: Tensor  # (S, H)
    positions: Tensor  # (S,)
    spoken: Tensor  # (S,), the row that each row says, or IGNORED
    scored: Tensor  # (T,), rows of the target
    hidden: Tensor  # (T,) bool, frames to predict
    wanted: Tensor  # (hidden frames,), their codes
    duration_errors: Tensor  # (N,), of logarithms


def rows_of(model: T2S, item: Item, t: float, chance: np.random.Generator) -> Rows:
    """Hides a share `sin(t π / 2)` of the target. As when speaking, how long the prompt's phones last is predicted, and
    the target keeps to the time that it is given, here its own."""
    phones, (before, prompt) = len(item.phones), item.prompt
    frames = len(item.codes) - prompt
    hidden = torch.from_numpy(chance.permutation(frames) < max(1, frames * math.sin(t * math.pi / 2)))
    shown = item.codes.clone()
    shown[prompt:][hidden] = model.num_codes
    durations = model.duration(item.phones[None])[0].float() if phones else item.seconds
    ahead = phone_positions(durations[:before].detach().exp(), prompt) if before else item.middles[:0]
    return Rows(
        x=torch.cat([model.condition(item.phones), embed_codes(model.embedding_table(), shown[None, :, None])[0]]),
        positions=torch.cat([ahead, item.middles[before:], torch.arange(prompt + frames)]),
        spoken=torch.cat([torch.full((phones,), IGNORED), item.spoken]),
        scored=phones + prompt + torch.arange(frames),
        hidden=hidden,
        wanted=item.codes[prompt:][hidden],
        duration_errors=durations - item.seconds.log(),
    )
