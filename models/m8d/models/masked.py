"""The masked generative transformers: S2A (semantic to acoustic codes) and T2S (phones to semantic codes).

B batch, S rows, H width, L layers of codes, K codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m8d.models.config import S2AConfig, T2SConfig
from m8d.models.diff_llama import INITIAL_STD, DiffLlama


def initialise_embeddings(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=INITIAL_STD)


def with_mask_rows(table: Tensor, mask: Tensor) -> Tensor:
    """`table (K, H)` → `(K + 2, H)`: row K is the mask embedding, row K + 1 is zero (a row that holds no code)."""
    return torch.cat([table, mask, torch.zeros_like(mask)])


class S2A(nn.Module):
    """`s2a_model/s2a_model_1layer` (L = 1) and `s2a_model/s2a_model_full` (L = 12) of `amphion/MaskGCT`."""

    def __init__(self, config: S2AConfig) -> None:
        super().__init__()
        width, codes = config.hidden_size, config.codebook_size
        self.num_layers, self.num_codes = config.num_quantizer, codes
        self.layer_emb = nn.Embedding(config.num_quantizer, width)
        self.mask_emb = nn.Embedding(1, width)
        self.token_emb = nn.ModuleList(nn.Embedding(codes, width) for _ in range(config.num_quantizer))
        self.to_logits = nn.ModuleList(nn.Linear(width, codes) for _ in range(config.num_quantizer))
        self.cond_emb = nn.Embedding(config.cond_codebook_size, width)
        self.diff_estimator = DiffLlama(width, config.num_layers, config.num_heads)
        initialise_embeddings(self)

    def embedding_table(self) -> Tensor:
        """`(L * (K + 2), H)`: the layers' tables one after another, each with its mask and its zero row."""
        return torch.cat([with_mask_rows(table.weight, self.mask_emb.weight) for table in self.token_emb])

    def condition(self, semantic_codes: Tensor, layer: Tensor) -> Tensor:  # (B, S), (1,) → (B, S, H)
        return self.diff_estimator.cond_mlp(self.cond_emb(semantic_codes) + self.layer_emb(layer))

    def heads(self) -> tuple[Tensor, Tensor]:
        """Weights `(L, H, K)` and biases `(L, K)` of the layers' heads."""
        return (torch.stack([head.weight.T for head in self.to_logits]),
                torch.stack([head.bias for head in self.to_logits]))  # fmt: skip


class DurationPredictor(nn.Module):
    """How long each phone lasts, by itself and its neighbours (FastSpeech 2, arXiv 2006.04558)."""

    KERNEL = 5

    def __init__(self, phones: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(phones, width)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, self.KERNEL, padding=self.KERNEL // 2) for _ in range(2))
        self.out = nn.Linear(width, 1)

    def forward(self, phone_ids: Tensor) -> Tensor:
        """`(B, S)` → the logarithm of seconds `(B, S)`."""
        x = self.embed(phone_ids).transpose(1, 2)
        for conv in self.convs:
            x = conv(x).relu()
        return self.out(x.transpose(1, 2))[..., 0]


class T2S(nn.Module):
    """`t2s_model` of `amphion/MaskGCT`: rows are phones, then prompt codes, then target codes.

    RoPE positions count through all rows, as there. A small model may have a duration predictor besides: then they
    count through the frames, and each phone is at the frame in its middle (`phone_positions`).
    """

    num_layers = 1

    def __init__(self, config: T2SConfig) -> None:
        super().__init__()
        self.num_codes = config.cond_codebook_size
        self.mask_emb = nn.Embedding(1, config.hidden_size)
        self.to_logit = nn.Linear(config.hidden_size, config.cond_codebook_size)
        self.cond_emb = nn.Embedding(config.cond_codebook_size, config.hidden_size)
        self.phone_emb = nn.Embedding(config.num_phones, config.hidden_size)
        self.diff_estimator = DiffLlama(config.hidden_size, config.num_layers, config.num_heads)
        initialise_embeddings(self)
        if config.duration_width:
            self.duration = DurationPredictor(config.num_phones, config.duration_width)

    @property
    def has_durations(self) -> bool:
        return hasattr(self, "duration")

    def durations(self, phone_ids: Tensor) -> Tensor:  # (B, S) → seconds (B, S)
        return self.duration(phone_ids).exp()

    def embedding_table(self) -> Tensor:  # (K + 2, H)
        return with_mask_rows(self.cond_emb.weight, self.mask_emb.weight)

    def condition(self, phone_ids: Tensor) -> Tensor:  # (B, S) → (B, S, H)
        return self.diff_estimator.cond_mlp(self.phone_emb(phone_ids))

    def heads(self) -> tuple[Tensor, Tensor]:
        return self.to_logit.weight.T[None], self.to_logit.bias[None]


def phone_positions(durations: Tensor, frames: int) -> Tensor:
    """`durations (N,)` of phones → int64 `(N,)`, the frames in their middles when all last `frames` frames together."""
    ends = durations.cumsum(0)
    return ((ends - durations / 2) * (frames / ends[-1])).long()


def embed_codes(table: Tensor, codes: Tensor) -> Tensor:
    """Sum over layers of each row's embeddings: `table (L * (K + 2), H)`, `codes (B, S, L)` → `(B, S, H)`."""
    layers = codes.shape[-1]
    offset = torch.arange(layers, device=codes.device) * (table.shape[0] // layers)
    return table[codes + offset].sum(2)
