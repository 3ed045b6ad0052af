"""Building blocks shared by the codecs.

B batch, C channels, T time, N samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightNormConv1d(nn.Conv1d):
    """Conv1d whose weight is stored as direction `weight_v` and norm `weight_g`, as the checkpoints name them."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0,
                 dilation: int = 1) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        weight = self.weight.detach()
        del self.weight
        self.weight_g = nn.Parameter(weight.norm(dim=(1, 2), keepdim=True))  # (C, 1, 1)
        self.weight_v = nn.Parameter(weight)

    def folded_weight(self) -> Tensor:
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=(1, 2), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.folded_weight(), self.bias)


def fold_weight_norm(module: nn.Module) -> nn.Module:
    """Replaces, in place, every weight-normalised convolution by the plain one that computes the same."""
    for name, child in module.named_children():
        if isinstance(child, WeightNormConv1d):
            plain = nn.Conv1d(child.in_channels, child.out_channels, child.kernel_size[0], child.stride[0],
                              int(child.padding[0]), child.dilation[0], device="meta")  # fmt: skip
            plain.weight = nn.Parameter(child.folded_weight().detach())
            plain.bias = child.bias
            setattr(module, name, plain)
        else:
            fold_weight_norm(child)
    return module


def frame_mask(lengths: Tensor, size: Tensor | int) -> Tensor:
    """`lengths (B,)` → float mask `(B, 1, size)`: 1 before each length, 0 from it on."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).float()[:, None, :]


class Snake1d(nn.Module):
    """`x + sin²(αx) / α` with one α per channel (DAC, arXiv 2306.06546)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.sin(self.alpha * x)
        return x + (self.alpha + 1e-9).reciprocal() * (wave * wave)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm and a pointwise MLP with layer scale (Vocos, arXiv 2306.00814)."""

    def __init__(self, dim: int, intermediate_dim: int, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, intermediate_dim)
        self.pwconv2 = nn.Linear(intermediate_dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, C, T), (B, 1, T) → (B, C, T)
        y = self.dwconv(x * mask).transpose(1, 2)
        y = self.pwconv2(F.gelu(self.pwconv1(self.norm(y))))
        return x + (self.gamma * y).transpose(1, 2)


class VocosBackbone(nn.Module):
    """ConvNeXt stack; frames outside `mask` count as the zero padding that a shorter input would have."""

    def __init__(self, input_channels: int, dim: int, intermediate_dim: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(input_channels, dim, kernel_size=7, padding=3)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(dim, intermediate_dim, 1 / num_layers) for _ in range(num_layers))
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, C, T), (B, 1, T) → (B, T, dim)
        x = self.norm(self.embed(x * mask).transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x, mask)
        return self.final_layer_norm(x.transpose(1, 2))
