"""`Pipeline` and the drop-in classes: shapes, meaning, and the mended prompt."""

import numpy as np
import pytest
import soundfile

from m8d.engines.builtin import builtin_bundle
from m8d.runtime import InputError, Metis8dDecoder, Metis8dEncoder, Voice

LAYERS = builtin_bundle().manifest.model.num_quantizers
ONES = (1,) * (LAYERS - 2)


def noise(frames, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(frames * 480 + 500)).astype(np.float32)


@pytest.fixture
def quick(builtin_pipeline):
    return builtin_pipeline.sampling(coarse_steps=3, fine_steps=(2, *ONES))


def test_prompt_is_cut_to_the_shorter_codes(tiny_pipeline, goldens):
    """44 semantic and 45 acoustic frames: the reference wrapper pairs them wrongly by one."""
    voice = tiny_pipeline.encode_prompt(goldens["reference.wav_24k"], 24000)
    assert len(voice.semantic_codes) == len(voice.acoustic_codes) == 44


def test_prompt_is_no_longer_than_target_or_limit(builtin_pipeline, quick, monkeypatch):
    seen = []
    original = builtin_pipeline.sessions.run

    def spy(stage, feeds, outputs=None):
        if stage == "s2a_1layer_condition":
            seen.append(feeds["semantic_codes"].shape[1])
        return original(stage, feeds, outputs)

    monkeypatch.setattr(builtin_pipeline.sessions, "run", spy)
    voice = Voice(np.zeros(300, np.int64), np.zeros((300, LAYERS), np.int64))
    for frames in (20, 150):
        builtin_pipeline.decode(np.ones((frames, 8)), voice, quick)
    assert seen == [20 + 20, 150 + 100]


def test_the_voice_changes_the_sound(builtin_pipeline, quick):
    latents = builtin_pipeline.encode(noise(30), 24000).latents
    voices = [builtin_pipeline.encode_prompt(noise(30, seed), 24000) for seed in (1, 2)]
    first, second = (builtin_pipeline.decode(latents, voice, quick).acoustic_codes for voice in voices)
    assert (first != second).any()


def test_too_long_together_is_refused(builtin_pipeline):
    """By the decoder; the pipeline cuts what is long into blocks before."""
    codes = np.zeros(5000, np.int64)
    with pytest.raises(InputError, match=r"received 5000 frames, expected at most 4096 \(81 s\)"):
        builtin_pipeline.decoder.decode(codes, None, builtin_pipeline.sampling(), lambda steps: None)


def test_interpolation_is_linear(builtin_pipeline):
    a, b = np.zeros((4, 8), np.float32), np.ones((6, 8), np.float32)
    points = list(builtin_pipeline.interpolate(a, b, 3))
    assert [share for share, _ in points] == [0, 0.5, 1]
    np.testing.assert_array_equal(points[1][1], np.full((4, 8), 0.5, np.float32))
    with pytest.raises(InputError, match="received 1, expected at least 2"):
        list(builtin_pipeline.interpolate(a, b, 1))


def test_sampling_needs_a_number_per_layer(builtin_pipeline):
    with pytest.raises(InputError, match=f"fine_steps: received {LAYERS} numbers, expected {LAYERS - 1}"):
        builtin_pipeline.decode(np.zeros((3, 8)), None, builtin_pipeline.sampling(fine_steps=(1, 1, *ONES)))


def test_drop_in_classes_have_the_wrapper_shapes(builtin_pipeline, tmp_path):
    path = str(tmp_path / "voice.wav")
    soundfile.write(path, noise(40), 24000)
    encoder = Metis8dEncoder(builtin_pipeline)
    features, latents = encoder.encode_from_path(path)
    time = latents.shape[1]
    assert features.shape == (1, time, builtin_pipeline.bundle.manifest.model.feature_dim)
    assert latents.shape == (1, time, 8)
    semantic, acoustic = encoder.encode_prompt_from_path(path)
    assert semantic.shape == (1, time)
    assert acoustic.shape[::2] == (1, LAYERS)
    np.testing.assert_array_equal(acoustic, encoder.encode_acoustic_from_path(path))
    np.testing.assert_array_equal(semantic, encoder.encode_semantic_code_from_path(path))
    full = encoder.encode_full_from_path(path)
    np.testing.assert_array_equal(full[2], acoustic)
    options = builtin_pipeline.sampling(coarse_steps=2, fine_steps=(1, *ONES))
    decoder = Metis8dDecoder(builtin_pipeline, options)
    for arguments in ((), (acoustic,), (acoustic, semantic), (acoustic[0], semantic[0])):
        assert decoder.decode_from_z(latents, *arguments).shape == (time * 480,)


def test_prompt_codes_must_be_integers(builtin_pipeline):
    decoder = Metis8dDecoder(builtin_pipeline)
    with pytest.raises(InputError, match=r"received float64 \(3, 5\), expected integers of 2 axes"):
        decoder.decode_from_z(np.zeros((3, 8)), np.zeros((3, 5)))


def test_encoding_ignores_what_is_not_asked(builtin_pipeline):
    assert builtin_pipeline.encode(noise(20), 24000).features is None


def test_stages_open_when_needed(builtin_pipeline):
    from m8d.runtime import Pipeline

    pipeline = Pipeline(builtin_pipeline.bundle)
    pipeline.encode(noise(20), 24000)
    assert set(pipeline.sessions.seconds) == {"front_end", "w2v_bert", "semantic_encoder"}
