"""RepCodec: W2V-BERT features to the 8-D latent and its code (`amphion/MaskGCT`, `semantic_codec`).

B batch, T frames (50 Hz), H feature width, D latent width (8).
"""

from __future__ import annotations

from torch import Tensor, nn

from m8d.models.config import SemanticCodecConfig
from m8d.models.layers import VocosBackbone, frame_mask
from m8d.models.quantizer import FactorizedVectorQuantize, ResidualVQ


class _Coder(nn.Sequential):
    def __init__(self, config: SemanticCodecConfig) -> None:
        super().__init__(
            VocosBackbone(config.hidden_size, config.vocos_dim, config.vocos_intermediate_dim, config.vocos_num_layers),
            nn.Linear(config.vocos_dim, config.hidden_size),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, H, T), (B, 1, T) → (B, T, H)
        return self[1](self[0](x, mask))


class RepCodec(nn.Module):
    """The decoder half serves training alone; speech is decoded from the codes by S2A."""

    def __init__(self, config: SemanticCodecConfig) -> None:
        super().__init__()
        self.encoder = _Coder(config)
        self.quantizer = ResidualVQ(config.hidden_size, 1, config.codebook_size, config.codebook_dim)
        self.decoder = _Coder(config)

    @property
    def vector_quantizer(self) -> FactorizedVectorQuantize:
        return self.quantizer.quantizers[0]

    def latents(self, features: Tensor, frames: Tensor) -> Tensor:
        """`features (B, T, H)`, `frames (B,)` valid counts → latents `(B, T, D)` before quantisation."""
        mask = frame_mask(frames, features.shape[1])
        hidden = self.encoder(features.transpose(1, 2), mask)
        return self.vector_quantizer.in_project(hidden.transpose(1, 2)).transpose(1, 2)
