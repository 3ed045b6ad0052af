"""The GPU checks pass where they should and fail where they should; here the CPU stands in for the GPU."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from m8d.benchmarks.__main__ import app
from m8d.benchmarks.gpu_check import same_sampling, stage_checks
from m8d.benchmarks.recording import record_conversion
from m8d.engines.builtin import builtin_bundle
from m8d.engines.session import SessionOptions
from m8d.runtime.samplers import HostSampler

CPU = SessionOptions("cpu")


@pytest.fixture(scope="module")
def recording():
    return record_conversion(builtin_bundle(), CPU, 0.5, 0.4)


def test_what_computes_the_same_passes(recording):
    checks = list(stage_checks(builtin_bundle(), recording, CPU))
    assert len(checks) == 2 * len(recording.stages)
    assert all(check.passed for check in checks), checks


@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_a_stage_that_is_off_fails(recording, wrong):
    calls = [
        replace(call, results={"hidden": call.results["hidden"] + wrong}) if call.stage == "s2a_full_backbone" else call
        for call in recording.calls
    ]
    failed = [c.check for c in stage_checks(builtin_bundle(), replace(recording, calls=calls), CPU) if not c.passed]
    assert failed == ["s2a_full_backbone"]


def test_a_sampler_that_is_off_fails():
    class Off(HostSampler):
        def settle(self, logits, *rest):
            super().settle(-logits, *rest)

    assert same_sampling("here", HostSampler()).passed
    assert not same_sampling("here", Off()).passed


def test_without_a_gpu_the_command_says_so():
    result = CliRunner().invoke(app, ["gpu-check", "builtin"])
    assert result.exit_code == 2
    assert "--provider cpu" in result.stderr or "pip install cupy" in result.stderr
