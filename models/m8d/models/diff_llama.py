"""Bidirectional Llama blocks whose norms are scaled by the diffusion step; the backbone of S2A and T2S.

B batch, S rows, R scored rows, H width, A heads, M norms (2 per layer and a last one), J steps.

Rows of one item need not be one sequence: rows attend to the rows of their own segment only, each at its own
position. So a guidance pair, or several utterances, run as one sequence without padding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROPE_BASE = 10000.0
EPSILON = 1e-6
STEP_PERIOD = 10000.0
OTHER_SEGMENT = -1e30
INITIAL_STD = 0.02


class AdaptiveRMSNorm(nn.Module):
    """RMSNorm whose scale is a linear map of the step embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_weight = nn.Linear(width, width)
        nn.init.normal_(self.to_weight.weight, std=INITIAL_STD)
        nn.init.ones_(self.to_weight.bias)

    @staticmethod
    def apply_scale(x: Tensor, scale: Tensor) -> Tensor:  # (B, S, H), (B, H) → (B, S, H)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPSILON) * scale[:, None]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def split(self, x: Tensor) -> Tensor:  # (B, S, H) → (B, A, S, head)
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.head_size).transpose(1, 2)

    def forward(self, query_rows: Tensor, rows: Tensor, query_rotation: Rotation, rotation: Rotation,
                bias: Tensor) -> Tensor:  # fmt: skip
        """`query_rows (B, R, H)` attend to `rows (B, S, H)`; `bias (B, 1, R, S)` is added to the scores."""
        query = query_rotation.apply(self.split(self.q_proj(query_rows) * self.head_size**-0.5))
        key = rotation.apply(self.split(self.k_proj(rows)))
        value = self.split(self.v_proj(rows))
        if self.training:  # fused, which no exported graph is
            mixed = F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), scale=1.0)
        else:
            mixed = (query @ key.transpose(2, 3) + bias).softmax(-1) @ value
        return self.o_proj(mixed.transpose(1, 2).reshape(query_rows.shape))


class Rotation:
    """Rotary position embedding (arXiv 2104.09864), halves layout, for `positions (B, S)`."""

    def __init__(self, positions: Tensor, head_size: int) -> None:
        pairs = torch.arange(0, head_size, 2, device=positions.device).float() / head_size
        angle = positions.float()[:, None, :, None] * ROPE_BASE**-pairs  # (B, 1, S, head / 2)
        self.cos, self.sin = angle.cos(), angle.sin()

    def apply(self, x: Tensor) -> Tensor:  # (B, A, S, head)
        low, high = x.chunk(2, dim=-1)
        return torch.cat([low * self.cos - high * self.sin, high * self.cos + low * self.sin], dim=-1)


class SwiGLU(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, 4 * width, bias=False)
        self.up_proj = nn.Linear(width, 4 * width, bias=False)
        self.down_proj = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.input_layernorm = AdaptiveRMSNorm(width)
        self.self_attn = Attention(width, heads)
        self.post_attention_layernorm = AdaptiveRMSNorm(width)
        self.mlp = SwiGLU(width)


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """`x (B, S, …)`, `rows (B, R)` → `(B, R, …)`."""
    batch, size = x.shape[:2]
    flat = (rows + size * torch.arange(batch, device=rows.device)[:, None]).reshape(-1)
    return x.reshape(batch * size, *x.shape[2:])[flat].reshape(batch, rows.shape[1], *x.shape[2:])


class DiffLlama(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = AdaptiveRMSNorm(width)
        self.diff_step_mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.cond_mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def scales(self, t: Tensor) -> Tensor:
        """`t (J,)` diffusion times in [0, 1] → the scale of every norm at each, `(J, M, H)`."""
        half = self.width // 2
        frequency = torch.exp(torch.arange(half, device=t.device).float() * (-math.log(STEP_PERIOD) / (half - 1)))
        angle = t[:, None] * frequency
        step = self.diff_step_mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))
        norms = [norm for block in self.layers for norm in (block.input_layernorm, block.post_attention_layernorm)]
        return torch.stack([norm.to_weight(step) for norm in (*norms, self.norm)], dim=1)

    def forward(self, x: Tensor, scales: Tensor, positions: Tensor, segments: Tensor, rows: Tensor) -> Tensor:
        """Hidden states of the scored rows.

        Args:
            x: `(B, S, H)`, embedding plus condition.
            scales: `(B, M, H)`, from `scales`.
            positions: `(B, S)` int64, below 4096: the RoPE position of each row.
            segments: `(B, S)` int64; rows of equal number attend to each other.
            rows: `(B, R)` int64, the rows wanted. The last block gives the others no query and no MLP.

        Returns:
            `(B, R, H)`.
        """
        rotation = Rotation(positions, self.width // self.heads)
        same = segments[:, None, :, None] == segments[:, None, None, :]
        bias = torch.where(same, 0.0, OTHER_SEGMENT)
        *blocks, last = self.layers
        norm = AdaptiveRMSNorm.apply_scale
        for i, block in enumerate(blocks):
            y = norm(x, scales[:, 2 * i])
            x = x + block.self_attn(y, y, rotation, rotation, bias)
            x = x + block.mlp(norm(x, scales[:, 2 * i + 1]))
        y = norm(x, scales[:, -3])
        row_rotation = Rotation(take_rows(positions, rows), self.width // self.heads)
        row_bias = take_rows(bias[:, 0], rows)[:, None]
        x = take_rows(x, rows) + last.self_attn(take_rows(y, rows), y, row_rotation, rotation, row_bias)
        x = x + last.mlp(norm(x, scales[:, -2]))
        return norm(x, scales[:, -1])


def guide(conditional: Tensor, unconditional: Tensor, guidance: Tensor, rescale: Tensor) -> Tensor:
    """Classifier-free guidance with rescaling (arXiv 2305.08891): all `(B, T, H)`, the two factors `(1,)`.

    The unbiased standard deviation is taken per item over all its numbers, so an item must not be padded.
    """
    guided = conditional + guidance * (conditional - unconditional)
    ratio = conditional.std(dim=(1, 2), keepdim=True) / guided.std(dim=(1, 2), keepdim=True)
    return rescale * (guided * ratio) + (1 - rescale) * guided
