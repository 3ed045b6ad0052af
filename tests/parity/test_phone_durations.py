"""T2S with a duration predictor: each phone is placed where it is to be heard."""

import numpy as np
import pytest
import torch

from m8d.models import masked
from m8d.runtime import Pipeline, speaker
from m8d.runtime.decoder import Voice
from m8d.runtime.masked_decoding import LayerDecoding
from m8d.runtime.speaker import Prompt, SpeakingOptions

FRAMES = 47
PROMPT_FRAMES = 20


def test_a_phone_is_in_the_middle_of_what_it_lasts():
    assert speaker.phone_positions(np.array([1.0, 1.0, 2.0]), 40).tolist() == [5, 15, 30]
    assert speaker.phone_positions(np.array([0.1]), 9).tolist() == [4]
    assert speaker.phone_positions(np.array([1.0, 1.0, 2.0]), 46, lead=6).tolist() == [11, 21, 36]
    assert speaker.phone_positions(np.array([1.0]), 8, lead=6).tolist() == [5]


@pytest.mark.parametrize("frames", [1, 7, 60, 500])
def test_runtime_and_trainer_place_phones_alike(frames):
    durations = np.random.default_rng(frames).uniform(0.02, 0.3, 50).astype(np.float32)
    placed = speaker.phone_positions(durations, frames)
    assert (np.diff(placed) >= 0).all()
    assert placed[0] >= 0
    assert placed[-1] < frames
    wanted = masked.phone_positions(torch.from_numpy(durations), frames).numpy()
    assert np.abs(placed - wanted).max() <= 1  # at a border the two sums may round apart
    assert (placed == wanted).mean() > 0.95


@pytest.fixture
def decoded_at(monkeypatch):
    """Positions of the decodings of a test."""
    positions = []

    class Watched(LayerDecoding):
        def __init__(self, model, context, *others):
            positions.append(np.asarray(context.positions))
            super().__init__(model, context, *others)

    monkeypatch.setattr(speaker, "LayerDecoding", Watched)
    return positions


def speak(pipeline, phones):
    codes = np.arange(PROMPT_FRAMES) % pipeline.bundle.manifest.model.semantic_codebook_size
    prompt = Prompt(Voice(codes, np.zeros((PROMPT_FRAMES, 1), np.int64)), phones[:5])
    options = SpeakingOptions(steps=3)
    return pipeline.speaker.semantic_codes(phones[5:], prompt, FRAMES, options, 0, lambda done: None)


def test_phones_of_prompt_and_target_lie_along_their_frames(odd_bundle, odd_checkpoint, decoded_at):
    phones = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
    pipeline = Pipeline(odd_bundle)
    codes = speak(pipeline, phones)
    durations = odd_checkpoint.load("t2s").durations(torch.from_numpy(phones)[None])[0]
    assert durations.std() > 0.02 * durations.mean()  # or the test could not tell phones apart
    ahead = masked.phone_positions(durations[:5], PROMPT_FRAMES)
    lead = speaker.LEAD_FRAMES
    after = PROMPT_FRAMES + lead + masked.phone_positions(durations[5:], FRAMES - lead)
    expected = torch.cat([ahead, after, torch.arange(PROMPT_FRAMES + FRAMES)]).numpy()
    np.testing.assert_allclose(decoded_at[0], expected, atol=1)
    assert (speak(pipeline, np.concatenate([phones[:5], phones[:4:-1]])) != codes).any()


def test_without_durations_rows_are_in_sequence(tiny_pipeline, decoded_at):
    speak(tiny_pipeline, np.arange(11))
    assert decoded_at[0].tolist() == list(range(11 + PROMPT_FRAMES + FRAMES))
