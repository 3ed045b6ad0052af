"""The acoustic codec: DAC-like encoder, residual quantiser, Vocos decoder (`amphion/MaskGCT`, `acoustic_codec`).

B batch, N samples at 24 kHz, C channels, T frames (N // hop), Q quantizers, F Fourier bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from m8d.models.config import AcousticDecoderConfig, AcousticEncoderConfig
from m8d.models.layers import Snake1d, VocosBackbone, WeightNormConv1d, frame_mask
from m8d.models.quantizer import ResidualVQ


class ResidualUnit(nn.Module):
    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake1d(dim),
            WeightNormConv1d(dim, dim, kernel_size=7, dilation=dilation, padding=3 * dilation),
            Snake1d(dim),
            WeightNormConv1d(dim, dim, kernel_size=1),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        snake, conv, snake_2, conv_2 = self.block
        return x + conv_2(snake_2(conv(snake(x) * mask)))


class EncoderBlock(nn.Module):
    """Three residual units, then a convolution that doubles the channels and divides time by `stride`."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.block = nn.Sequential(
            ResidualUnit(dim // 2, dilation=1),
            ResidualUnit(dim // 2, dilation=3),
            ResidualUnit(dim // 2, dilation=9),
            Snake1d(dim // 2),
            WeightNormConv1d(dim // 2, dim, kernel_size=2 * stride, stride=stride, padding=math.ceil(stride / 2)),
        )

    def output_length(self, length: Tensor | int) -> Tensor | int:
        """Frames that the strided convolution makes of `length` inputs."""
        return (length + self.stride % 2) // self.stride

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        *units, snake, conv = self.block
        for unit in units:
            x = unit(x, mask)
        return conv(snake(x) * mask)


class CodecEncoder(nn.Module):
    def __init__(self, config: AcousticEncoderConfig) -> None:
        super().__init__()
        dim = config.d_model
        layers: list[nn.Module] = [WeightNormConv1d(1, dim, kernel_size=7, padding=3)]
        for stride in config.up_ratios:
            dim *= 2
            layers.append(EncoderBlock(dim, stride))
        layers += [Snake1d(dim), WeightNormConv1d(dim, config.out_channels, kernel_size=3, padding=1)]
        self.block = nn.Sequential(*layers)

    def forward(self, pcm: Tensor, lengths: Tensor) -> Tensor:
        """`pcm (B, N)`, `lengths (B,)` valid samples → `(B, C, T)`; a padded item gives what it gives alone."""
        first, *blocks, snake, last = self.block
        mask = frame_mask(lengths, pcm.shape[1])
        x = first(pcm[:, None] * mask)
        for block in blocks:
            x = block(x, mask)
            lengths = block.output_length(lengths)
            mask = frame_mask(lengths, x.shape[-1])
        return last(snake(x) * mask)


class ISTFT(nn.Module):
    """Inverse STFT without complex numbers: products with the inverse-DFT basis, window, overlap-add.

    A frame is an even part (from the real half of the spectrum) plus an odd part (from the imaginary half), so the
    basis covers half a frame and the other half mirrors it. Holds `window`, which the checkpoints store.
    """

    cosine: Tensor
    sine: Tensor
    mirror: Tensor

    def __init__(self, n_fft: int, hop_size: int) -> None:
        super().__init__()
        self.n_fft, self.hop_size = n_fft, hop_size
        self.register_buffer("window", torch.hann_window(n_fft))
        cosine, sine = inverse_dft_basis(n_fft)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.register_buffer("mirror", torch.arange(n_fft // 2 - 1, 0, -1), persistent=False)

    def forward(self, real: Tensor, imaginary: Tensor, mask: Tensor) -> Tensor:
        """`real`, `imaginary (B, T, F)`, `mask (B, 1, T)` → `(B, T * hop)`."""
        mask = mask.transpose(1, 2)
        even, odd = real @ self.cosine, imaginary @ self.sine  # samples 0 … n_fft / 2
        frames = torch.cat([even + odd, (even - odd)[..., self.mirror]], dim=-1)
        envelope = self.overlap_add(mask * self.window.square())
        # Beyond the frames of a padded item the envelope is 0 and so is the sum: divide by 1 there.
        return self.overlap_add(frames * self.window * mask) / torch.where(envelope > 1e-11, envelope, 1.0)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """`(B, T, n_fft)` → `(B, T * hop)`, trimmed by (n_fft - hop) / 2 at both ends."""
        batch, time, _ = frames.shape
        overlap = self.n_fft // self.hop_size
        parts = frames.reshape(batch, time, overlap, self.hop_size)
        shifted = [nn.functional.pad(parts[:, :, i], (0, 0, i, overlap - 1 - i)) for i in range(overlap)]
        total = torch.stack(shifted).sum(0).reshape(batch, -1)
        trim = (self.n_fft - self.hop_size) // 2
        return total[:, trim : trim + time * self.hop_size]


def inverse_dft_basis(n_fft: int) -> tuple[Tensor, Tensor]:
    """Two `(F, n_fft / 2 + 1)`: what the real and the imaginary part of each bin add to each sample of half a frame."""
    bins = torch.arange(n_fft // 2 + 1)
    angle = 2 * math.pi * ((bins[:, None] * bins) % n_fft).double() / n_fft
    weight = torch.full((len(bins), 1), 2.0 / n_fft, dtype=torch.float64)
    weight[0] = weight[-1] = 1.0 / n_fft
    return (weight * angle.cos()).float(), (-weight * angle.sin()).float()


class ISTFTHead(nn.Module):
    """Linear → (log magnitude, phase) → inverse STFT; magnitudes are clipped at 100 as in Vocos."""

    def __init__(self, dim: int, n_fft: int, hop_size: int) -> None:
        super().__init__()
        self.out = nn.Linear(dim, n_fft + 2)
        self.istft = ISTFT(n_fft, hop_size)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        log_magnitude, phase = self.out(x).chunk(2, dim=-1)
        magnitude = log_magnitude.exp().clamp(max=100.0)
        return self.istft(magnitude * phase.cos(), magnitude * phase.sin(), mask)


class _Vocos(nn.Module):
    def __init__(self, config: AcousticDecoderConfig) -> None:
        super().__init__()
        self.backbone = VocosBackbone(
            config.in_channels, config.vocos_dim, config.vocos_intermediate_dim, config.vocos_num_layers
        )
        self.head = ISTFTHead(config.vocos_dim, config.n_fft, config.hop_size)


class CodecDecoder(nn.Module):
    """Quantiser and Vocos decoder; the quantiser also serves the encoder."""

    def __init__(self, config: AcousticDecoderConfig) -> None:
        super().__init__()
        self.quantizer = ResidualVQ(
            config.in_channels, config.num_quantizers, config.codebook_size, config.codebook_dim
        )
        self.model = _Vocos(config)

    def forward(self, codes: Tensor, frames: Tensor) -> Tensor:
        """`codes (B, T, Q)`, `frames (B,)` valid counts → PCM `(B, T * hop)`."""
        return self.decode(self.quantizer.embed(codes), frames)

    def decode(self, embedding: Tensor, frames: Tensor) -> Tensor:  # (B, C, T), (B,) → (B, T * hop)
        mask = frame_mask(frames, embedding.shape[-1])
        return self.model.head(self.model.backbone(embedding, mask), mask)
