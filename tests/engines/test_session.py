"""A session refuses what it cannot do, and says what it was given."""

import dataclasses

import numpy as np
import onnxruntime
import pytest

from m8d.engines.builtin import builtin_bundle
from m8d.engines.errors import BundleError, InputError, ProviderError
from m8d.engines.session import OnnxRuntimeSession, SessionOptions, resolve_provider

ON_CPU = SessionOptions(provider="cpu")


def test_missing_provider_is_refused():
    with pytest.raises(ProviderError, match=r"cuda was asked for.*m8d\[gpu\].*--provider cpu"):
        OnnxRuntimeSession(builtin_bundle(), "guidance", SessionOptions(provider="cuda"))


def test_provider_that_falls_back_is_refused(monkeypatch):
    """ONNX Runtime lists CUDA, cannot start it, and goes on with the CPU without an error."""
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    with pytest.raises(ProviderError, match="could not start it and fell back to CPUExecutionProvider"):
        OnnxRuntimeSession(builtin_bundle(), "guidance", SessionOptions(provider="cuda"))


def test_unknown_provider():
    with pytest.raises(ProviderError, match="Unknown provider 'tpu': expected one of auto, cpu, cuda"):
        resolve_provider(SessionOptions(provider="tpu"))


def test_auto_takes_the_cpu_here():
    assert resolve_provider(SessionOptions()) == "cpu"


def test_unknown_stage():
    with pytest.raises(BundleError, match="has no stage vocoder"):
        OnnxRuntimeSession(builtin_bundle(), "vocoder", ON_CPU)


def test_bf16_needs_a_gpu():
    bundle = builtin_bundle()
    stage = dataclasses.replace(bundle.stage("w2v_bert"), precision="bf16")
    manifest = dataclasses.replace(bundle.manifest, stages={**bundle.manifest.stages, "w2v_bert": stage})
    with pytest.raises(ProviderError, match=r"w2v_bert computes in bf16.*--precision fp32"):
        OnnxRuntimeSession(dataclasses.replace(bundle, manifest=manifest), "w2v_bert", ON_CPU)


@pytest.fixture(scope="module")
def session():
    return OnnxRuntimeSession(builtin_bundle(), "guidance", ON_CPU)


def feeds(**changes):
    hidden = np.zeros((1, 3, 4), np.float32)
    factor = np.ones(1, np.float32)
    return {"conditional": hidden, "unconditional": hidden, "guidance": factor, "rescale": factor, **changes}


def test_missing_input(session):
    with pytest.raises(InputError, match="needs input rescale"):
        session.run({k: v for k, v in feeds().items() if k != "rescale"})


@pytest.mark.parametrize("wrong", [np.zeros((1, 3, 4)), np.zeros((1, 4, 4), np.float32), np.zeros((3, 4), np.float32)])
def test_wrong_dtype_size_or_rank(session, wrong):
    with pytest.raises(InputError, match=r"input unconditional: received .*, expected float32 \(1, 3, 4\)"):
        session.run(feeds(unconditional=wrong))


def test_named_outputs_only():
    session = OnnxRuntimeSession(builtin_bundle(), "semantic_quantizer", ON_CPU)
    out = session.run({"latents": np.ones((1, 2, 8), np.float32)}, ["semantic_codes"])
    assert list(out) == ["semantic_codes"]
