"""The runtime works where torch, transformers and onnx are not installed — and this check can fail."""

import os
import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in ("torch", "transformers", "onnx", "huggingface_hub"):
    sys.modules[name] = None  # importing it raises ImportError, as if it were not installed
"""
CONVERT = """
import numpy as np
from m8d.runtime import Metis8dEncoder, Pipeline
pipeline = Pipeline.load(provider="cpu", threads=1)
noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
options = pipeline.sampling(coarse_steps=2, fine_steps=(1,) * (pipeline.bundle.manifest.model.num_quantizers - 1))
print(len(pipeline.convert((noise, 16000), (noise, 16000), options).audio.samples))
"""


def run(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_converts_without_torch():
    result = run(WITHOUT + CONVERT)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == 24 * 480


@pytest.mark.parametrize("module", ["m8d.models.checkpoint", "m8d.export.graph"])
def test_the_check_can_fail(module):
    result = run(WITHOUT + f"import {module}")
    assert result.returncode != 0
    assert "ModuleNotFoundError" in result.stderr or "ImportError" in result.stderr


def test_nothing_heavy_is_imported_for_help():
    code = "import sys, m8d.runtime.cli; print({'numpy', 'onnxruntime', 'soundfile', 'torch'} & set(sys.modules))"
    assert run(code).stdout.strip() == "set()"
