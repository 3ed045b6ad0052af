"""`m8d-run` as a user types it, on the built-in bundle."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from m8d.engines.builtin import builtin_bundle
from m8d.runtime.cli import app

LAYERS = builtin_bundle().manifest.model.num_quantizers

DEMO = Path(__file__).parents[2] / "runtime" / "m8d" / "runtime" / "demo"
SOURCE, REFERENCE = str(DEMO / "source.flac"), str(DEMO / "reference.flac")
DURATION = soundfile.info(SOURCE).duration
PCM_FRAMES = int(DURATION * 50)
FRAMES = -(-int(DURATION * 100 - 1.5) // 2)  # pairs of 25 ms windows every 10 ms, the last one padded
QUICK = ["--layer-steps", "2,1", "--provider", "cpu", "--threads", "1"]


def m8d_run(*arguments, **kwargs):
    return CliRunner().invoke(app, [str(a) for a in arguments], **kwargs)


def test_convert_writes_audio_and_codes(tmp_path):
    out, codes = tmp_path / "out.wav", tmp_path / "codes.npy"
    result = m8d_run("convert", "-s", SOURCE, "-r", REFERENCE, "-o", out, "--save-codes", codes, *QUICK)
    assert result.exit_code == 0, result.output
    samples, rate = soundfile.read(out)
    assert rate == 24000
    assert len(samples) == 480 * len(np.load(codes)) == 480 * FRAMES
    assert "built-in bundle" in result.stderr
    assert "wrote" in result.stderr


def test_same_seed_same_audio(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert m8d_run("reconstruct", SOURCE, "-o", tmp_path / f"{name}.wav", "--seed", seed, *QUICK).exit_code == 0
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_json_summary(tmp_path):
    result = m8d_run("reconstruct", SOURCE, "-o", tmp_path / "out.wav", "--json", *QUICK)
    summary = json.loads(result.stdout)
    assert summary["provider"] == "cpu"
    assert summary["audio_seconds"] == pytest.approx(FRAMES * 0.02)
    assert summary["stage_seconds"]["s2a_full_backbone"] > 0


def test_quiet_prints_nothing(tmp_path):
    assert m8d_run("reconstruct", SOURCE, "-o", tmp_path / "out.wav", "-q", *QUICK).output == ""


def test_encode_then_decode(tmp_path):
    names = ("z", "features", "codes", "acoustic")
    z, features, codes, acoustic = (tmp_path / f"{n}.npy" for n in names)
    result = m8d_run("encode", SOURCE, "-o", z, "--features", features, "--codes", codes, "--acoustic-codes", acoustic)
    assert result.exit_code == 0, result.output
    shapes = [np.load(path).shape for path in (z, features, codes, acoustic)]
    # The two encoders count frames at the end differently.
    assert [shape[0] for shape in shapes] == [FRAMES, FRAMES, FRAMES, PCM_FRAMES]
    assert shapes[0][1] == 8
    result = m8d_run("decode", z, "-o", tmp_path / "out.flac", "-r", REFERENCE, *QUICK)
    assert result.exit_code == 0, result.output
    assert soundfile.info(tmp_path / "out.flac").frames == FRAMES * 480


def test_interpolation_points(tmp_path):
    result = m8d_run("interpolate", SOURCE, REFERENCE, "--output-dir", tmp_path / "steps", "--steps", 3, *QUICK)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "steps").iterdir()) == [
        "interp_000.wav",
        "interp_050.wav",
        "interp_100.wav",
    ]


def test_pipes():
    code = "from m8d.runtime.cli import main; main()"
    arguments = ["reconstruct", "-", "-o", "-", *QUICK]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=Path(SOURCE).read_bytes(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    samples, rate = soundfile.read(io.BytesIO(result.stdout))
    assert (len(samples), rate) == (FRAMES * 480, 24000)


def test_info():
    assert "s2a_full_backbone" in m8d_run("info", "--verify").stdout
    assert json.loads(m8d_run("info", "--json").stdout)["format"] == "m8d-bundle"


def noise(seconds, rate=16000):
    return 0.1 * np.random.default_rng(0).standard_normal(int(seconds * rate))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "is empty"),
        (noise(0.03), "too short: received 30.0 ms, expected at least 35 ms"),
        (np.full(4000, np.nan), "NaN or infinite"),
    ],
)
def test_unusable_audio(tmp_path, samples, message):
    path = tmp_path / "in.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    result = m8d_run("reconstruct", path, "-o", tmp_path / "out.wav", *QUICK)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("samples", [noise(0.036), np.zeros(8000), np.clip(50 * noise(0.5), -1, 1), noise(0.2, 8000)])
def test_odd_but_usable_audio(tmp_path, samples):
    """Barely long enough, silent, clipped: all give sound of the input's length, finite."""
    soundfile.write(tmp_path / "in.wav", samples, 16000)
    result = m8d_run("reconstruct", tmp_path / "in.wav", "-o", tmp_path / "out.wav", *QUICK)
    assert result.exit_code == 0, result.output
    out, _ = soundfile.read(tmp_path / "out.wav")
    assert np.isfinite(out).all()
    assert abs(len(out) / 24000 - len(samples) / 16000) < 0.04


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bundle", "nowhere"], "No bundle at nowhere"),
        (["--provider", "cuda"], "cuda was asked for"),
        (["--layer-steps", "x"], f"--layer-steps: received 'x', expected 1 to {LAYERS} numbers"),
        (["--layer-steps", "0"], "coarse_steps: received 0, expected at least 1"),
        (["--layer-steps", "1" + ",1" * LAYERS], f"expected 1 to {LAYERS} numbers"),
        (["--guidance", "-1"], "coarse_guidance: received -1.0, expected 0 (none) or more"),
        (["--top-k", "0"], "top_k_ratio: received 0.0"),
        (["--latent-metric", "manhattan"], "expected cosine or euclidean"),
        (["--temperature", "0"], "temperature: received 0.0, expected more than 0"),
        (["--seed", "-1"], "seed: received -1, expected 0 to 2**64 - 1"),
    ],
)
def test_wrong_options(tmp_path, arguments, message):
    result = m8d_run("reconstruct", SOURCE, "-o", tmp_path / "out.wav", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.wav").exists()


def test_json_and_audio_cannot_share_stdout():
    result = m8d_run("reconstruct", SOURCE, "-o", "-", "--json")
    assert result.exit_code == 2
    assert "both want standard output" in result.stderr


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 7), np.float32), r"received float32 (5, 7), expected floats of shape (T, 8)"),
        (np.full((5, 8), np.inf, np.float32), "NaN or infinity"),
        (np.zeros((0, 8), np.float32), "T at least 1"),
    ],
)
def test_wrong_latents(tmp_path, array, message):
    np.save(tmp_path / "z.npy", array)
    result = m8d_run("decode", tmp_path / "z.npy", "-o", tmp_path / "out.wav")
    assert result.exit_code == 2
    assert message in result.stderr


def test_latents_that_are_no_array(tmp_path):
    (tmp_path / "z.npy").write_text("no")
    assert "Cannot read" in m8d_run("decode", tmp_path / "z.npy", "-o", tmp_path / "out.wav").stderr


def test_a_voice_file_gives_what_its_reference_gives(tmp_path):
    voice, outputs = tmp_path / "v.npz", [tmp_path / "a.wav", tmp_path / "b.wav"]
    assert m8d_run("voice", REFERENCE, "-o", voice).exit_code == 0
    for output, given in zip(outputs, (["-r", REFERENCE], ["--voice", voice]), strict=True):
        result = m8d_run("convert", "-s", SOURCE, *given, "-o", output, *QUICK)
        assert result.exit_code == 0, result.output
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "convert needs a voice"),
        (["--voice", "none.npz"], "Voice file none.npz does not exist"),
        (["--voice", SOURCE], "as a voice"),
        (["--voice", "v.npz", "-r", REFERENCE], "both name a voice"),
    ],
)
def test_unusable_voices(tmp_path, given, message):
    result = m8d_run("convert", "-s", SOURCE, "-o", tmp_path / "out.wav", *given)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_voice_of_another_bundle_is_refused(tmp_path):
    codes = np.zeros(3, np.int64)
    np.savez(tmp_path / "v.npz", semantic_codes=codes, acoustic_codes=np.full((3, LAYERS), 1000))
    result = m8d_run("convert", "-s", SOURCE, "-o", tmp_path / "out.wav", "--voice", tmp_path / "v.npz")
    assert "made with a bundle of other sizes" in result.stderr


def test_low_memory_changes_nothing_but_memory(tmp_path):
    for name, flags in (("a", []), ("b", ["--low-memory"])):
        m8d_run("convert", "-s", SOURCE, "-r", REFERENCE, "-o", tmp_path / f"{name}.wav", *flags, *QUICK)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("quality", ["best", "default", "fast", "turbo"])
def test_qualities_run(tmp_path, quality):
    result = m8d_run("convert", "-s", SOURCE, "-r", REFERENCE, "-o", tmp_path / "out.wav", "--quality", quality)
    assert result.exit_code == 0, result.output
