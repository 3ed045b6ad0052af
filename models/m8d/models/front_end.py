"""Log-mel front end of W2V-BERT: transformers' SeamlessM4TFeatureExtractor as tensor operations.

B batch, N samples at 16 kHz, F mel frames (100 Hz), T stacked frames (50 Hz).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16000  # Hz
FRAME = SAMPLE_RATE * 25 // 1000  # 400 samples
HOP = SAMPLE_RATE * 10 // 1000  # 160 samples
BLOCK = 80  # samples: the common divisor of FRAME and HOP
FFT = 512
MEL_BINS = 80
MEL_LOW, MEL_HIGH = 20.0, SAMPLE_RATE / 2  # Hz
MEL_FLOOR = 1.192092955078125e-07
PRE_EMPHASIS = 0.97
STACK = 2
MIN_SAMPLES = FRAME + HOP  # two mel frames: the variance over time needs them


class FrontEnd(nn.Module):
    window: Tensor
    dft: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        povey = torch.hann_window(FRAME, periodic=False, dtype=torch.float64) ** 0.85
        angle = 2 * torch.pi * torch.arange(FRAME, dtype=torch.float64)[:, None] * torch.arange(FFT // 2 + 1) / FFT
        self.register_buffer("window", (povey * 2**15).float())
        self.register_buffer("dft", torch.cat([angle.cos(), -angle.sin()], dim=1).float())
        self.register_buffer("mel", kaldi_mel_filters().float())

    def forward(self, pcm: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of 16 kHz mono PCM.

        Args:
            pcm: `(B, N)` float in [-1, 1], N ≥ 560; what lies beyond an item's length is ignored.
            lengths: `(B,)` int64, valid samples of each item, ≥ 560.

        Returns:
            `input_features (B, T, 160)`, `attention_mask (B, T)` int64, `frames (B,)` int64. An item with an odd
            number of mel frames has one half frame more than its mask has ones; its row counts all the same.
        """
        log_mel = self.log_mel(pcm)  # (B, F, 80)
        count = (lengths - FRAME) // HOP + 1
        valid = (torch.arange(log_mel.shape[1], device=pcm.device) < count[:, None])[..., None]
        size = count[:, None, None].float()
        mean = torch.where(valid, log_mel, 0.0).sum(1, keepdim=True) / size
        centred = torch.where(valid, log_mel - mean, 0.0)
        variance = centred.square().sum(1, keepdim=True) / (size - 1)
        normal = torch.where(valid, centred / torch.sqrt(variance + 1e-7), 1.0)

        frames = (count + 1) // STACK
        stacked = (log_mel.shape[1] + 1) // STACK
        normal = nn.functional.pad(normal, (0, 0, 0, 1), value=1.0)[:, : STACK * stacked]
        features = normal.reshape(normal.shape[0], stacked, STACK * MEL_BINS)
        mask = torch.arange(stacked, device=pcm.device) < (count // STACK)[:, None]
        return features, mask.long(), frames

    def log_mel(self, pcm: Tensor) -> Tensor:  # (B, N) → (B, F, 80)
        count = (pcm.shape[1] - FRAME) // HOP + 1
        # A frame is five blocks of 80 samples, two blocks apart from the next.
        blocks = nn.functional.pad(pcm, (0, HOP))[:, : (count + 2) * HOP].reshape(pcm.shape[0], count + 2, 2, BLOCK)
        halves = [blocks[:, i // 2 : i // 2 + count, i % 2] for i in range(FRAME // BLOCK)]
        frames = torch.cat(halves, dim=-1)  # (B, F, 400)
        frames = frames - frames.mean(-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = ((frames - PRE_EMPHASIS * previous) * self.window) @ self.dft
        real, imaginary = spectrum.chunk(2, dim=-1)
        power = real * real + imaginary * imaginary
        return (power @ self.mel).clamp(min=MEL_FLOOR).log()


def kaldi_mel_filters() -> Tensor:
    """`(257, 80)` triangles, equally spaced and straight-sided on Kaldi's mel scale."""

    def to_mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = to_mel(torch.tensor([MEL_LOW, MEL_HIGH], dtype=torch.float64))
    edges = torch.linspace(float(low), float(high), MEL_BINS + 2, dtype=torch.float64)
    bins = to_mel(torch.arange(FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0.0)
