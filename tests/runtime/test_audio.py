"""Audio in and out: what is accepted, and one clear error for each thing that is not."""

import io
import sys

import numpy as np
import pytest
import soundfile

from m8d.engines.errors import InputError
from m8d.runtime.audio import Audio, as_audio, load_audio, save_array, save_audio

RATE = 24000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_formats_and_channels(tmp_path, suffix, channels):
    if suffix == "mp3" and channels > 2:
        channels = 2
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([TONE] * channels, axis=1), RATE)
    audio = load_audio(str(path))
    assert audio.sample_rate == RATE
    # A tone stays that tone.
    spectrum = np.abs(np.fft.rfft(audio.samples[:RATE]))
    assert spectrum.argmax() * RATE / len(audio.samples[:RATE]) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000])
def test_resampling_keeps_the_tone(rate):
    samples = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    resampled = Audio(samples, rate).resampled(16000)
    assert resampled.shape == (16000,)
    assert np.abs(np.fft.rfft(resampled)).argmax() == 440


def test_integers_are_scaled():
    np.testing.assert_allclose(as_audio(np.array([-32768, 0, 16384], np.int16), 8000).samples, [-1, 0, 0.5])


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0, np.float32), 16000, "audio is empty"),
        (np.zeros((2, 2, 2), np.float32), 16000, r"shape \(2, 2, 2\), expected \(N,\) or \(N, channels\)"),
        (np.array(["a"]), 16000, "expected floats or signed integers"),
        (np.array([0.0, np.nan, np.inf]), 16000, "2 samples that are NaN or infinite"),
        (np.zeros(9), 0, "sample rate of 0, expected 1 to 768000 Hz"),
        (np.zeros(9), 16000.5, "sample rate of 16000.5"),
    ],
)
def test_wrong_samples(samples, rate, message):
    with pytest.raises(InputError, match=message):
        as_audio(samples, rate)


def test_wrong_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_audio(str(tmp_path / "none.wav"))
    with pytest.raises(InputError, match="is a folder"):
        load_audio(str(tmp_path))
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(InputError, match=r"Cannot read .*text\.wav as audio"):
        load_audio(str(tmp_path / "text.wav"))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(InputError, match=r"empty\.wav is empty"):
        load_audio(str(tmp_path / "empty.wav"))


def test_standard_streams(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    save_audio("-", Audio(TONE, RATE))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.getvalue())))
    np.testing.assert_allclose(load_audio("-").samples, TONE, atol=1e-4)


def test_loud_samples_are_clipped_not_wrapped(tmp_path):
    save_audio(str(tmp_path / "loud.wav"), Audio(np.array([2.0, -2.0], np.float32), RATE))
    np.testing.assert_allclose(soundfile.read(tmp_path / "loud.wav")[0], [1, -1], atol=1e-4)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "kept.wav"
    path.write_bytes(b"old")
    monkeypatch.setattr(soundfile, "write", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_audio(str(path), Audio(TONE, RATE))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_places(tmp_path):
    with pytest.raises(InputError, match=r"does not exist\. Make it first"):
        save_audio(str(tmp_path / "none" / "a.wav"), Audio(TONE, RATE))
    with pytest.raises(InputError, match=r"expected a suffix such as \.wav"):
        save_audio(str(tmp_path / "a.xyz"), Audio(TONE, RATE))


def test_array_to_standard_output(capsysbinary):
    save_array("-", np.arange(3))
    np.testing.assert_array_equal(np.load(io.BytesIO(capsysbinary.readouterr().out)), np.arange(3))
