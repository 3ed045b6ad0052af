"""Codebooks from data: k-means by distance and by direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kmeans(rows: Tensor, count: int, iterations: int = 15, seed: int = 0) -> Tensor:
    """`count` centres of `rows (N, D)`; an empty cluster restarts at a random row."""
    generator = torch.Generator().manual_seed(seed)
    centres = rows[torch.randperm(len(rows), generator=generator)[:count]].clone()
    if len(centres) < count:
        extra = torch.randint(len(rows), (count - len(centres),), generator=generator)
        centres = torch.cat([centres, rows[extra] + 1e-3 * torch.randn(len(extra), rows.shape[1], generator=generator)])
    for _ in range(iterations):
        nearest = (2 * rows @ centres.T - centres.square().sum(-1)).argmax(-1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        counts = torch.bincount(nearest, minlength=count)[:, None]
        spare = rows[torch.randint(len(rows), (count,), generator=generator)]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), spare)
    return centres


def spherical_kmeans(rows: Tensor, count: int, iterations: int = 15, seed: int = 0) -> Tensor:
    """Centres by direction, each as long as the mean row."""
    directions = kmeans(F.normalize(rows, dim=-1), count, iterations, seed)
    return F.normalize(directions, dim=-1) * rows.norm(dim=-1).mean()
