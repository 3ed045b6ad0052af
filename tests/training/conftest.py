"""A tiny corpus of tones: a "phone" is a chord, a "speaker" a transposition."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from m8d.models.config import (
    AcousticDecoderConfig,
    AcousticEncoderConfig,
    ModelConfig,
    S2AConfig,
    SemanticCodecConfig,
    T2SConfig,
    W2VBertConfig,
)
from m8d.models.training.corpus import SAMPLE_RATE, Utterance
from m8d.models.training.loop import LoopOptions
from m8d.models.training.recipe import Recipe

TINY = ModelConfig(
    semantic_layer=1,
    w2v_bert=W2VBertConfig(hidden_size=32, intermediate_size=48, num_attention_heads=2, num_hidden_layers=1),
    semantic_codec=SemanticCodecConfig(codebook_size=16, hidden_size=32, vocos_dim=16, vocos_intermediate_dim=24,
                                       vocos_num_layers=1),
    acoustic_encoder=AcousticEncoderConfig(d_model=4, up_ratios=(6, 5, 4, 4), out_channels=160),
    acoustic_decoder=AcousticDecoderConfig(n_fft=960, in_channels=160, num_quantizers=2, codebook_size=24,
                                           vocos_dim=24, vocos_intermediate_dim=32, vocos_num_layers=1),
    s2a_1layer=S2AConfig(1, 24, 1, 2, codebook_size=24, cond_codebook_size=16),
    s2a_full=S2AConfig(2, 24, 1, 2, codebook_size=24, cond_codebook_size=16),
    t2s=T2SConfig(24, 2, 2, cond_codebook_size=16, num_phones=40, duration_width=8),
)  # fmt: skip
PITCHES = {"aa": 220.0, "iy": 700.0, "s": 2500.0}  # Hz


def chord(chance, speaker, phones):
    time = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * PITCHES[phone] * (1 + 0.2 * speaker) * time) for phone in phones]
    return 0.1 * np.concatenate(tones) + chance.normal(0, 0.003, len(tones) * len(time))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums over threads have no fixed order, and a resumed run is compared bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    work = tmp_path_factory.mktemp("training")
    (work / "corpus" / "wav").mkdir(parents=True)
    chance = np.random.default_rng(0)
    lines = []
    for split, count in (("train", 8), ("seen", 2), ("unseen", 2)):
        for number in range(count):
            names = list(chance.choice(list(PITCHES), 16))
            speaker = number % 2 + 2 * (split == "unseen")
            pcm = chord(chance, speaker, names)
            name = f"{split}-{number}"
            soundfile.write(work / "corpus" / "wav" / f"{name}.wav", pcm, SAMPLE_RATE, subtype="PCM_16")
            phones = tuple((phone, 0.25 * (i + 1)) for i, phone in enumerate(names))
            utterance = Utterance(name, split, f"speaker-{speaker}", "tones", "", len(pcm) / SAMPLE_RATE, phones)
            lines.append(json.dumps(dataclasses.asdict(utterance)) + "\n")
    (work / "corpus" / "index.jsonl").write_text("".join(lines))
    options = LoopOptions(minutes=5, steps=1, warmup=1, learning_rate=3e-3)
    return Recipe(work, TINY, options, unquantised_latents=4, unquantised_codec=4)
