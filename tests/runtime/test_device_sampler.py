"""The GPU's kernels without a GPU: NVRTC compiles them, and built for the host they choose what NumPy chooses."""

import ctypes
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from doubles import RecordingDevice
from m8d.benchmarks.gpu_check import same_sampling
from m8d.engines.builtin import builtin_bundle
from m8d.runtime.masked_decoding import masked_count
from m8d.runtime.noise import LAYERS_PER_STAGE, NoiseStream
from m8d.runtime.samplers import COMPILER_OPTIONS, NAMES, DeviceSampler, HostSampler, Step, kernel_source
from m8d.runtime.speaker import Prompt, SpeakingOptions

ONES = (1,) * (builtin_bundle().manifest.model.num_quantizers - 2)

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The shipped source, compiled by g++."""
    folder = tmp_path_factory.mktemp("kernels")
    parts = ((HERE / "cuda_on_host.h").read_text(), kernel_source(), (HERE / "host_launchers.inc").read_text())
    (folder / "host.cpp").write_text("\n".join(parts))
    command = ["g++", "-std=c++20", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-o", "host.so"]
    subprocess.run([*command, "host.cpp"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "host.so"))


def as_c(value):
    kinds = {np.int32: ctypes.c_int, np.uint64: ctypes.c_ulonglong, np.float32: ctypes.c_float}
    return ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else kinds[type(value)](value.item())


def device_sampler(kernels, threads):
    """The sampler of GPUs, on arrays of NumPy, with blocks of so many threads."""

    def launch(name, blocks, arguments):
        getattr(kernels, f"launch_{name}")(blocks, threads, *(as_c(value) for value in arguments))

    return DeviceSampler(RecordingDevice(), launch)


@pytest.fixture
def sampler(kernels):
    return device_sampler(kernels, threads=1)


@pytest.mark.parametrize("key", [(7, 0, 0, 0), (2**64 - 1, 1, 39, 11 + 2 * LAYERS_PER_STAGE), (0, 1, 3, 5)])
def test_draws_are_numpys_bit_for_bit(kernels, key):
    seed, kind, step, layer = key
    drawn = np.empty(1003, np.float32)
    kernels.draw(*(ctypes.c_ulonglong(n) for n in key), len(drawn), as_c(drawn))
    stream = NoiseStream(seed, layer // LAYERS_PER_STAGE, layer % LAYERS_PER_STAGE)
    np.testing.assert_array_equal(drawn, stream.uniform(kind, step, drawn.shape))


@pytest.mark.parametrize("temperature", [0.0, 0.2, 1.5])
@pytest.mark.parametrize(
    ("frames", "size", "ratio"), [(1, 160, 0.02), (57, 1024, 0.02), (40, 100, 1.0), (9, 8192, 0.02)]
)
def test_a_step_is_numpys(kernels, frames, size, ratio, temperature):
    sampler = device_sampler(kernels, threads=3 if frames < 10 else 1)  # barriers are slow on the host
    generator = np.random.default_rng(frames)
    masked = generator.random(frames) < 0.7
    masked[0] = True
    logits = generator.normal(scale=3, size=(frames, size)).astype(np.float32)
    codes = np.where(masked[:, None], size, generator.integers(0, size, (frames, 3)))
    step = Step(2, 1, np.float32(0.6), temperature, ratio, masked_count(int(masked.sum()), 3, 5), size)
    received = {}
    for name, one in (("host", HostSampler()), ("device", sampler)):
        rows, c, m = one.rows(masked), codes.copy(), masked.copy()
        one.settle(logits[rows], rows, c, m, NoiseStream(7, 2, 1), step)
        received[name] = (c, m)
    np.testing.assert_array_equal(received["host"][0], received["device"][0])
    np.testing.assert_array_equal(received["host"][1], received["device"][1])
    assert received["host"][1].sum() == step.remaining


def test_the_gpu_check_of_sampling_passes(sampler):
    assert same_sampling("double", sampler).passed


def test_equal_logits_and_scores_go_by_index(sampler):
    codes, masked = np.full((4, 1), 8), np.ones(4, bool)
    step = Step(0, 0, np.float32(0), 0.0, 0.25, 2, 8)
    sampler.settle(np.zeros((4, 8), np.float32), np.arange(4), codes, masked, NoiseStream(0, 0, 0), step)
    np.testing.assert_array_equal(masked, [True, True, False, False])
    np.testing.assert_array_equal(codes[:, 0], [8, 8, 0, 0])


@pytest.mark.parametrize("guidance", [0.0, 2.5])
def test_whole_decodings_are_those_of_the_host(builtin_pipeline, sampler, monkeypatch, guidance):
    """The built-in bundle's S2A models; stages by ONNX Runtime, the rest by the kernels."""
    semantic = np.arange(30) % 100
    voice = builtin_pipeline.encode_prompt(np.sin(np.arange(8000)), 16000)
    options = builtin_pipeline.sampling(coarse_steps=6, fine_steps=(3, *ONES), coarse_guidance=guidance, seed=5)

    def decode():
        return builtin_pipeline.decoder.acoustic_codes(semantic, voice, options, lambda n: None)

    expected = decode()
    monkeypatch.setitem(vars(builtin_pipeline.sessions), "sampler", sampler)
    np.testing.assert_array_equal(decode(), expected)
    # One copy to the host per layer, and no other.
    assert sampler.device.log == [("to_host", "")] * builtin_pipeline.bundle.manifest.model.num_quantizers


def test_text_to_speech_decodes_the_same(builtin_pipeline, sampler, monkeypatch):
    voice = builtin_pipeline.encode_prompt(np.sin(np.arange(8000)), 16000)
    prompt, options = Prompt(voice, np.arange(1, 6)), SpeakingOptions(steps=5)

    def decode():
        return builtin_pipeline.speaker.semantic_codes(np.arange(3, 12), prompt, 30, options, 2**63, lambda n: None)

    expected = decode()
    monkeypatch.setitem(vars(builtin_pipeline.sessions), "sampler", sampler)
    np.testing.assert_array_equal(decode(), expected)


def nvrtc():
    folder = Path(find_spec("nvidia.cuda_nvrtc").submodule_search_locations[0])
    return ctypes.CDLL(str(next((folder / "lib").glob("libnvrtc.so.*"))))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_every_kernel(architecture):
    library, program = nvrtc(), ctypes.c_void_p()
    created = library.nvrtcCreateProgram(ctypes.byref(program), kernel_source().encode(), b"decoding.cu", 0, None, None)
    assert created == 0
    options = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in COMPILER_OPTIONS)]
    failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
    library.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    library.nvrtcGetCUBIN(program, cubin)
    for name in NAMES:
        assert f".text.{name}".encode() in cubin.raw
