"""The C interface: the Python runtime's numbers, and one clear error for everything that cannot be."""

import ctypes as c
import json
import shutil
import threading

import numpy as np
import pytest

from m8d.benchmarks import speech
from m8d.runtime.audio import Audio

from .conftest import FLOATS, LAYERS, Info, OpenOptions, Progress, Sampling, StatusError

INVALID, BAD_BUNDLE, BAD_PROVIDER, CANCELLED, OUT_OF_MEMORY = 1, 2, 3, 4, 5
SOURCE, REFERENCE = speech.source(1.1), speech.reference(0.9)


@pytest.fixture(scope="module")
def voice(library, pipeline):
    voice = library.voice(pipeline, REFERENCE.samples, REFERENCE.sample_rate)
    yield voice
    library.raw.m8d_voice_free(voice)


@pytest.fixture(scope="module")
def latents(library, pipeline):
    return library.encode(pipeline, SOURCE.samples, SOURCE.sample_rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100])
def test_latents_are_those_of_python(library, pipeline, builtin_pipeline, rate):
    audio = Audio(SOURCE.resampled(rate), rate)
    expected = builtin_pipeline.encode_audio(audio).latents
    found = library.encode(pipeline, audio.samples, rate)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    codes = library.semantic_codes(pipeline, found)
    np.testing.assert_array_equal(codes, builtin_pipeline.encoder.semantic_codes(expected))


@pytest.mark.parametrize("with_voice", [True, False])
@pytest.mark.parametrize(
    ("seed", "steps", "guidance"),
    [(0, (40, 16, 1), (0, 2.5)), (7, (6, 3, 2), (2.5, 2.5)), (2**64 - 1, (3, 1, 1), (0, 0)), (1, (1, 1, 1), (1, 0))],
)
def test_codes_and_audio_are_those_of_python(
    library, pipeline, voice, latents, builtin_pipeline, with_voice, seed, steps, guidance
):
    options = library.sampling(pipeline, seed=seed, coarse_steps=steps[0], second_steps=steps[1], rest_steps=steps[2],
                               coarse_guidance=guidance[0], fine_guidance=guidance[1])  # fmt: skip
    audio, codes = library.decode(pipeline, latents, voice if with_voice else None, options)
    sampling = builtin_pipeline.sampling(
        seed=seed, coarse_steps=steps[0], fine_steps=(steps[1], *[steps[2]] * (LAYERS - 2)),
        coarse_guidance=guidance[0], fine_guidance=guidance[1],
    )  # fmt: skip
    expected = builtin_pipeline.decode(latents, builtin_pipeline.voice(REFERENCE) if with_voice else None, sampling)
    np.testing.assert_array_equal(codes, expected.acoustic_codes)
    np.testing.assert_allclose(audio, expected.audio.samples, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("reconstruct", {}),
        ("convert", {}),
        ("convert_guided", {"coarse_steps": 10, "second_steps": 4, "coarse_guidance": 2.5}),
    ],
)
def test_goldens_of_the_reference(library, tiny_bundle, goldens, name, changes):
    """What the reference code made of the toy checkpoint, code for code."""
    pipeline = library.open(tiny_bundle.folder, threads=1)
    latents = library.encode(pipeline, goldens["source.wav_24k"], 24000)
    np.testing.assert_allclose(latents, goldens["source.latents"][0], atol=1e-4)
    voice = None if name == "reconstruct" else library.voice(pipeline, goldens["reference.wav_24k"], 24000)
    options = library.sampling(pipeline, seed=7, **changes)
    audio, codes = library.decode(pipeline, latents, voice, options, quantizers=12)
    np.testing.assert_array_equal(codes, goldens[f"{name}.acoustic_codes"][0])
    np.testing.assert_allclose(audio, goldens[f"{name}.wav_24k"], atol=1e-4)
    library.raw.m8d_voice_free(voice)
    library.raw.m8d_close(pipeline)


def test_one_call_converts(library, pipeline, voice, latents):
    options = library.sampling(pipeline, coarse_steps=3, second_steps=2)
    audio, count = FLOATS(), c.c_size_t()
    samples, size, rate = SOURCE.samples.ctypes.data_as(FLOATS), len(SOURCE.samples), SOURCE.sample_rate
    library.convert(pipeline, samples, c.c_size_t(size), c.c_int32(rate), voice, c.byref(options), Progress(), None,
                    c.byref(audio), c.byref(count))  # fmt: skip
    np.testing.assert_array_equal(
        library.taken(audio, (count.value,)), library.decode(pipeline, latents, voice, options)[0]
    )


def test_info_and_version(library, pipeline):
    info = Info()
    library.get_info(pipeline, c.byref(info), c.c_size_t(c.sizeof(info)))
    assert (info.rate, info.frame_rate, info.latent_dim, info.quantizers) == (24000, 50, 8, LAYERS)
    assert library.raw.m8d_version().decode().count(".") == 2


def test_progress_counts_to_its_total_and_cancels(library, pipeline, latents):
    seen = []

    def watch(user, done, total):
        seen.append((done, total))
        return 0

    options = library.sampling(pipeline, coarse_steps=4, second_steps=2)
    library.decode(pipeline, latents, None, options, Progress(watch))
    assert seen[-1] == (4 + 2 + LAYERS - 2,) * 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    with pytest.raises(StatusError, match="Cancelled") as failure:
        library.decode(pipeline, latents, None, options, Progress(lambda user, done, total: done >= 2))
    assert failure.value.status == CANCELLED


def test_threads_share_a_pipeline_and_keep_their_errors(library, bundle, latents):
    pipeline = library.open(bundle, threads=1)  # a new one: stages open while others run
    options = library.sampling(pipeline, coarse_steps=3, second_steps=2)
    expected = library.decode(pipeline, latents, None, options)[1]
    results, errors = {}, {}

    def work(number):
        results[number] = library.decode(pipeline, latents, None, options)[1]
        try:
            library.encode(pipeline, np.zeros(100 + number), 16000)
        except StatusError as failure:
            errors[number] = failure.text

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_array_equal(results[number], expected)
        assert f"received {(100 + number) / 16:g} ms" in errors[number]
    library.raw.m8d_close(pipeline)


@pytest.mark.parametrize(
    ("samples", "rate", "count", "message"),
    [
        (None, 16000, 5, "received NULL"),
        ([], 16000, None, "is empty"),
        ([0.0] * 100, 16000, None, "too short: received 6.25 ms"),
        ([np.nan] * 9000, 16000, None, "9000 samples that are NaN or infinite"),
        ([np.inf] * 9000, 16000, None, "NaN or infinite"),
        ([0.0] * 9000, 0, None, "sample rate of 0"),
        ([0.0] * 9000, -5, None, "sample rate of -5"),
        ([0.0] * 9000, 10**6, None, "expected 1 to 768000 Hz"),
        ([0.0] * 10, 16000, 2**63, "expected at most"),
    ],
)
def test_bad_audio(library, pipeline, samples, rate, count, message):
    with pytest.raises(StatusError, match=message) as failure:
        library.encode(pipeline, samples, rate, count)
    assert failure.value.status == INVALID


@pytest.mark.parametrize(
    ("name", "value"),
    [("coarse_steps", 0), ("second_steps", -1), ("rest_steps", 10**6), ("coarse_guidance", -1.0), ("rescale", 2.0),
     ("fine_guidance", np.nan), ("temperature", 0.0), ("top_k_ratio", 1.5), ("prompt_seconds", np.inf)],
)  # fmt: skip
def test_bad_sampling(library, pipeline, latents, name, value):
    with pytest.raises(StatusError, match=f"Sampling option {name}: received"):
        library.decode(pipeline, latents, None, library.sampling(pipeline, **{name: value}))


def test_bad_latents(library, pipeline, latents):
    for bad, message in (
        (np.full((3, 8), np.nan), "NaN"),
        (np.zeros((0, 8)), "received 0 frames"),
        (np.zeros((4097, 8)), "expected 1 to 4096"),
    ):
        with pytest.raises(StatusError, match=message):
            library.decode(pipeline, bad)


def test_wrong_struct_sizes(library, pipeline, latents, bundle):
    for call in (
        lambda: library.open_options_init(c.byref(OpenOptions()), c.c_size_t(8)),
        lambda: library.sampling_init(pipeline, c.byref(Sampling()), c.c_size_t(1000)),
        lambda: library.get_info(pipeline, c.byref(Info()), c.c_size_t(0)),
        lambda: library.open(bundle, size=3),
        lambda: library.decode(pipeline, latents, None, library.sampling(pipeline, size=2**40)),
    ):
        with pytest.raises(StatusError, match="received a struct of"):
            call()


def test_null_pointers(library, pipeline):
    size = c.c_size_t
    for call in (
        lambda: library.__getattr__("open")(None, None, None),
        lambda: library.__getattr__("open")(b"x", None, None),
        lambda: library.sampling_init(None, None, size(0)),
        lambda: library.sampling_init(pipeline, None, size(c.sizeof(Sampling))),
        lambda: library.voice_create(pipeline, None, size(4), c.c_int32(16000), None),
        lambda: library.__getattr__("decode")(pipeline, None, size(1), None, None, Progress(), None, None, None, None),
        lambda: library.__getattr__("encode")(None, None, size(1), c.c_int32(1), None, None),
        lambda: library.convert(pipeline, None, size(1), c.c_int32(16000), None, None, Progress(), None, None, None),
    ):
        with pytest.raises(StatusError, match="received NULL") as failure:
            call()
        assert failure.value.status == INVALID
    library.raw.m8d_close(None)
    library.raw.m8d_voice_free(None)
    library.raw.m8d_free(None)


def test_voice_of_another_bundle(library, tiny_bundle, latents, pipeline):
    other = library.open(tiny_bundle.folder, threads=1)
    voice = library.voice(other, REFERENCE.samples, REFERENCE.sample_rate)
    with pytest.raises(StatusError, match="another bundle"):
        library.decode(pipeline, latents, voice)
    library.raw.m8d_voice_free(voice)
    library.raw.m8d_close(other)


def damaged(change):
    def apply(folder):
        path = folder / "m8d.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return apply


def traverse(manifest):
    manifest["files"]["../m8d.json"] = {"sha256": "", "bytes": 1}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "No bundle at"),
        (lambda folder: (folder / "m8d.json").write_text("{"), "is not a manifest"),
        (lambda folder: (folder / "guidance.onnx").unlink(), "is missing"),
        (lambda folder: (folder / "guidance.onnx").write_bytes(b"x"), "has 1 bytes, expected"),
        (lambda folder: flip(folder / "guidance.onnx"), "is damaged: its sha256"),
        (damaged(lambda m: m.update(format_version=99)), "version 99, expected"),
        (damaged(lambda m: m["stages"].pop("guidance")), "has no stage guidance"),
        (damaged(lambda m: m["model"].update(hop_size=0)), "hop_size is 0"),
        (damaged(lambda m: m["sampling"].update(fine_steps=[1])), "fine_steps has 1 numbers"),
        (damaged(lambda m: m.pop("model")), "is not a manifest"),
        (damaged(traverse), "points outside the bundle"),
    ],
)
def test_bad_bundle(library, bundle, tmp_path, damage, message):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    damage(folder)
    with pytest.raises(StatusError, match=message) as failure:
        library.open(folder)
    assert failure.value.status == BAD_BUNDLE


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_provider_is_had_or_refused(library, bundle):
    with pytest.raises(StatusError, match=r'Provider "cuda" was asked for') as failure:
        library.open(bundle, provider=b"cuda")
    assert failure.value.status == BAD_PROVIDER
    with pytest.raises(StatusError, match="threads: received -1"):
        library.open(bundle, threads=-1)
