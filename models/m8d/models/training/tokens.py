"""Codes of every recording by the trained encoders: what S2A and T2S learn from.

Kept on disk per recording, in folders named after the encoders' weights.

T frames (50 Hz), Q quantizers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m8d.models.acoustic_codec import CodecEncoder
from m8d.models.quantizer import ResidualVQ
from m8d.models.rep_codec import RepCodec
from m8d.models.training.codec import encode
from m8d.models.training.data import Recordings
from m8d.models.training.semantics import FeatureStatistics, MelCache, normal_features, normalise
from m8d.models.w2v_bert import W2VBert


@dataclass(frozen=True)
class Encoders:
    w2v_bert: W2VBert
    statistics: FeatureStatistics
    semantic_codec: RepCodec
    acoustic_encoder: CodecEncoder
    quantizer: ResidualVQ

    def semantic_codes(self, recordings: Recordings, cache: Path) -> list[Tensor]:  # (T,) each
        mels = MelCache(recordings)

        def encode_one(index: int) -> Tensor:
            features = normalise(mels[index][None])
            mels.cache.clear()
            normal = normal_features(self.w2v_bert, features, self.statistics)
            latents = self.semantic_codec.latents(normal, torch.tensor([normal.shape[1]]))
            return self.semantic_codec.vector_quantizer.nearest_cosine(latents)[0]

        modules = self.w2v_bert, self.statistics, self.semantic_codec
        return codes_of(recordings, cache / f"semantic-{fingerprint(*modules)}", encode_one)

    def acoustic_codes(self, recordings: Recordings, cache: Path) -> list[Tensor]:  # (T, Q) each
        def encode_one(index: int) -> Tensor:
            pcm = torch.from_numpy(recordings.audio(index))[None]
            return self.quantizer.encode(encode(self.acoustic_encoder, pcm))[0]

        modules = self.acoustic_encoder, self.quantizer
        return codes_of(recordings, cache / f"acoustic-{fingerprint(*modules)}", encode_one)


def fingerprint(*modules: nn.Module) -> str:
    digest = hashlib.sha256()
    for module in modules:
        for value in module.state_dict().values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:12]


def codes_of(recordings: Recordings, folder: Path, encode_one: Callable[[int], Tensor]) -> list[Tensor]:
    """Codes of all `recordings`, computed where `folder` lacks them."""
    folder.mkdir(parents=True, exist_ok=True)
    every = []
    for index, utterance in enumerate(recordings.utterances):
        path = folder / f"{utterance.id}.npy"
        if not path.exists():
            with torch.no_grad():
                codes = encode_one(index)
            part = path.with_suffix(f".{os.getpid()}.npy")  # two trainers may begin at once
            np.save(part, codes.short().numpy())
            part.replace(path)
        every.append(torch.from_numpy(np.load(path).astype(np.int64)))
    return every


@dataclass(frozen=True)
class Tokens:
    semantic: list[Tensor]  # (T,) each
    acoustic: list[Tensor]  # (T, Q) each, of the same T
    speakers: dict[int, list[int]]


def tokenise(recordings: Recordings, encoders: Encoders, cache: Path) -> Tokens:
    """Both kinds of codes of all `recordings`, cut to the shorter."""
    pairs = list(
        zip(encoders.semantic_codes(recordings, cache), encoders.acoustic_codes(recordings, cache), strict=True)
    )
    sizes = [min(map(len, pair)) for pair in pairs]
    return Tokens([semantic[:size] for (semantic, _), size in zip(pairs, sizes, strict=True)],
                  [acoustic[:size] for (_, acoustic), size in zip(pairs, sizes, strict=True)],
                  recordings.by_speaker)  # fmt: skip
