"""Named schedules: what they cost, and that options beside them win."""

import pytest

from m8d.engines.builtin import builtin_bundle
from m8d.runtime import InputError, Pipeline
from m8d.runtime.quality import QUALITIES, forwards, rows, schedule

LAYERS = builtin_bundle().manifest.model.num_quantizers


def cost(pipeline: Pipeline, quality: str, layers: int = 12, prompt: int = 50, target: int = 100) -> int:
    official = {"coarse_steps": 40, "fine_steps": (16, *[1] * (layers - 2)), "coarse_guidance": 0.0,
                "fine_guidance": 2.5}  # fmt: skip
    return rows(pipeline.sampling(**{**official, **schedule(quality, layers)}), prompt, target)


def test_costs_fall(builtin_pipeline):
    costs = [cost(builtin_pipeline, quality) for quality in QUALITIES]
    assert costs == sorted(costs, reverse=True)
    default = costs[1]
    assert default == 40 * 150 + 26 * 250
    assert costs[2] <= default / 2.2
    assert costs[3] <= default / 4.4


def test_forwards_without_a_prompt_have_no_guidance(builtin_pipeline):
    options = builtin_pipeline.sampling(**schedule("best", LAYERS))
    plain, guided = forwards(options)
    assert plain == 0
    assert rows(options, 0, 10) == guided * 10


def test_guided_layers(builtin_pipeline):
    options = builtin_pipeline.sampling(fine_guidance=2.5, guided_layers=1)
    assert [options.guidance_of(layer) for layer in (1, 2)] == [2.5, 0.0]


def test_unknown_quality():
    with pytest.raises(InputError, match="received 'great', expected one of best, default, fast, turbo"):
        schedule("great", 12)


def test_low_memory_keeps_one_model_open(builtin_pipeline):
    import numpy as np

    pipeline = Pipeline(builtin_pipeline.bundle, low_memory=True)
    pipeline.decode(np.zeros((5, 8)), None, pipeline.sampling(**schedule("turbo", LAYERS)))
    assert set(pipeline.sessions._open) == {"acoustic_decoder"}
