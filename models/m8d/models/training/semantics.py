"""Trains the semantic stages: W2V-BERT on phones, then RepCodec on its features.

1. `FeatureTrainer`: the conformer and a linear head name the phone of every frame, from log-mels warped in frequency
   and drowned in noise.
2. `LatentTrainer`: RepCodec squeezes the normalised features into D numbers and a code, from which the phones and the
   features must be read again. The speaker must not: a gradient reversed (arXiv 1505.07818) hides it from a classifier,
   and a warped twin must give the same latent.

B batch, F mel frames (100 Hz), T frames (50 Hz), H width, D latent width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models import front_end
from m8d.models.config import ModelConfig
from m8d.models.front_end import MEL_BINS, STACK, FrontEnd
from m8d.models.layers import frame_mask
from m8d.models.rep_codec import RepCodec
from m8d.models.training.corpus import SAMPLE_RATE
from m8d.models.training.data import Recordings
from m8d.models.training.kmeans import spherical_kmeans
from m8d.models.training.loop import Trainer
from m8d.models.training.phones import PHONES
from m8d.models.w2v_bert import W2VBert

CROP = 100  # frames
BATCH = 16
WIDEST_BAND = 12  # mel bins


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


class SpeakerHead(nn.Module):
    """Names the speaker from frames averaged over time, behind a reversed gradient."""

    def __init__(self, width: int, speakers: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
        self.out = nn.Linear(128, speakers)

    def forward(self, x: Tensor, strength: float) -> Tensor:  # (B, T, width) → (B, speakers)
        return self.out(self.frame(_Reverse.apply(x, strength)).mean(1))


class MelCache:
    """Log-mels `(F, 80)` of recordings before normalisation, computed when first asked for."""

    def __init__(self, recordings: Recordings) -> None:
        self.recordings = recordings
        self.front_end = FrontEnd()
        self.cache: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        if index not in self.cache:
            pcm = torch.from_numpy(self.recordings.audio_16k(index))[None]
            self.cache[index] = self.front_end.log_mel(pcm)[0].half()
        return self.cache[index].float()


def normalise(log_mel: Tensor) -> Tensor:
    """`(B, F, 80)` → `input_features (B, F / 2, 160)` as the front end does it."""
    centred = log_mel - log_mel.mean(1, keepdim=True)
    normal = centred / torch.sqrt(log_mel.var(1, keepdim=True) + 1e-7)
    frames = log_mel.shape[1] // STACK
    return normal[:, : frames * STACK].reshape(log_mel.shape[0], frames, STACK * MEL_BINS)


def warp(log_mel: Tensor, factor: float) -> Tensor:
    """Stretches the frequency axis of `(F, 80)` by `factor`; bins beyond the top repeat the last."""
    position = (torch.arange(MEL_BINS) * factor).clamp(max=MEL_BINS - 1)
    low = position.floor().long().clamp(max=MEL_BINS - 2)
    part = position - low
    return log_mel[:, low] * (1 - part) + log_mel[:, low + 1] * part


def disturb(log_mel: Tensor, chance: np.random.Generator) -> Tensor:
    """A random frequency warp, steady noise 0 to 40 dB below the loud frames in three of four cases, and in every other
    case one band of frequencies silenced (SpecAugment, arXiv 1904.08779)."""
    log_mel = warp(log_mel, 2 ** chance.uniform(-0.22, 0.22))
    if chance.random() < 0.75:
        level = log_mel.quantile(0.9) - chance.uniform(1.0, 9.0)
        tilt = torch.linspace(0, 1, MEL_BINS) * chance.uniform(-3.0, 3.0)
        ripple = torch.from_numpy(chance.normal(0, 0.5, log_mel.shape)).float()
        log_mel = torch.logaddexp(log_mel, level + tilt + ripple)
    if chance.random() < 0.5:
        width = int(chance.integers(1, WIDEST_BAND + 1))
        start = int(chance.integers(MEL_BINS - width + 1))
        log_mel = log_mel.clone()
        log_mel[:, start : start + width] = log_mel.mean()
    return log_mel


class PhoneBatches:
    """Random crops with phone labels; `pair` gives two disturbed versions of the same crops."""

    def __init__(self, recordings: Recordings, crop: int = CROP, batch: int = BATCH) -> None:
        self.recordings, self.mels, self.crop, self.batch = recordings, MelCache(recordings), crop, batch

    def draw(self, chance: np.random.Generator, versions: int) -> tuple[list[Tensor], Tensor, Tensor]:
        """`versions` times features `(B, T, 160)`, phone ids `(B, T)`, speakers `(B,)`."""
        views: list[list[Tensor]] = [[] for _ in range(versions)]
        labels, speakers = [], []
        while len(labels) < self.batch:
            index = int(self.recordings.sample(chance, 1)[0])
            mel = self.mels[index]
            frames = len(mel) // STACK
            if frames < self.crop:
                continue
            start = int(chance.integers(frames - self.crop + 1))
            part = mel[start * STACK : (start + self.crop) * STACK]
            for view in views:
                view.append(disturb(part, chance))
            labels.append(self.recordings.labels(index, frames)[start : start + self.crop])
            speakers.append(self.recordings.speaker_ids[index])
        features = [normalise(torch.stack(view)) for view in views]
        return features, torch.from_numpy(np.stack(labels)), torch.from_numpy(np.array(speakers))


def hidden_states(model: W2VBert, features: Tensor) -> Tensor:
    return model(features, torch.ones(features.shape[:2], dtype=torch.long))


class FeatureStatistics(nn.Module):
    """Mean and variance `(H,)` of the features, `wav2vec2bert_stats.pt`: kept with RepCodec, which learned on them."""

    mean: Tensor
    var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))


def normal_features(model: W2VBert, features: Tensor, statistics: FeatureStatistics) -> Tensor:
    """Hidden states of `features (B, T, 160)` as RepCodec takes them: `(B, T, H)` of mean 0 and deviation 1."""
    return (hidden_states(model, features) - statistics.mean) / statistics.var.sqrt()


class Listener:
    """Hears 24 kHz PCM `(B, N)` as RepCodec's input `(B, T, H)`, and passes gradients on to the PCM."""

    def __init__(self, model: W2VBert, statistics: FeatureStatistics) -> None:
        self.model, self.statistics = model, statistics
        self.front_end = FrontEnd()

    def __call__(self, pcm: Tensor) -> Tensor:
        size = pcm.shape[1] * front_end.SAMPLE_RATE // SAMPLE_RATE
        spectrum = torch.fft.rfft(pcm)[:, : size // 2 + 1]
        resampled = torch.fft.irfft(spectrum, n=size) * (size / pcm.shape[1])
        return normal_features(self.model, normalise(self.front_end.log_mel(resampled)), self.statistics)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=0.05)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(-1) == labels).float().mean())


class FeatureTrainer(Trainer):
    name = "semantics"

    def __init__(self, config: ModelConfig, train: PhoneBatches, held_out: dict[str, Recordings]) -> None:
        self.train = train
        self.held_out = {name: PhoneBatches(recordings) for name, recordings in held_out.items()}
        self.modules = nn.ModuleDict({
            "w2v_bert": W2VBert(config.w2v_bert, config.semantic_layer),
            "phones": nn.Linear(config.w2v_bert.hidden_size, len(PHONES)),
        })  # fmt: skip

    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        (features,), labels, _ = self.train.draw(chance, 1)
        logits = self.modules["phones"](hidden_states(self.modules["w2v_bert"], features))
        return cross_entropy(logits, labels), {"phones": accuracy(logits, labels)}

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        return {
            f"phones_{name}": mean_over(batches, lambda f, y: accuracy(
                modules["phones"](hidden_states(modules["w2v_bert"], f)), y))
            for name, batches in self.held_out.items()
        }  # fmt: skip


def mean_over(batches: PhoneBatches, figure) -> float:
    """Frame-weighted mean of `figure(features, labels)` over whole recordings."""
    total, count = 0.0, 0
    for index in range(len(batches.recordings)):
        features = normalise(batches.mels[index][None])
        labels = torch.from_numpy(batches.recordings.labels(index, features.shape[1]))[None]
        total += figure(features, labels) * labels.numel()
        count += labels.numel()
    return total / count


def feature_statistics(model: W2VBert, recordings: Recordings, count: int = 200) -> FeatureStatistics:
    """Those over `count` of the recordings."""
    mels = MelCache(recordings)
    chance = np.random.default_rng(0)
    with torch.no_grad():
        rows = [hidden_states(model, normalise(mels[int(i)][None]))[0] for i in recordings.sample(chance, count)]
    hidden = torch.cat(rows)
    statistics = FeatureStatistics(hidden.shape[1])
    statistics.load_state_dict({"mean": hidden.mean(0), "var": hidden.var(0)})
    return statistics


class LatentTrainer(Trainer):
    """RepCodec on a frozen W2V-BERT. Steps before `unquantised` train without the codebook."""

    name = "latents"

    def __init__(self, config: ModelConfig, w2v_bert: W2VBert, statistics: FeatureStatistics, train: PhoneBatches,
                 held_out: dict[str, Recordings], unquantised: int = 1500, reverse: float = 0.3) -> None:  # fmt: skip
        codec = config.semantic_codec
        self.w2v_bert = w2v_bert.eval().requires_grad_(False)
        self.train, self.unquantised, self.reverse = train, unquantised, reverse
        self.held_out = {name: PhoneBatches(recordings) for name, recordings in held_out.items()}
        self.modules = nn.ModuleDict({
            "statistics": statistics,
            "semantic_codec": RepCodec(codec),
            "phones": nn.Linear(codec.hidden_size, len(PHONES)),
            "speaker": SpeakerHead(codec.codebook_dim, len(train.recordings.by_speaker)),
        })  # fmt: skip

    def features(self, input_features: Tensor) -> Tensor:
        with torch.no_grad():
            return normal_features(self.w2v_bert, input_features, self.modules["statistics"])

    def latents(self, modules: nn.ModuleDict, features: Tensor) -> Tensor:
        return modules["semantic_codec"].latents(features, torch.full((features.shape[0],), features.shape[1]))

    def prepare(self, step: int, average: nn.ModuleDict) -> None:
        if step == self.unquantised:
            chance = np.random.default_rng(step)
            with torch.no_grad():
                rows = [self.latents(self.modules, self.features(self.train.draw(chance, 1)[0][0])) for _ in range(8)]
                codebook = self.modules["semantic_codec"].vector_quantizer.codebook
                codebook.weight.copy_(spherical_kmeans(torch.cat(rows).flatten(0, 1), len(codebook.weight), seed=step))

    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        views, labels, speakers = self.train.draw(chance, 2)
        features = self.features(torch.cat(views))
        latents = self.latents(self.modules, features)
        # The search is by direction: on a sphere nothing of the latent is lost to it.
        radius = latents.norm(dim=-1)
        sphere = (radius - latents.shape[-1] ** 0.5).square().mean()
        first, second = latents.chunk(2)
        twin = (first - second).square().mean()
        speaker = self.modules["speaker"](latents, self.reverse * min(1.0, step / 1000))
        labels, speakers = labels.repeat(2, 1), speakers.repeat(2)
        figures = {"speaker": accuracy(speaker, speakers), "twin": float(twin.detach())}
        loss = 0.1 * sphere + 0.5 * twin + cross_entropy(speaker, speakers)

        quantizer = self.modules["semantic_codec"].vector_quantizer
        if step >= self.unquantised:
            codes = quantizer.nearest_cosine(latents)
            chosen = quantizer.codebook(codes)
            codebook, commitment = (chosen - latents.detach()).square(), (chosen.detach() - latents).square()
            loss = loss + codebook.mean() + 0.25 * commitment.mean()
            decoded_latents = latents + (chosen - latents).detach()
            figures["codes"] = len(codes.unique())
        else:
            decoded_latents = latents
        logits, decoded = self.read(self.modules, decoded_latents)
        reconstruction = (decoded - features).square().mean()
        phones = cross_entropy(logits, labels)
        figures |= {"phones": accuracy(logits, labels), "reconstruction": float(reconstruction.detach())}
        return loss + phones + 0.3 * reconstruction, figures

    def read(self, modules: nn.ModuleDict, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Phone logits and decoded features of latents `(B, T, D)`."""
        codec = modules["semantic_codec"]
        embedding = codec.vector_quantizer.out_project(latents.transpose(1, 2))
        mask = frame_mask(torch.full((latents.shape[0],), latents.shape[1]), latents.shape[1])
        return modules["phones"](embedding.transpose(1, 2)), codec.decoder(embedding, mask)

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        def quantised(features: Tensor, labels: Tensor) -> float:
            quantizer = modules["semantic_codec"].vector_quantizer
            latents = self.latents(modules, self.features(features))
            return accuracy(self.read(modules, quantizer.codebook(quantizer.nearest_cosine(latents)))[0], labels)

        def continuous(features: Tensor, labels: Tensor) -> float:
            return accuracy(self.read(modules, self.latents(modules, self.features(features)))[0], labels)

        figures = {}
        for name, batches in self.held_out.items():
            figures[f"phones_{name}"] = mean_over(batches, continuous)
            figures[f"phones_quantised_{name}"] = mean_over(batches, quantised)
        return figures
