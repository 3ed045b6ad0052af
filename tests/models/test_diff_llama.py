"""The backbone of the masked transformers."""

import torch

from m8d.models.diff_llama import DiffLlama


def test_training_computes_what_is_exported():
    """Attention is fused in training; rows still see their own segment only."""
    torch.manual_seed(0)
    backbone = DiffLlama(24, 3, 2)
    x, scales = torch.randn(2, 9, 24), 1 + 0.1 * torch.randn(2, 7, 24)
    positions = torch.arange(9).expand(2, -1)
    segments = torch.tensor([[0] * 9, [0] * 5 + [1] * 4])
    rows = torch.tensor([[8, 0, 3], [4, 5, 8]])
    with torch.no_grad():
        fused = backbone.train()(x, scales, positions, segments, rows)
        plain = backbone.eval()(x, scales, positions, segments, rows)
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-4)
