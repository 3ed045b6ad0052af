"""Factorised vector quantisation and its residual stack (DAC, arXiv 2306.06546).

B batch, C channels, T time, D codebook dimension (8), K codes, Q quantizers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models.layers import WeightNormConv1d


class FactorizedVectorQuantize(nn.Module):
    """Projects to D numbers and picks the code of nearest direction; the raw codebook row is what is looked up."""

    def __init__(self, input_dim: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_project = WeightNormConv1d(input_dim, codebook_dim, kernel_size=1)
        self.out_project = WeightNormConv1d(codebook_dim, input_dim, kernel_size=1)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)

    def nearest_cosine(self, latents: Tensor) -> Tensor:  # (B, T, D) → (B, T)
        return (F.normalize(latents, dim=-1) @ F.normalize(self.codebook.weight, dim=-1).T).argmax(-1)

    def nearest_euclidean(self, latents: Tensor) -> Tensor:
        """The reference wrapper's choice when it decodes: plain distance between un-normalised vectors."""
        table = self.codebook.weight
        return (2 * latents @ table.T - (table * table).sum(-1)).argmax(-1)

    def embed(self, codes: Tensor) -> Tensor:  # (B, T) → (B, C, T)
        return self.out_project(self.codebook(codes).transpose(1, 2))


class ResidualVQ(nn.Module):
    def __init__(self, input_dim: int, num_quantizers: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(
            FactorizedVectorQuantize(input_dim, codebook_size, codebook_dim) for _ in range(num_quantizers)
        )

    def encode(self, x: Tensor) -> Tensor:  # (B, C, T) → (B, T, Q)
        codes = []
        for quantizer in self.quantizers:
            code = quantizer.nearest_cosine(quantizer.in_project(x).transpose(1, 2))
            x = x - quantizer.embed(code)
            codes.append(code)
        return torch.stack(codes, dim=-1)

    def embed(self, codes: Tensor) -> Tensor:  # (B, T, Q) → (B, C, T)
        parts = [quantizer.embed(codes[..., i]) for i, quantizer in enumerate(self.quantizers)]
        return torch.stack(parts).sum(0)
