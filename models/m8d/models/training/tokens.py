"""Codes of every recording by the trained encoders: what S2A and T2S learn from.

Kept on disk per recording, under a name that changes with the encoders' weights.

T frames (50 Hz), Q quantizers.
"""

from __future__ import annotations

import hashlib
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
from m8d.models.training.semantics import MelCache, normal_features, normalise
from m8d.models.w2v_bert import W2VBert


@dataclass(frozen=True)
class Encoders:
    w2v_bert: W2VBert
    statistics: dict[str, Tensor]
    semantic_codec: RepCodec
    acoustic_encoder: CodecEncoder
    quantizer: ResidualVQ

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        modules: list[nn.Module] = [self.w2v_bert, self.semantic_codec, self.acoustic_encoder, self.quantizer]
        for module in modules:
            for value in module.state_dict().values():
                digest.update(value.numpy().tobytes())
        return digest.hexdigest()[:12]

    def semantic_codes(self, features: Tensor) -> Tensor:  # (1, T, 160) → (T,)
        normal = normal_features(self.w2v_bert, features, self.statistics)
        latents = self.semantic_codec.latents(normal, torch.tensor([normal.shape[1]]))
        return self.semantic_codec.vector_quantizer.nearest_cosine(latents)[0]

    def acoustic_codes(self, pcm: Tensor) -> Tensor:  # (1, N) → (T, Q)
        return self.quantizer.encode(encode(self.acoustic_encoder, pcm))[0]


@dataclass(frozen=True)
class Tokens:
    semantic: list[Tensor]  # (T,) each
    acoustic: list[Tensor]  # (T, Q) each, of the same T
    speakers: dict[int, list[int]]


def tokenise(recordings: Recordings, encoders: Encoders, cache: Path) -> Tokens:
    """Codes of all `recordings`, computed where `cache` lacks them; both kinds cut to the shorter."""
    folder = cache / encoders.fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    mels = MelCache(recordings)
    semantic, acoustic = [], []
    for index, utterance in enumerate(recordings.utterances):
        path = folder / f"{utterance.id}.npz"
        if not path.exists():
            with torch.no_grad():
                codes = encoders.semantic_codes(normalise(mels[index][None]))
                layers = encoders.acoustic_codes(torch.from_numpy(recordings.audio(index))[None])
            mels.cache.clear()
            frames = min(len(codes), len(layers))
            part = path.with_suffix(".part.npz")
            np.savez(part, semantic=codes[:frames].short().numpy(), acoustic=layers[:frames].short().numpy())
            part.replace(path)
        with np.load(path) as arrays:
            semantic.append(torch.from_numpy(arrays["semantic"].astype(np.int64)))
            acoustic.append(torch.from_numpy(arrays["acoustic"].astype(np.int64)))
    return Tokens(semantic, acoustic, recordings.by_speaker)
