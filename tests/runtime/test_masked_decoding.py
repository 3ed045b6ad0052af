"""The loop's parts: what is kept, how many frames are masked, when guidance is skipped."""

import numpy as np
import pytest
import torch

from m8d.runtime.masked_decoding import masked_count
from m8d.runtime.samplers import softmax, top_k


@pytest.mark.parametrize("steps", [1, 4, 10, 16, 25, 40])
def test_masked_count_is_the_reference_one(steps):
    """torch in float32, as the reference counts."""
    for frames in (1, 2, 7, 37, 65, 100, 500, 1499):
        t = [1.0 - i * (1.0 / steps) for i in range(steps)] + [0.0]
        for step in range(1, steps + 1):
            mask = torch.sin(t[step] * torch.ones(1) * np.pi / 2)
            assert masked_count(frames, step, steps) == int((mask * frames).long()[0])


def test_top_k_keeps_as_many_as_the_reference():
    logits = np.random.default_rng(0).standard_normal((5, 1024)).astype(np.float32)
    codes, kept = top_k(logits, 0.02)
    assert codes.shape == (5, 21)
    expected = torch.from_numpy(logits).topk(21).indices.sort(-1).values
    np.testing.assert_array_equal(codes, expected.numpy())
    np.testing.assert_array_equal(kept, np.take_along_axis(logits, codes, 1))


def test_top_k_of_everything():
    codes, _ = top_k(np.zeros((2, 4), np.float32), 1.0)
    assert codes.shape == (2, 4)


def test_softmax_of_large_numbers():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]])), [[0.5, 0.5]])


class Counting:
    """A session that counts its calls and remembers what it was given."""

    def __init__(self, session):
        self.session, self.spec, self.feeds = session, session.spec, []

    def run(self, feeds, outputs=None):
        self.feeds.append(feeds)
        return self.session.run(feeds, outputs)


@pytest.fixture
def counted(builtin_pipeline, monkeypatch):
    stages = {}

    def stage(name):
        return stages.setdefault(name, Counting(original(name)))

    original = builtin_pipeline.sessions.stage
    monkeypatch.setattr(builtin_pipeline.sessions, "stage", stage)
    return stages


def test_without_a_prompt_there_is_no_guidance_pass(builtin_pipeline, counted):
    codes = np.arange(20)
    options = builtin_pipeline.sampling(coarse_steps=3, coarse_guidance=2.5)
    builtin_pipeline.decoder.acoustic_codes(codes, None, options, lambda n: None)
    assert counted["guidance"].feeds == []
    assert len(counted["s2a_1layer_backbone"].feeds) == 3
    assert counted["s2a_1layer_backbone"].feeds[0]["codes"].shape == (1, 20, 1)


def test_only_masked_frames_are_scored(builtin_pipeline, counted):
    options = builtin_pipeline.sampling(coarse_steps=4)
    builtin_pipeline.decoder.acoustic_codes(np.arange(20), None, options, lambda n: None)
    scored = [feeds["rows"].shape[1] for feeds in counted["s2a_1layer_backbone"].feeds]
    assert scored == [20, *(masked_count(20, step, 4) for step in (1, 2, 3))]


def test_progress_adds_up(builtin_pipeline):
    from m8d.runtime.decoder import total_steps

    options, told = builtin_pipeline.sampling(coarse_steps=50), []
    builtin_pipeline.decoder.acoustic_codes(np.arange(3), None, options, told.append)
    assert sum(told) == total_steps(options)
