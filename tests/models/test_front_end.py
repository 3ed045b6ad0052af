"""The front end against the extractor that the model was trained with."""

import numpy as np
import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from m8d.models.front_end import MIN_SAMPLES, FrontEnd

EXTRACTOR = SeamlessM4TFeatureExtractor(padding_value=1)


def speech_like(samples, seed=0):
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.1 * noise * (np.abs(np.sin(np.arange(samples) * 7e-4)) + 0.02)).astype(np.float32)


@pytest.mark.parametrize("samples", [MIN_SAMPLES, 719, 720, 8000, 20960, 16000 * 7 + 13])
def test_equals_the_extractor(samples):
    pcm = speech_like(samples)
    expected = EXTRACTOR(pcm, sampling_rate=16000, return_tensors="np")
    features, mask, frames = FrontEnd()(torch.from_numpy(pcm)[None], torch.tensor([samples]))
    np.testing.assert_array_equal(mask.numpy(), expected["attention_mask"])
    assert frames.item() == expected["attention_mask"].shape[1]
    np.testing.assert_allclose(features.numpy(), expected["input_features"], atol=1e-3)


def test_a_padded_item_equals_itself_alone():
    lengths = torch.tensor([16000, 9999])
    pcm = torch.from_numpy(np.stack([speech_like(16000, seed) for seed in (1, 2)]))
    features, mask, frames = FrontEnd()(pcm, lengths)
    alone = FrontEnd()(pcm[1:, :9999], lengths[1:])
    size = int(frames[1])
    torch.testing.assert_close(features[1:, :size], alone[0], atol=2e-4, rtol=0)
    assert torch.equal(mask[1:, :size], alone[1])
    assert mask[1, size:].sum() == 0


def test_silence_is_finite():
    features, _, _ = FrontEnd()(torch.zeros(1, 4000), torch.tensor([4000]))
    assert torch.isfinite(features).all()
    assert features.abs().max() <= 1
