"""Real recordings are gathered from packages into a folder that the quality benchmark reads."""

import gzip

import numpy as np
import pytest
import soundfile
from G722 import G722

from m8d.benchmarks import recordings
from m8d.benchmarks.quality import read_clips
from m8d.engines.errors import InputError

TEXTS = """; a comment
beep: [this is a simple beep tone]
short: Thank you.
one: Please enter your number followed by the pound key.
other/one: Please enter your number followed by the pound key.
lost: This one is written down but nobody recorded it.
digits/two: At the sound of the tone, the time will be exactly...
"""


@pytest.fixture
def root(tmp_path):
    for path in (recordings.PROMPTS, recordings.LIBRIVOX, recordings.PROMPT_TEXTS.parent):
        (tmp_path / path).mkdir(parents=True)
    tone = np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
    (tmp_path / recordings.PROMPT_TEXTS).write_bytes(gzip.compress(TEXTS.encode()))
    for name in ("beep", "short", "one", "other/one", "digits/two"):
        encoded = G722(16000, 64000).encode((8000 * tone).astype(np.int16))
        path = tmp_path / recordings.PROMPTS / f"{name}.g722"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded)
    soundfile.write(tmp_path / recordings.LIBRIVOX / "sense-1.wav", 0.1 * tone, 16000)
    (tmp_path / recordings.LIBRIVOX / "transcription").write_text("<s> he was not ill disposed </s> (sense-1)\n")
    return tmp_path


def test_plain_sentences_that_were_recorded_are_kept_once(root, tmp_path):
    folder = tmp_path / "real"
    assert recordings.make_recordings(folder, root) == 3
    clips = read_clips(folder, "real", 10)
    assert [clip.speaker for clip in clips] == ["asterisk", "librivox", "asterisk"]
    assert [clip.text.split()[0] for clip in clips] == ["Please", "He", "At"]
    for clip in clips:
        assert np.sqrt(np.mean(clip.audio.samples**2)) == pytest.approx(0.06, rel=0.02)
        peak = np.abs(np.fft.rfft(clip.audio.samples)).argmax() * clip.audio.sample_rate / len(clip.audio.samples)
        assert peak == pytest.approx(440, abs=3)


def test_missing_packages_and_folders_in_the_way_are_refused(root, tmp_path):
    with pytest.raises(InputError, match="install the Debian packages"):
        recordings.make_recordings(tmp_path / "new", tmp_path / "elsewhere")
    with pytest.raises(InputError, match="exists already"):
        recordings.make_recordings(root)
    assert not (tmp_path / "new").exists()
