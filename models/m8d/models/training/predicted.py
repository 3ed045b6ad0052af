"""Acoustic codes of training speech as S2A predicts them, aligned with the true sound.

What the codec's decoder is given in a conversion are not the encoder's codes but S2A's, with S2A's mistakes. Trained on
both, it learns which to believe (ground-truth-aligned training of vocoders, arXiv 1712.05884).

P prompt frames, T target frames, Q quantizers.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from m8d.models.masked import S2A
from m8d.models.training.data import Recordings
from m8d.models.training.s2a import Batch, target_logits
from m8d.models.training.tokens import Tokens

PROMPT = 100  # frames at most
COARSE_STEPS = 8


def predict_codes(recordings: Recordings, tokens: Tokens, coarse: S2A, full: S2A, folder: Path, count: int) -> None:
    """Writes `folder/ID.npy (T, Q)` for `count` random utterances, each with another of its speaker as the prompt.

    Utterances that are there are kept, so a stopped run goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    for index in recordings.sample(chance, count):
        others = [i for i in recordings.by_speaker[recordings.speaker_ids[index]] if i != index]
        path = folder / f"{recordings.utterances[index].id}.npy"
        if path.exists() or not others:
            continue
        before = int(chance.choice(others))
        prompt = min(PROMPT, len(tokens.semantic[before]))
        semantic = torch.cat([tokens.semantic[before][:prompt], tokens.semantic[index]])
        acoustic = torch.cat([tokens.acoustic[before][:prompt], tokens.acoustic[index]])
        batch = Batch(semantic[None], acoustic[None].clone(), prompt, torch.zeros(1, dtype=torch.bool))
        with torch.no_grad():
            for layer in range(acoustic.shape[1]):
                fill_layer(full if layer else coarse, batch, layer, 1 if layer else COARSE_STEPS)
        part = path.with_suffix(".part.npy")
        np.save(part, batch.acoustic[0, prompt:].numpy().astype(np.int16))
        part.replace(path)


def fill_layer(model: S2A, batch: Batch, layer: int, steps: int) -> None:
    """Replaces the batch's target codes of `layer` by the likeliest ones, the surest first in each of `steps`."""
    codes = batch.acoustic[:, batch.prompt :, layer]
    frames = codes.shape[1]
    masked = torch.ones(codes.shape, dtype=torch.bool)
    for step in range(steps):
        t = torch.full((len(codes),), 1 - step / steps)
        sureness, likeliest = target_logits(model, batch, layer, masked, t).softmax(-1).max(-1)
        codes[masked] = likeliest[masked]
        sureness[~masked] = math.inf
        remaining = int(frames * math.sin((1 - (step + 1) / steps) * math.pi / 2))
        unsure = sureness.argsort(-1)[:, :remaining]
        masked = torch.zeros_like(masked).scatter(1, unsure, True)
