"""Blocks against the whole: same numbers where they must be, no seams where they may differ."""

import dataclasses

import numpy as np
import pytest

from m8d.benchmarks import speech
from m8d.engines.errors import InputError
from m8d.runtime.audio import Audio
from m8d.runtime.long_audio import acoustic_codes_long, encode_long, in_blocks, speak_long
from m8d.runtime.streaming import LatentStream, SpeechStream, StreamOptions

SMALL = StreamOptions(block=0.6, look_ahead=0.2, context=0.4, hold=0.2)
CUT = StreamOptions(block=0.6, look_ahead=0.2, context=0.4, hold=0.2, cut_within=0.3)


def quick(pipeline, **changes):
    layers = pipeline.bundle.manifest.model.num_quantizers
    return pipeline.sampling(coarse_steps=3, fine_steps=(2, *[1] * (layers - 2)), **changes)


@pytest.fixture(scope="module")
def audio():
    return Audio(speech.source(2.3).resampled(16000), 16000)


@pytest.fixture(scope="module")
def voice(builtin_pipeline):
    return builtin_pipeline.voice(speech.reference(0.8))


def silent(steps):
    pass


def test_batch_gives_each_what_it_gets_alone(builtin_pipeline):
    encoder = builtin_pipeline.encoder
    audios = [Audio(speech.source(s).resampled(16000), 16000) for s in (0.04, 0.5, 0.51, 1.7, 1.013)]
    for together, audio in zip(encoder.encode_batch(audios, with_features=True), audios, strict=True):
        alone = encoder.encode(audio, with_features=True)
        assert together.latents.shape == alone.latents.shape
        np.testing.assert_allclose(together.latents, alone.latents, atol=2e-5)
        np.testing.assert_allclose(together.features, alone.features, atol=2e-4)


def test_one_block_is_the_whole(builtin_pipeline, audio, voice):
    options = StreamOptions(block=30, look_ahead=1, context=1, hold=1)
    whole = builtin_pipeline.encode_audio(audio, with_features=True)
    blocks = encode_long(builtin_pipeline.encoder, audio, True, options)
    np.testing.assert_array_equal(blocks.latents, whole.latents)
    np.testing.assert_array_equal(blocks.features, whole.features)
    sampling = quick(builtin_pipeline)
    spoken = builtin_pipeline.decode(whole.latents, voice, sampling)
    pieces = speak_long(builtin_pipeline.encoder, builtin_pipeline.decoder, [whole.latents], voice, sampling, silent,
                        options)  # fmt: skip
    np.testing.assert_array_equal(pieces.acoustic_codes, spoken.acoustic_codes)
    np.testing.assert_allclose(pieces.audio.samples, spoken.audio.samples, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.3, 0.8, 0.801, 1.4, 2.015])
@pytest.mark.parametrize("options", [SMALL, CUT])
def test_no_frame_is_lost_or_made(builtin_pipeline, voice, seconds, options):
    audio = Audio(speech.source(seconds).resampled(16000), 16000)
    frames = len(builtin_pipeline.encode_audio(audio).latents)
    blocks = encode_long(builtin_pipeline.encoder, audio, options=options).latents
    assert len(blocks) == frames
    sound = speak_long(builtin_pipeline.encoder, builtin_pipeline.decoder, in_blocks(blocks, 50, options), voice,
                       quick(builtin_pipeline), silent, options)  # fmt: skip
    assert len(sound.audio.samples) == frames * 480
    assert sound.acoustic_codes.shape[0] == frames


def test_windows_are_near_the_whole(builtin_pipeline, audio):
    """Far nearer than frames are to each other; the front end normalises each window by itself."""
    whole = builtin_pipeline.encode_audio(audio).latents
    blocks = encode_long(builtin_pipeline.encoder, audio, options=SMALL).latents
    error = np.abs(blocks - whole).mean()
    shuffled = np.abs(np.random.default_rng(0).permutation(whole) - whole).mean()
    assert 0 < error < 0.5 * shuffled


def test_acoustic_codes_in_blocks_are_those_of_the_whole(builtin_pipeline):
    audio = speech.source(2.3)
    whole = builtin_pipeline.encoder.acoustic_codes(audio)
    options = dataclasses.replace(SMALL, hold=0.4)  # more than the acoustic encoder hears
    np.testing.assert_array_equal(acoustic_codes_long(builtin_pipeline.encoder, audio, options), whole)


@pytest.mark.parametrize("size", [77, 1600, 50000])
@pytest.mark.parametrize("options", [SMALL, CUT])
def test_stream_is_the_long_path_however_it_is_pushed(builtin_pipeline, audio, voice, size, options):
    sampling = quick(builtin_pipeline, seed=5)
    latents = LatentStream(builtin_pipeline.encoder, options)
    blocks = [block.latents for block in (*latents.push(audio.samples), *latents.finish())]
    expected = speak_long(builtin_pipeline.encoder, builtin_pipeline.decoder, blocks, voice, sampling, silent, options)
    stream = builtin_pipeline.stream(voice, 16000, options, sampling)
    parts = [stream.push(audio.samples[i : i + size]) for i in range(0, len(audio.samples), size)]
    sound = np.concatenate([*parts, stream.finish()])
    np.testing.assert_array_equal(sound, expected.audio.samples)
    assert sum(timing.audio for timing in stream.timings) == pytest.approx(len(sound) / 24000)


def test_stream_comes_out_within_its_delay(builtin_pipeline, voice):
    """What is out never lags further behind what went in than the delay, nor does it hear the future."""
    stream = builtin_pipeline.stream(voice, 24000, SMALL, quick(builtin_pipeline))
    heard = said = 0
    for _ in range(20):
        said += len(stream.push(np.zeros(2400, np.float32)))
        heard += 2400
        assert said <= heard
        assert heard - said <= (stream.delay + 0.1 + 0.04) * 24000  # a push and the encoder's frame edges


def test_seams_do_not_click(builtin_pipeline, audio, voice):
    """At a seam samples step no further than elsewhere, and the spectrum moves as it does there without a seam."""
    latents = builtin_pipeline.encode_audio(audio).latents
    block, hold = (round(s * 24000) for s in (SMALL.block, SMALL.hold))
    seams = [i * block - hold for i in range(1, len(latents) * 480 // block + 1)]
    with_seams, without = [], []
    for seed in range(3):
        sampling = quick(builtin_pipeline, seed=seed)
        sound = speak_long(builtin_pipeline.encoder, builtin_pipeline.decoder, in_blocks(latents, 50, SMALL), voice,
                           sampling, silent, SMALL).audio.samples  # fmt: skip
        steps = np.abs(np.diff(sound))
        assert all(steps[seam - 2 : seam + 2].max() <= 1.5 * np.quantile(steps, 0.999) for seam in seams)
        with_seams.append(spectral_moves(sound, seams))
        without.append(spectral_moves(builtin_pipeline.decode(latents, voice, sampling).audio.samples, seams))
    assert np.mean(with_seams) < 1.25 * np.mean(without)


def spectral_moves(sound, places):
    spectra = np.abs(np.fft.rfft(sound[: len(sound) // 480 * 480].reshape(-1, 480) * np.hanning(480)))
    moves = np.abs(np.diff(np.log(spectra + 1e-4), axis=0)).mean(1)
    return [moves[place // 480 - 1] for place in places]


def test_held_frames_are_decoded_as_in_the_whole(builtin_pipeline, audio):
    """With all that the decoder hears held on both sides of a seam, blocks make what it makes of all codes."""
    sampling = quick(builtin_pipeline)
    options = StreamOptions(block=0.6, look_ahead=0.2, context=0.6, hold=0.44)
    stream = SpeechStream(builtin_pipeline.encoder, builtin_pipeline.decoder, None, sampling, options, silent)
    latents = builtin_pipeline.encode_audio(audio).latents
    sound = np.concatenate([*(stream.push(part) for part in in_blocks(latents, 50, options)), stream.finish()])
    whole = builtin_pipeline.decoder.vocode(stream.take_codes()).samples
    np.testing.assert_allclose(sound, whole, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize(
    "changes",
    [{"block": 0.05}, {"look_ahead": 0.0}, {"context": -1}, {"hold": 0.0}, {"hold": 2.0}, {"cut_within": 1.0}],
)
def test_bad_options_are_refused(changes):
    with pytest.raises(InputError, match=f"Stream option {next(iter(changes))}: received"):
        StreamOptions(**{"block": 1.0, **changes})


def test_bad_input_is_refused(builtin_pipeline, voice):
    stream = builtin_pipeline.stream(voice, 16000)
    with pytest.raises(InputError, match="NaN"):
        stream.push(np.full(10, np.nan, np.float32))
    stream.finish()
    with pytest.raises(InputError, match="finished"):
        stream.push(np.zeros(10, np.float32))
    with pytest.raises(InputError, match="sample rate"):
        builtin_pipeline.stream(voice, 0)
    with pytest.raises(InputError, match="too long together"):
        builtin_pipeline.stream(voice, 16000, StreamOptions(block=80, context=20))


def test_long_recording_takes_the_block_path(builtin_pipeline, voice, monkeypatch):
    monkeypatch.setattr("m8d.runtime.pipeline.LONG_SECONDS", 1.0)
    monkeypatch.setattr("m8d.runtime.pipeline.LONG", SMALL)
    audio = speech.source(1.5)
    result = builtin_pipeline.revoice(audio, voice, quick(builtin_pipeline))
    assert len(result.audio.samples) == 480 * len(result.acoustic_codes) > 34000
    assert np.isfinite(result.audio.samples).all()
