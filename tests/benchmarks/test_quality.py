"""Do the judges tell speech from noise, one voice from another, words from other words?"""

import json

import numpy as np
import pytest
import soundfile

from m8d.benchmarks import speech
from m8d.benchmarks.judges import Judges, word_error_rate
from m8d.benchmarks.quality import mel_distance, quality, read_clips
from m8d.engines.builtin import builtin_bundle
from m8d.engines.errors import InputError

SOURCE_TEXT = "The boy was there when the sun rose."


@pytest.fixture(scope="module")
def judges():
    return Judges()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An evaluation set of the demo's two clips, in the corpus maker's layout."""
    root = tmp_path_factory.mktemp("speech")
    (root / "wav").mkdir()
    lines = []
    clips = {"a": ("source.flac", SOURCE_TEXT), "b": ("reference.flac", speech.REFERENCE_TEXT)}
    for name, (file, text) in clips.items():
        audio = speech.clip(file)
        soundfile.write(root / "wav" / f"{name}.wav", audio.samples, audio.sample_rate)
        lines.append(json.dumps({"id": name, "split": "unseen", "speaker": name, "text": text}))
    (root / "index.jsonl").write_text("\n".join(lines) + "\n")
    return root


def test_controls_are_told_apart(judges, folder):
    rows = quality([builtin_bundle()], folder, "unseen", 2, ("turbo",), judges).tables["Systems"]
    originals, shuffled, noise, *made = rows
    assert originals["WER"] + 0.2 < shuffled["WER"]
    assert originals["DNSMOS"] > noise["DNSMOS"] + 0.5
    assert originals["STOI"] > 0.99 > noise["STOI"] + 0.5
    assert originals["similarity to source"] > 0.99 > noise["similarity to source"]
    assert originals["closer to reference"] < 0 < shuffled["closer to reference"]
    assert noise["mel distance"] > originals["mel distance"] == 0
    by_name = {row["system"].removeprefix(f"{builtin_bundle().manifest.name}: "): row for row in made}
    assert list(by_name) == ["codec alone", "reconstruct", "convert, turbo", "tts"]
    assert by_name["codec alone"]["STOI"] > 0.8
    assert max(by_name[name]["WER"] for name in ("codec alone", "convert, turbo")) < shuffled["WER"]
    assert by_name["convert, turbo"]["closer to reference"] > originals["closer to reference"] + 0.2


def test_words_count_over_all_sentences():
    assert word_error_rate(["One two, three.", "Four!"], ["one two three", "five"]) == pytest.approx(0.25)


def test_mel_distance_grows_with_the_difference():
    pcm = speech.source(1.0).resampled(16000)
    assert mel_distance(pcm, pcm) == 0
    assert mel_distance(pcm, 0.5 * pcm) < mel_distance(pcm, np.roll(pcm, 4000))


def test_speakers_take_turns(folder):
    assert [clip.speaker for clip in read_clips(folder, "unseen", 2)] == ["a", "b"]


@pytest.mark.parametrize(("split", "message"), [("seen", "has 0 speakers"), ("unseen", "holds no index.jsonl")])
def test_unusable_folder_is_refused(folder, tmp_path, split, message):
    with pytest.raises(InputError, match=message):
        read_clips(folder if split == "seen" else tmp_path, split, 2)
