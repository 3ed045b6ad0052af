"""Every golden array through the exported graphs and the runtime."""

import numpy as np
import pytest

from m8d.runtime import Pipeline
from m8d.runtime.audio import Audio

TOLERANCE = 1e-4  # of the largest magnitude
AGREEMENT = 0.99  # of codes: random weights leave near-ties


def assert_close(received, expected):
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= TOLERANCE * np.abs(expected).max()


def assert_codes(received, expected):
    assert received.shape == expected.shape
    assert (received == expected).mean() >= AGREEMENT


@pytest.fixture(params=["source", "reference"])
def utterance(request, goldens):
    prefix = f"{request.param}."
    return {key.removeprefix(prefix): value for key, value in goldens.items() if key.startswith(prefix)}


def test_front_end(tiny_pipeline, utterance):
    pcm = utterance["wav_16k"]
    out = tiny_pipeline.sessions.run("front_end", {"pcm": pcm[None], "lengths": np.array([len(pcm)])})
    assert_close(out["input_features"], utterance["input_features"])
    np.testing.assert_array_equal(out["attention_mask"], utterance["attention_mask"])


def test_encoding(tiny_pipeline, utterance):
    encoding = tiny_pipeline.encode(utterance["wav_16k"], 16000, with_features=True)
    assert_close(encoding.features[None], utterance["features"])
    assert_close(encoding.latents[None], utterance["latents"])
    assert_codes(tiny_pipeline.encoder.semantic_codes(encoding.latents)[None], utterance["semantic_codes"])


def test_resampling_is_the_reference_one(utterance):
    received = Audio(utterance["wav_24k"], 24000).resampled(16000)
    assert_close(received, utterance["wav_16k"])


def test_euclidean_codes_of_the_wrapper(tiny_pipeline, goldens):
    latents = goldens["source.latents"][0]
    cosine, euclidean = (tiny_pipeline.encoder.semantic_codes(latents, m) for m in ("cosine", "euclidean"))
    assert_codes(euclidean[None], goldens["source.semantic_codes_euclidean"])
    assert (cosine != euclidean).any()


def test_acoustic_encoder(tiny_pipeline, utterance):
    pcm = utterance["wav_24k"]
    out = tiny_pipeline.sessions.run("acoustic_encoder", {"pcm": pcm[None], "lengths": np.array([len(pcm)])})
    assert_close(out["acoustic_embedding"].transpose(0, 2, 1), utterance["encoder_out"])
    assert_codes(out["acoustic_codes"], utterance["acoustic_codes"])


def test_vocoder(tiny_pipeline, goldens):
    assert_close(tiny_pipeline.decoder.vocode(goldens["vocoder.codes"][0]).samples, goldens["vocoder.wav_24k"])


@pytest.mark.parametrize(("name", "layer"), [("s2a_1layer", 0), ("s2a_full", 3)])
def test_estimator(tiny_pipeline, tiny_checkpoint, goldens, name, layer):
    """Goldens start from an embedding: give it as the condition of rows that hold no code."""
    import torch

    model = tiny_checkpoint.load(name)
    golden = {k.rsplit(".", 1)[1]: v for k, v in goldens.items() if k.startswith(f"{name}.estimator.")}
    condition = model.diff_estimator.cond_mlp(torch.from_numpy(golden["cond"])).numpy()
    rows = np.arange(golden["x"].shape[1])[None]
    run = tiny_pipeline.sessions.run
    codes = np.zeros((1, rows.size), np.int64)
    scales = run(f"{name}_condition", {"semantic_codes": codes, "layer": np.array([layer]), "t": golden["t"]})["scales"]
    hidden = run(
        f"{name}_backbone",
        {
            "codes": np.full((1, rows.size, model.num_layers), model.num_codes + 1),
            "condition": golden["x"] + condition,
            "scales": scales,
            "positions": rows,
            "segments": np.zeros_like(rows),
            "rows": rows,
        },
    )["hidden"]
    assert_close(hidden, golden["hidden"])
    assert_close(run(f"{name}_head", {"hidden": hidden, "layer": np.array([layer])})["logits"], golden["logits"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("reconstruct", {}),
        ("convert", {}),
        ("convert_guided", {"coarse_steps": 10, "fine_steps": (4, *[1] * 10), "coarse_guidance": 2.5}),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_whole_decodings(tiny_bundle, goldens, name, changes, threads):
    pipeline = Pipeline.load(tiny_bundle.folder, provider="cpu", threads=threads)
    source, reference = ((goldens[f"{who}.wav_24k"], 24000) for who in ("source", "reference"))
    options = pipeline.sampling(seed=7, **changes)
    if name == "reconstruct":
        result = pipeline.reconstruct(*source, options)
    else:
        result = pipeline.convert(source, reference, options)
    assert_codes(result.acoustic_codes[None], goldens[f"{name}.acoustic_codes"])
    assert_codes(result.acoustic_codes[None, :, :1], goldens[f"{name}.coarse_codes"])
    assert_close(result.audio.samples, goldens[f"{name}.wav_24k"])
