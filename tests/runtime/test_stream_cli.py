"""`m8d-run stream` as a user types it, in a pipe."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from m8d.benchmarks import speech
from m8d.engines.errors import InputError
from m8d.runtime.wav_stream import read_wav_rate, wav_header

QUICK = ("--layer-steps", "3,2,1", "--block", "0.6", "--look-ahead", "0.2", "--context", "0.4")


def stream(data, *arguments):
    command = [sys.executable, "-m", "m8d.runtime.cli", "stream", "--provider", "cpu", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=False)


@pytest.fixture(scope="module")
def pcm():
    return (speech.source(1.6).resampled(16000) * 2**15).astype("<i2")


@pytest.fixture
def reference(tmp_path):
    audio = speech.reference(0.8)
    soundfile.write(tmp_path / "reference.wav", audio.samples, audio.sample_rate)
    return str(tmp_path / "reference.wav")


def test_raw_and_wav_give_the_same_sound(pcm, reference):
    raw = stream(pcm.tobytes(), *QUICK, "--rate", "16000", "--raw", "--reference", reference)
    assert raw.returncode == 0, raw.stderr
    assert b"algorithmic delay 0.90 s" in raw.stderr
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, 16000, format="WAV", subtype="PCM_16")
    wav = stream(buffer.getvalue(), *QUICK, "--reference", reference, "--quiet")
    assert wav.stderr == b""
    assert wav.stdout == wav_header(24000) + raw.stdout
    sound = np.frombuffer(raw.stdout, "<i2")
    assert len(sound) == 79 * 480
    assert sound.std() > 10


def test_bad_input_is_one_line_and_status_2(pcm, reference):
    stereo = io.BytesIO()
    soundfile.write(stereo, np.zeros((100, 2)), 16000, format="WAV", subtype="PCM_16")
    for data, arguments, message in (
        (stereo.getvalue(), (), b"not 16-bit mono PCM"),
        (b"RIFF", (), b"cut short"),
        (b"", ("--block", "0.01"), b"Stream option block"),
        (b"", ("--json",), b"Drop --json"),
    ):
        done = stream(data, "--reference", reference, "--quiet", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert b"Traceback" not in done.stderr


def test_header_of_a_file_is_read():
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(10), 44100, format="WAV", subtype="PCM_16")
    buffer.seek(0)
    assert read_wav_rate(buffer, 1) == (b"", 44100)
    assert buffer.read() == bytes(20)


def test_own_header_is_read():
    header = wav_header(24000)
    assert read_wav_rate(io.BytesIO(header), 1) == (b"", 24000)
    assert struct.unpack("<I", header[-4:])[0] == 0xFFFFFFFF


def test_raw_input_keeps_its_first_bytes():
    assert read_wav_rate(io.BytesIO(b"abcdef"), 8000) == (b"abcd", 8000)
    with pytest.raises(InputError, match="cut short"):
        read_wav_rate(io.BytesIO(b"RIFF1234WAVEfmt "), 1)
