"""What is installed: symbols, the example programs, the CMake package and the pkg-config file."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m8d.benchmarks import speech

from .conftest import BUILD, LAYERS

CPP = Path(__file__).parents[2] / "runtime" / "cpp"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    done = run("cmake", "--install", BUILD, "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    return prefix


@pytest.fixture
def sounds(tmp_path):
    for name, audio in (("source", speech.source(0.9)), ("reference", speech.reference(0.7))):
        soundfile.write(tmp_path / f"{name}.wav", audio.samples, audio.sample_rate)
    return tmp_path


def test_only_the_interface_is_exported():
    listing = run("nm", "-D", "--defined-only", BUILD / "libm8d.so").stdout
    names = [line.split()[-1] for line in listing.splitlines()]
    assert all(name == "M8D_1" or (name.startswith("m8d_") and name.endswith("@@M8D_1")) for name in names), names
    assert len(names) == 15


def test_convert_program_is_the_python_command(sounds, bundle, builtin_pipeline):
    done = run(BUILD / "m8d-convert", "--bundle", bundle, "--source", sounds / "source.wav", "--reference",
               sounds / "reference.wav", "--output", sounds / "out.wav", "--seed", "3",
               "--layer-steps", "5,2,1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"step {7 + LAYERS - 2} of {7 + LAYERS - 2}" in done.stderr
    options = builtin_pipeline.sampling(seed=3, coarse_steps=5, fine_steps=(2, *[1] * (LAYERS - 2)))
    read = [soundfile.read(sounds / f"{name}.wav", dtype="float32") for name in ("source", "reference")]
    expected = builtin_pipeline.convert(*read, options).audio.samples
    found, rate = soundfile.read(sounds / "out.wav", dtype="float32")
    assert rate == 24000
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not list(sounds.glob("*.part"))


def test_minimal_program(sounds, bundle):
    done = run(BUILD / "minimal", bundle, sounds / "source.wav", sounds / "reference.wav", sounds / "out.wav")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(sounds / "out.wav").frames > 20000
    assert len((CPP / "examples" / "minimal.cpp").read_text().splitlines()) <= 45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing --bundle"),
        (("--bundle",), "unexpected or incomplete: --bundle"),
        (("--verbose", "1"), "unexpected or incomplete: --verbose"),
        (("--bundle", "none", "--source", "a", "--reference", "b", "--output", "c"), "No bundle at"),
        (("--bundle", "BUNDLE", "--source", "a", "--reference", "b", "--output", "c"), "Cannot read a as audio"),
    ],
)
def test_convert_program_says_what_is_wrong(bundle, arguments, message):
    done = run(BUILD / "m8d-convert", *(bundle if a == "BUNDLE" else a for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr


def test_consumer_project_builds_against_what_is_installed(prefix, bundle, tmp_path):
    flags = "-fsanitize=address,undefined" if "sanitized" in BUILD.name else ""
    configured = run("cmake", "-S", CPP / "examples" / "consumer", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}",
                     f"-DCMAKE_CXX_FLAGS={flags}")  # fmt: skip
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    done = run(tmp_path / "consumer", bundle)
    assert "8-D latents at 50 Hz, 49 codes, 23520 samples" in done.stdout, done.stderr


def test_pkg_config_finds_it(prefix):
    folders = [str(path.parent) for path in prefix.rglob("m8d.pc")]
    done = run("pkg-config", "--cflags", "--libs", "m8d", env={**os.environ, "PKG_CONFIG_PATH": ":".join(folders)})
    assert "-lm8d" in done.stdout, done.stderr
