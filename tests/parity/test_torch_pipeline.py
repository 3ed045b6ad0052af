"""The runtime against the torch pipeline at a second, odd size: what one hoists, packs and skips the other does not."""

import numpy as np
import pytest
import torch

from m8d.models.pipeline import Schedule, TorchPipeline
from m8d.runtime import Pipeline
from m8d.runtime.audio import Audio
from m8d.runtime.noise import NoiseStream

SEED = 11


def noise(stage, layer, kind, step, shape):
    return NoiseStream(SEED, stage, layer).uniform(kind, step, shape)


def voiced(seconds, pitch):
    t = np.arange(int(seconds * 24000)) / 24000
    tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 9)) * (0.6 + 0.4 * np.sin(9 * t))
    return (0.1 * tone + 0.005 * np.random.default_rng(int(pitch)).standard_normal(t.size)).astype(np.float32)


@pytest.mark.parametrize("guidance", [(0.0, 2.5), (2.5, 2.5), (0.0, 0.0)])
@pytest.mark.parametrize("with_voice", [True, False])
def test_same_codes(odd_bundle, odd_checkpoint, guidance, with_voice):
    runtime, baseline = Pipeline(odd_bundle), TorchPipeline(odd_checkpoint)
    source, reference = Audio(voiced(1.11, 130), 24000), Audio(voiced(0.7, 210), 24000)
    latents = baseline.latents(source.resampled(16000))
    np.testing.assert_allclose(runtime.encoder.encode(source).latents, latents.numpy(), atol=1e-4)

    quantizer = baseline.semantic_codec.vector_quantizer
    prompt = None
    if with_voice:
        semantic = quantizer.nearest_cosine(baseline.latents(reference.resampled(16000)))
        acoustic = baseline.acoustic_codes(reference.samples)
        size = min(len(semantic), len(acoustic))
        prompt = (semantic[:size], acoustic[:size])
    steps = (7, 4, 1, 2, 1)
    codes, pcm = baseline.decode(quantizer.nearest_cosine(latents), prompt, Schedule(steps, *guidance), noise)

    voice = runtime.encode_prompt(reference.samples, 24000) if with_voice else None
    options = runtime.sampling(
        seed=SEED, coarse_steps=7, fine_steps=steps[1:], coarse_guidance=guidance[0], fine_guidance=guidance[1]
    )
    result = runtime.decode(latents.numpy(), voice, options)
    assert (result.acoustic_codes == codes.numpy()).mean() >= 0.99
    if torch.equal(torch.from_numpy(result.acoustic_codes), codes):
        np.testing.assert_allclose(result.audio.samples, pcm.numpy(), atol=1e-4 * pcm.abs().max().item())
