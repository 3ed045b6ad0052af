"""Trains the acoustic codec without an adversary.

1. Until `quantise_at`: the encoder learns to say standardised log-mels, two 10 ms frames of 80 bins in its 160
   channels, while the decoder learns to speak from true ones. Neither waits for the other, so both learn fast.
2. At `quantise_at` every residual quantizer starts from the main directions of what the ones before it leave, with
   k-means codes in them; then encoder, quantizers and decoder train as one, with a straight-through gradient.
   They are then also judged by what W2V-BERT hears, because what fits the spectrum best on average is blurred.
3. From `freeze_codebooks_at` on what a code stands for stays, and encoder and decoder learn to use it.
4. From `freeze_at` on the encoder stays, too, and with it the codes that S2A learns; the decoder goes on.

B batch, N samples at 24 kHz, C channels, T frames (50 Hz), F mel frames (100 Hz), Q quantizers, K codes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models.acoustic_codec import ISTFT, CodecDecoder, CodecEncoder
from m8d.models.config import ModelConfig
from m8d.models.layers import WeightNormConv1d
from m8d.models.quantizer import FactorizedVectorQuantize, ResidualVQ
from m8d.models.training.corpus import SAMPLE_RATE
from m8d.models.training.data import HOP, Recordings
from m8d.models.training.kmeans import kmeans
from m8d.models.training.loop import Trainer
from m8d.models.training.semantics import Listener

CROP = 50  # frames
BATCH = 8
MEL_FFT = 1024
MEL_BINS = 80
FLOOR = 1e-4  # of mel magnitudes; the corpus has an RMS of 0.06
RESOLUTIONS = {384: 40, 1024: 80, 2048: 80}  # FFT size of the spectral loss, hop a quarter of it → mel bins
EVALUATED = 40  # held-out crops
HEARD_WEIGHT = 3.0  # beside the spectral loss; with 1 the sound is as good and fewer words are
SCALE_RADIUS = 3.0  # of the constant coordinate, in RMS norms of the others


def mel_filters(bins: int, fft: int, rate: int) -> Tensor:
    """`(fft / 2 + 1, bins)` triangles between equal steps of the HTK mel scale, from 0 Hz to rate / 2."""
    edges = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + rate / 1400), bins + 2) / 2595) - 1)
    hertz = torch.linspace(0, rate / 2, fft // 2 + 1)[:, None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


class MelTarget(nn.Module):
    """Standardised log-mels `(B, 160, T)` of PCM `(B, N)`, each half frame centred in its own 10 ms."""

    window: Tensor
    filters: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(MEL_FFT), persistent=False)
        self.register_buffer("filters", mel_filters(MEL_BINS, MEL_FFT, SAMPLE_RATE), persistent=False)
        self.register_buffer("mean", torch.zeros(MEL_BINS))
        self.register_buffer("std", torch.ones(MEL_BINS))

    def log_mel(self, pcm: Tensor) -> Tensor:  # (B, N) → (B, F, 80)
        hop = HOP // 2
        edge = (MEL_FFT - hop) // 2
        frames = F.pad(pcm, (edge, edge)).unfold(-1, MEL_FFT, hop)
        magnitude = torch.fft.rfft(frames * self.window).abs()
        return (magnitude @ self.filters).clamp(min=FLOOR).log()

    def standardise_on(self, pcm: Tensor) -> None:
        mels = self.log_mel(pcm).flatten(0, 1)
        self.mean.copy_(mels.mean(0))
        self.std.copy_(mels.std(0))

    def forward(self, pcm: Tensor) -> Tensor:
        mels = (self.log_mel(pcm) - self.mean) / self.std
        return mels.reshape(mels.shape[0], -1, 2 * MEL_BINS).transpose(1, 2)


def spectral_loss(pcm: Tensor, target: Tensor) -> Tensor:
    """Mean distance of log-mels, of log and of compressed magnitudes over `RESOLUTIONS`, both `(B, N)`.

    Without the mels most of the loss is noise above 4 kHz, which carries few words.
    """
    total = torch.zeros(())
    for fft, bins in RESOLUTIONS.items():
        window = torch.hann_window(fft)
        both = torch.stft(torch.cat([pcm, target]), fft, fft // 4, window=window, return_complex=True)
        magnitude = torch.sqrt(both.real.square() + both.imag.square() + 1e-7) * (512 / fft) ** 0.5
        mine, theirs = magnitude.chunk(2)
        log_distance = log_ratio(mine, theirs)
        filters = mel_filters(bins, fft, SAMPLE_RATE).T
        mel_distance = log_ratio(filters @ mine, filters @ theirs)
        shape = (mine.sqrt() - theirs.sqrt()).square().mean() / theirs.mean().clamp(min=1e-3)
        total = total + log_distance + 2 * mel_distance + 2 * shape
    return total / len(RESOLUTIONS)


def log_ratio(mine: Tensor, theirs: Tensor) -> Tensor:
    return ((mine + 1e-3).log() - (theirs + 1e-3).log()).abs().mean()


class FourierISTFT(ISTFT):
    """The same inverse by FFT: some hundred times fewer operations, but complex numbers, which ONNX lacks."""

    def windowed_frames(self, spectrum: Tensor) -> Tensor:
        real, imaginary = spectrum.chunk(2, dim=-1)
        return torch.fft.irfft(torch.complex(real, imaginary), n=self.n_fft) * self.window


def initialise_encoder(encoder: CodecEncoder) -> None:
    """Kaiming weights and zero biases: with PyTorch's defaults the signal all but dies on its way."""
    for module in encoder.modules():
        if isinstance(module, WeightNormConv1d):
            nn.init.kaiming_normal_(module.weight_v, nonlinearity="linear")
            module.weight_g.data.copy_(module.weight_v.norm(dim=(1, 2), keepdim=True))
            nn.init.zeros_(module.bias)
        if module.__class__.__name__ == "ResidualUnit":
            module.block[3].weight_g.data.mul_(0.3)  # twelve residual branches in a row would add up
    encoder.block[-1].weight_g.data.mul_(0.1)


def set_weight(conv: WeightNormConv1d, weight: Tensor, bias: Tensor) -> None:
    """Sets a pointwise convolution to `weight (out, in)`; a row of zeros keeps its direction, with gain 0."""
    norm = weight.norm(dim=1, keepdim=True)
    direction = torch.where(norm > 0, weight, conv.weight_v[..., 0])
    conv.weight_v.copy_(direction[..., None])
    conv.weight_g.copy_(norm[..., None])
    conv.bias.copy_(bias)


def initialise_quantizer(quantizer: FactorizedVectorQuantize, rows: Tensor, seed: int) -> None:
    """Codes by k-means in the D - 1 main directions of `rows (N, C)`.

    Coordinate D is a constant, large beside the others: the nearest code by direction is then the nearest by distance.
    """
    count, dim = quantizer.codebook.weight.shape
    mean = rows.mean(0)
    _, _, directions = torch.pca_lowrank(rows - mean, dim - 1, center=False)
    coordinates = (rows - mean) @ directions
    radius = SCALE_RADIUS * coordinates.square().sum(-1).mean().sqrt()
    centres = kmeans(coordinates, count, seed=seed)
    quantizer.codebook.weight.copy_(F.pad(centres, (0, 1), value=float(radius)))
    inward = F.pad(directions.T, (0, 0, 0, 1))
    set_weight(quantizer.in_project, inward, F.pad(-mean @ directions, (0, 1), value=float(radius)))
    set_weight(quantizer.out_project, F.pad(directions, (0, 1)), mean)


def initialise_residual(residual: ResidualVQ, x: Tensor, seed: int = 0) -> None:
    """Initialises each layer on what the layers before it leave of `x (B, C, T)`."""
    for number, quantizer in enumerate(residual.quantizers):
        initialise_quantizer(quantizer, x.transpose(1, 2).flatten(0, 1), seed + number)
        x = x - quantizer.embed(quantizer.nearest_cosine(quantizer.in_project(x).transpose(1, 2)))


def quantise(residual: ResidualVQ, x: Tensor, layers: int) -> tuple[Tensor, Tensor, Tensor]:
    """Straight-through residual quantisation of `x (B, C, T)` by the first `layers` layers.

    Returns the embedding `(B, C, T)`, the codebook-and-commitment loss in variances of the codebooks, and the codes
    `(B, T, layers)`.
    """
    total, loss, codes, rest = torch.zeros_like(x), torch.zeros(()), [], x
    for quantizer in list(residual.quantizers)[:layers]:
        latents = quantizer.in_project(rest).transpose(1, 2)
        code = quantizer.nearest_cosine(latents.detach())
        chosen = quantizer.codebook(code)
        distance = (chosen - latents.detach()).square() + (chosen.detach() - latents).square()
        # Were it measured by the latents' own size, they could run away from their codes.
        loss = loss + distance.sum(-1).mean() / quantizer.codebook.weight.detach().var(0).sum()
        embedding = quantizer.out_project((latents + (chosen - latents).detach()).transpose(1, 2))
        total, rest = total + embedding, rest - embedding.detach()
        codes.append(code)
    return total, loss, torch.stack(codes, -1)


@dataclass(frozen=True)
class Freezing:
    """Steps from which the quantizers stay as they are, and from which encoder and quantizers do."""

    codebooks_at: int = sys.maxsize
    codes_at: int = sys.maxsize


class CodecTrainer(Trainer):
    name = "codec"

    def __init__(self, config: ModelConfig, train: Recordings, held_out: dict[str, Recordings], listener: Listener,
                 freezing: Freezing = Freezing(), quantise_at: int = 2500, batch: int = BATCH) -> None:  # fmt: skip
        self.train, self.held_out, self.batch = train, held_out, batch
        self.listener = listener
        self.quantise_at, self.freezing = quantise_at, freezing
        self.quantizers = config.acoustic_decoder.num_quantizers
        target = MelTarget()
        target.standardise_on(self.draw(np.random.default_rng(0), 100))
        encoder, decoder = CodecEncoder(config.acoustic_encoder), CodecDecoder(config.acoustic_decoder)
        initialise_encoder(encoder)
        decoder.model.head.istft = FourierISTFT(config.acoustic_decoder.n_fft, config.acoustic_decoder.hop_size)
        self.modules = nn.ModuleDict({"encoder": encoder, "decoder": decoder, "target": target})

    def draw(self, chance: np.random.Generator, count: int) -> Tensor:
        crops = [self.train.crop(chance, int(i), CROP) * chance.uniform(0.6, 1.4)
                 for i in self.train.sample(chance, count)]  # fmt: skip
        return torch.from_numpy(np.stack(crops)).float().clamp(-1, 1)

    def prepare(self, step: int, average: nn.ModuleDict) -> None:
        # What stays is the average, which is what is shipped.
        if step in (self.freezing.codebooks_at, self.freezing.codes_at):
            self.modules["decoder"].quantizer.load_state_dict(average["decoder"].quantizer.state_dict())
        if step == self.freezing.codes_at:
            self.modules["encoder"].load_state_dict(average["encoder"].state_dict())
        if step == self.quantise_at:
            with torch.no_grad():
                pcm = self.draw(np.random.default_rng(step), 400)
                rows = torch.cat([encode(self.modules["encoder"], part) for part in pcm.split(20)])
                initialise_residual(self.modules["decoder"].quantizer, rows)

    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        pcm = self.draw(chance, self.batch)
        encoder, decoder = self.modules["encoder"], self.modules["decoder"]
        frames = torch.full((len(pcm),), CROP)
        mels = self.modules["target"](pcm)
        if step < self.quantise_at:
            regression = (encode(encoder, pcm) - mels).abs().mean()
            spectral = spectral_loss(decoder.decode(mels, frames), pcm)
            parts = {"spectral": float(spectral.detach()), "regression": float(regression.detach())}
            return spectral + regression, parts
        frozen = step >= self.freezing.codes_at
        fixed = frozen or step >= self.freezing.codebooks_at
        decoder.quantizer.requires_grad_(not fixed)
        layers = self.quantizers if fixed or chance.random() < 0.7 else int(chance.integers(1, self.quantizers + 1))
        with torch.set_grad_enabled(not frozen):
            encoded = encode(encoder, pcm)
            embedding, commitment, codes = quantise(decoder.quantizer, encoded, layers)
        decoded = decoder.decode(embedding, frames)
        spectral = spectral_loss(decoded, pcm)
        heard = (self.listener(decoded) - self.listener(pcm)).abs().mean()
        figures = {"spectral": float(spectral.detach()), "heard": float(heard.detach())}
        if frozen:
            return spectral + HEARD_WEIGHT * heard, figures
        regression = (encoded - mels).abs().mean()
        figures |= {"regression": float(regression.detach()), "commitment": float(commitment.detach()),
                    "quantisation": float((embedding - encoded).detach().abs().mean()),
                    "codes": len(codes[..., 0].unique())}  # fmt: skip
        return spectral + HEARD_WEIGHT * heard + 0.3 * regression + 0.1 * commitment, figures

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        figures = {}
        for name, recordings in self.held_out.items():
            chance = np.random.default_rng(0)
            chosen = range(min(len(recordings), EVALUATED))
            pcm = torch.from_numpy(np.stack([recordings.crop(chance, i, CROP) for i in chosen]))
            frames = torch.full((len(pcm),), CROP)
            encoded, mels = encode(modules["encoder"], pcm), modules["target"](pcm)
            figures[f"spectral_mels_{name}"] = spectral_loss(modules["decoder"].decode(mels, frames), pcm)
            figures[f"regression_{name}"] = (encoded - mels).abs().mean()
            codes = modules["decoder"].quantizer.encode(encoded)
            figures[f"spectral_codes_{name}"] = spectral_loss(modules["decoder"](codes, frames), pcm)
        return {key: float(value.detach()) for key, value in figures.items()}


def encode(encoder: CodecEncoder, pcm: Tensor) -> Tensor:
    return encoder(pcm, torch.full((len(pcm),), pcm.shape[1]))
