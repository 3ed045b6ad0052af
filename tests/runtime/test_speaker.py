"""Pieces, lengths and joins of speech; the sounds themselves are the goldens' matter."""

import dataclasses

import numpy as np
import pytest

from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import PHONES_FILE, Bundle
from m8d.engines.errors import BundleError, InputError
from m8d.runtime import Pipeline, SpeakingOptions
from m8d.runtime.audio import Audio
from m8d.runtime.decoder import Voice
from m8d.runtime.speaker import MAX_PIECE_FRAMES, Prompt, join, total_steps

LAYERS = builtin_bundle().manifest.model.num_quantizers
ONES = (1,) * (LAYERS - 2)

TEXT = "The first sentence is here. The second one, somewhat longer, follows it."


@pytest.fixture(scope="module")
def speaker(builtin_pipeline):
    return builtin_pipeline.speaker


def prompt_of(speaker, frames):
    voice = Voice(np.arange(frames) % 100, np.zeros((frames, LAYERS), np.int64))
    return Prompt(voice, speaker.phone_ids("Say it as I do.", "en"))


def test_length_follows_the_prompts_pace(speaker):
    text_phones = len(speaker.phone_ids("A test.", "en"))
    prompt = prompt_of(speaker, 60)
    (piece,) = speaker.script("A test, a test, a test.", prompt, SpeakingOptions())
    assert piece.frames == int(len(piece.phone_ids) * 60 / len(prompt.phone_ids))
    assert len(piece.phone_ids) > 2 * text_phones


@pytest.mark.parametrize(("frames", "pace"), [(1, 2.0), (4000, 8.0)])
def test_pace_has_bounds(speaker, frames, pace):
    prompt = prompt_of(speaker, frames)
    assert prompt.pace == pace != prompt.measured_pace


def test_speed_divides_the_length(speaker):
    prompt = prompt_of(speaker, 60)
    (usual,) = speaker.script(TEXT, prompt, SpeakingOptions())
    (fast,) = speaker.script(TEXT, prompt, SpeakingOptions(speed=2))
    assert fast.frames == pytest.approx(usual.frames / 2, abs=1)


def test_long_text_is_spoken_in_pieces_at_one_pace(speaker):
    prompt = prompt_of(speaker, 60)
    script = speaker.script(TEXT * 40, prompt, SpeakingOptions())
    assert len(script) > 5
    assert all(piece.frames <= MAX_PIECE_FRAMES for piece in script)
    paces = [piece.frames / len(piece.phone_ids) for piece in script]
    assert max(paces) - min(paces) < 0.05


def test_duration_is_shared_out_with_the_pauses(speaker):
    options = SpeakingOptions(duration=40.0, pause=0.5)
    script = speaker.script(TEXT * 8, prompt_of(speaker, 60), options)
    assert len(script) > 1
    assert sum(piece.frames for piece in script) / 50 + 0.5 * (len(script) - 1) == pytest.approx(40.0, abs=0.02)


@pytest.mark.parametrize("duration", [0.1, 5000.0])
def test_impossible_durations_name_the_possible_ones(speaker, duration):
    with pytest.raises(InputError, match=r"expected \d+\.\d\d to \d+\.\d\d s"):
        speaker.script(TEXT * 4, prompt_of(speaker, 60), SpeakingOptions(duration=duration))


def test_pieces_without_words_are_left_out(speaker):
    script = speaker.script("...\n\nA word.\n\n🎉", prompt_of(speaker, 60), SpeakingOptions())
    assert [piece.phone_ids.tolist() for piece in script] == [speaker.phone_ids("A word.", "en").tolist()]
    with pytest.raises(InputError, match="Nothing to say in the text '🎉 …'"):
        speaker.script("🎉 …", prompt_of(speaker, 60), SpeakingOptions())


def test_a_prompt_that_leaves_no_room_is_refused(speaker):
    prompt = prompt_of(speaker, 4090)
    with pytest.raises(InputError, match="expected at most 4096"):
        speaker.semantic_codes(prompt.phone_ids, prompt, 10, SpeakingOptions(steps=1), 0, lambda done: None)


def test_all_of_a_long_voice_is_used(builtin_pipeline):
    """A target shorter than the voice: conversion cuts the voice, text to speech does not."""
    voice = Voice(np.arange(60) % 100, np.arange(60 * LAYERS).reshape(60, LAYERS) % 48)
    codes = np.arange(20)
    sampling = builtin_pipeline.speech_sampling(coarse_steps=1, fine_steps=(1, *ONES))

    def acoustic(voice):
        return builtin_pipeline.decoder.acoustic_codes(codes, voice, sampling, lambda done: None)

    assert (acoustic(voice) != acoustic(voice.cut(20))).any()


def test_speak_joins_the_pieces(builtin_pipeline, goldens):
    options = SpeakingOptions(steps=2, pause=0.1)
    sampling = builtin_pipeline.speech_sampling(coarse_steps=1, fine_steps=(1, *ONES))
    reference = (goldens["reference.wav_24k"].ravel(), 24000)
    steps = []
    speech = builtin_pipeline.speak(TEXT * 3, reference, "Hello world.", options, sampling, steps.append)
    assert len(speech.pieces) > 1
    frames = [piece.frames for piece in speech.pieces]
    assert [len(codes) for codes in speech.semantic_codes] == frames
    assert len(speech.audio.samples) == 480 * sum(frames) + 2400 * (len(frames) - 1)
    assert sum(steps) == total_steps(speech.pieces, options, sampling)
    again = builtin_pipeline.speak(TEXT * 3, reference, "Hello world.", options, sampling)
    np.testing.assert_array_equal(again.audio.samples, speech.audio.samples)


def test_joins_do_not_click():
    joined = join([Audio(np.ones(4800, np.float32), 24000)] * 2, 0.1)
    assert len(joined.samples) == 2 * 4800 + 2400
    assert joined.samples[0] == joined.samples[-1] == 0
    assert np.abs(np.diff(joined.samples)).max() < 0.01
    assert join([Audio(np.ones(3, np.float32), 24000)], 0.1).samples.shape == (3,)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"speed": 0}, "speed: received 0, expected 0.1 to 10"), ({"steps": 0}, "steps"), ({"duration": -1}, "duration"),
     ({"duration": 1, "speed": 2}, "no speed where there is a duration"), ({"pause": float("nan")}, "pause")],
)  # fmt: skip
def test_options_are_checked(option, message):
    with pytest.raises(InputError, match=message):
        SpeakingOptions(**option)


def test_bundles_that_cannot_speak_say_why(builtin_pipeline):
    bundle = builtin_pipeline.bundle
    manifest = bundle.manifest
    silent = dataclasses.replace(manifest, files={k: v for k, v in manifest.files.items() if k != PHONES_FILE})
    with pytest.raises(BundleError, match="no phone vocabulary"):
        Pipeline(Bundle(bundle.folder, silent)).speaker  # noqa: B018
    small = dataclasses.replace(manifest, stages={k: v for k, v in manifest.stages.items() if "t2s" not in k})
    with pytest.raises(BundleError, match="no text to speech"):
        Pipeline(Bundle(bundle.folder, small)).speaker  # noqa: B018
