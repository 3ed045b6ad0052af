"""A session refuses what it cannot do, and says what it was given."""

import dataclasses
import sys

import numpy as np
import onnxruntime
import pytest

from doubles import DeviceArray, RecordingDevice
from m8d.engines.builtin import builtin_bundle
from m8d.engines.device import open_device
from m8d.engines.errors import BundleError, InputError, ProviderError
from m8d.engines.session import OnnxRuntimeSession, SessionOptions, cuda_details, output_shape, resolve_provider

ON_CPU = SessionOptions(provider="cpu")


def test_missing_provider_is_refused():
    with pytest.raises(ProviderError, match=r"cuda was asked for.*m8d\[gpu\].*--provider cpu"):
        OnnxRuntimeSession(builtin_bundle(), "guidance", SessionOptions(provider="cuda"))


def test_provider_that_falls_back_is_refused(monkeypatch):
    """ONNX Runtime lists CUDA, cannot start it, and goes on with the CPU without an error."""
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr("m8d.engines.providers.open_device", lambda index: RecordingDevice())
    monkeypatch.setattr("m8d.engines.session.open_device", lambda index: RecordingDevice())
    with pytest.raises(ProviderError, match="could not start it and fell back to CPUExecutionProvider"):
        OnnxRuntimeSession(builtin_bundle(), "guidance", SessionOptions(provider="cuda"))


def test_unknown_provider():
    with pytest.raises(ProviderError, match="Unknown provider 'tpu': expected one of auto, cpu, cuda"):
        resolve_provider(SessionOptions(provider="tpu"), builtin_bundle())


def test_auto_takes_the_cpu_here():
    choice = resolve_provider(SessionOptions(), builtin_bundle())
    assert choice.provider == "cpu"
    assert "cuda: Provider cuda was asked for" in choice.reason


def test_cuda_without_cupy_is_refused(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setitem(sys.modules, "cupy", None)
    open_device.cache_clear()
    with pytest.raises(ProviderError, match=r"CuPy is not installed.*pip install cupy"):
        resolve_provider(SessionOptions(provider="cuda"), builtin_bundle())


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_tensorrt_is_refused_with_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name.replace("-", "_"), None)
    with pytest.raises(ProviderError, match=rf"{name} was asked for but is not installed.*pip install m8d\[{name}\]"):
        resolve_provider(SessionOptions(provider=name), builtin_bundle())


def test_cuda_settings():
    details = cuda_details(RecordingDevice(), SessionOptions(tf32=True))
    assert details == {
        "device_id": "0",
        "user_compute_stream": "77",
        "use_tf32": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    assert cuda_details(RecordingDevice(), SessionOptions())["use_tf32"] == "0"


def test_arrays_on_the_device_are_bound_by_address(monkeypatch):
    """On recording doubles: ONNX Runtime's binding gets every array's own memory, and no result passes the host."""
    session = OnnxRuntimeSession(builtin_bundle(), "guidance", ON_CPU)
    session.device, session._session = RecordingDevice(), RecordingRuntime()
    given = {name: array.view(DeviceArray) for name, array in feeds().items()}
    result = session.run(given)["guided"]
    bound = session._session.bound
    assert bound["conditional"] == ("cuda", 0, np.float32, (1, 3, 4), given["conditional"].ctypes.data)
    assert bound["guided"] == ("cuda", 0, np.float32, (1, 3, 4), result.ctypes.data)
    assert session.device.log == []


def test_arrays_on_the_device_need_a_stage_of_known_sizes():
    spec = builtin_bundle().stage("front_end")
    given = {"pcm": np.zeros((1, 560), np.float32), "lengths": np.array([560])}
    with pytest.raises(InputError, match=r"front_end takes arrays of the host.*the size T of input_features"):
        output_shape("front_end", spec, "input_features", given)


class RecordingRuntime:
    """In place of an ONNX Runtime session with I/O binding."""

    def __init__(self):
        self.bound = {}

    def io_binding(self):
        return self

    def bind_input(self, name, *where):
        self.bound[name] = where

    bind_output = bind_input

    def run_with_iobinding(self, binding, options):
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"


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
