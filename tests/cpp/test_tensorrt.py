"""The TensorRT backend over a double of TensorRT and CUDA whose plans are the ONNX graphs: logic, not a GPU's sums."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from m8d.benchmarks import speech
from m8d.engines.bundle import Bundle
from m8d.engines.tensorrt.profiles import ProfileLimits, stage_profiles

from .conftest import BUILD, LAYERS, Library, StatusError

ROOT = Path(__file__).parents[2]
INVALID, BAD_BUNDLE, BAD_PROVIDER = 1, 2, 3
SOURCE, REFERENCE = speech.source(0.8), speech.reference(0.6)


def cmake(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(["cmake", *map(str, arguments)], check=True, capture_output=True, env=environment)


@pytest.fixture(scope="module")
def library():
    """libm8d of the same settings as the tested one, with the double as its TensorRT."""
    folder = BUILD.resolve().with_name(f"{BUILD.name}-tensorrt")
    cache = (BUILD / "CMakeCache.txt").read_text().splitlines()
    settings = [f"-D{line}" for line in cache if line.startswith(("ONNXRUNTIME_", "M8D_SANITIZE"))]
    double = ROOT / "tests" / "cpp" / "tensorrt_double"
    cmake("-S", double, "-B", folder / "double", "-G", "Ninja", *settings)
    cmake("--build", folder / "double")
    cmake("-S", ROOT / "runtime" / "cpp", "-B", folder, "-G", "Ninja", *settings, "-DM8D_TENSORRT=ON",
          "-DM8D_EXAMPLES=OFF",
          f"-DTENSORRT_INCLUDE_DIR={double / 'include'}", f"-DCUDART_INCLUDE_DIR={double / 'include'}",
          f"-DTENSORRT_LIBRARY={folder / 'double' / 'libnvinfer.so'}",
          f"-DCUDART_LIBRARY={folder / 'double' / 'libnvinfer.so'}")  # fmt: skip
    cmake("--build", folder)
    return Library(folder)


@pytest.fixture
def planned(bundle, tmp_path):
    """A bundle with plans as `m8d-export engines` describes them, of which the double can run each."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    opened = Bundle.open(folder)
    plans = folder / "engines" / "tensorrt-11.1.0.106_sm89_fp32_0123456789ab"
    plans.mkdir(parents=True)
    for name, spec in opened.manifest.stages.items():
        graph = (folder / spec.file).read_bytes()
        (plans / f"{name}.plan").write_bytes(graph)
        profiles = stage_profiles(opened.manifest, name, ProfileLimits(max_seconds=(0.7, 2.0)))
        description = {
            "target": {"name": "tensorrt", "version": "11.1.0.106", "capabilities": ["8.9"]},
            "graph_sha256": [opened.manifest.files[spec.file].sha256],
            "plan_sha256": hashlib.sha256(graph).hexdigest(),
            "profiles": [{axis: vars(r) for axis, r in profile.items()} for profile in profiles],
        }
        (plans / f"{name}.json").write_text(json.dumps(description))
    return folder


def change(planned, stage, **values):
    path = next(planned.glob(f"engines/*/{stage}.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_conversion_is_that_of_python(library, planned, builtin_pipeline):
    pipeline = library.open(planned, provider=b"tensorrt")
    voice = library.voice(pipeline, REFERENCE.samples, REFERENCE.sample_rate)
    latents = library.encode(pipeline, SOURCE.samples, SOURCE.sample_rate)
    options = library.sampling(pipeline, seed=5, coarse_steps=4, second_steps=2, coarse_guidance=1.5)
    audio, codes = library.decode(pipeline, latents, voice, options)
    shorter, _ = library.decode(pipeline, latents[:9], voice, options)  # other shapes, another profile
    sampling = builtin_pipeline.sampling(
        seed=5, coarse_steps=4, fine_steps=(2, *[1] * (LAYERS - 2)), coarse_guidance=1.5
    )
    spoken = builtin_pipeline.voice(REFERENCE)
    expected = builtin_pipeline.decode(latents, spoken, sampling)
    np.testing.assert_array_equal(codes, expected.acoustic_codes)
    np.testing.assert_allclose(audio, expected.audio.samples, atol=1e-4)
    expected = builtin_pipeline.decode(latents[:9], spoken, sampling)
    np.testing.assert_allclose(shorter, expected.audio.samples, atol=1e-4)
    library.raw.m8d_voice_free(voice)
    library.raw.m8d_close(pipeline)


def refused(library, planned, samples=SOURCE.samples):
    pipeline = library.open(planned, provider=b"tensorrt")
    with pytest.raises(StatusError) as error:
        library.encode(pipeline, samples, SOURCE.sample_rate)
    library.raw.m8d_close(pipeline)
    return error.value.status, error.value.text


def test_a_length_beyond_the_plan_names_the_limit(library, planned):
    samples = np.tile(SOURCE.samples, 4)
    status, text = refused(library, planned, samples)
    assert status == INVALID
    assert "front_end" in text
    assert "input pcm: axis N" in text
    assert "560 to 32000" in text
    assert "--max-seconds" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"graph_sha256": ["0" * 64]}, "built from another graph"),
        ({"plan_sha256": "0" * 64}, "is damaged"),
        ({"profiles": []}, "does not describe a plan"),
        ({"target": {"name": "tensorrt", "version": "10.0.0.1", "capabilities": ["8.9"]}}, "no plan of front_end"),
        ({"target": {"name": "tensorrt", "version": "11.1.0.106", "capabilities": ["9.0"]}}, "compute capability 8.9"),
    ],
)
def test_stale_and_foreign_plans_are_refused(library, planned, changes, expected):
    change(planned, "front_end", **changes)
    status, text = refused(library, planned)
    assert status == BAD_BUNDLE
    assert expected in text
    assert "m8d-export engines" in text
    assert "--target tensorrt`" in text


def test_a_plan_that_cannot_be_loaded(library, planned):
    path = next(planned.glob("engines/*/front_end.plan"))
    path.write_bytes(b"no plan")
    change(planned, "front_end", plan_sha256=hashlib.sha256(b"no plan").hexdigest())
    status, text = refused(library, planned)
    assert status == BAD_BUNDLE
    assert "tensorrt 11.1.0.106 cannot load the plan of front_end" in text


def test_no_gpu(library, planned, monkeypatch):
    monkeypatch.setenv("M8D_DOUBLE_NO_GPU", "1")
    with pytest.raises(StatusError) as error:
        library.open(planned, provider=b"tensorrt")
    assert error.value.status == BAD_PROVIDER
    assert "could not find a GPU: no CUDA-capable device is detected" in error.value.text


def test_a_provider_that_was_not_built_in(library, planned):
    with pytest.raises(StatusError) as error:
        library.open(planned, provider=b"tensorrt-rtx")
    assert error.value.status == BAD_PROVIDER
    assert "only: cpu, tensorrt." in error.value.text
