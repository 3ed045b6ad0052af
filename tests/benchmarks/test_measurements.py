"""Every measurement on the built-in bundle: do the numbers mean what their names say?"""

import numpy as np
import pytest

from m8d.benchmarks import speech
from m8d.benchmarks.commands import m8d_run
from m8d.benchmarks.cost import profile
from m8d.benchmarks.latency import LatencyOptions, latency
from m8d.benchmarks.long import long
from m8d.benchmarks.machine import ceilings, describe
from m8d.benchmarks.memory import memory
from m8d.benchmarks.parity import parity
from m8d.benchmarks.probe import run_probe
from m8d.benchmarks.recording import Call, record_conversion
from m8d.benchmarks.scaling import fitted_exponent, scaling
from m8d.benchmarks.startup import startup
from m8d.benchmarks.throughput import throughput
from m8d.benchmarks.timing import Timing, interleaved
from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import Bundle
from m8d.engines.errors import BundleError, M8DError
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline

CPU = SessionOptions(provider="cpu")


def test_variants_take_turns():
    order = []
    timings = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert [len(timings[name].seconds) for name in "ab"] == [2, 2]


def test_timing_is_told_by_median_and_spread():
    timing = Timing((1.0, 5.0, 2.0))
    assert timing.median == 2.0
    assert timing.spread == 2.0


def test_operations_are_those_of_the_graph():
    bundle = builtin_bundle()
    spec = bundle.stage("s2a_1layer_head")
    width, codes = spec.inputs[0].shape[-1], spec.outputs[0].shape[-1]
    feeds = {"hidden": np.ones((1, 7, width), np.float32), "layer": np.array([0])}
    cost = profile(bundle, "s2a_1layer_head", [Call("s2a_1layer_head", feeds, {})] * 3)
    assert cost.flops == 3 * 2 * 7 * width * codes
    assert cost.bytes > 3 * 4 * width * codes
    assert cost.kernels % 3 == 0


def test_recording_is_the_conversion():
    bundle = builtin_bundle()
    pipeline = Pipeline(bundle, CPU)
    source, reference = speech.source(0.5), speech.reference(0.4)
    recording = record_conversion(bundle, CPU, 0.5, 0.4)
    alone = pipeline.decode(pipeline.encoder.encode(source).latents, pipeline.voice(reference), pipeline.sampling())
    np.testing.assert_array_equal(recording.decoding.acoustic_codes, alone.acoustic_codes)
    assert 0 < len(recording.of("s2a_1layer_backbone")) <= bundle.manifest.sampling.coarse_steps
    assert recording.stages[0] == "front_end"
    assert recording.stages[-1] == "acoustic_decoder"


def test_latency_tells_stages_and_the_torch_pipeline(odd_checkpoint, odd_bundle):
    options = LatencyOptions(0.5, 0.4, repeats=1, qualities=("turbo",), threads=1)
    result = latency([odd_bundle], odd_checkpoint.folder, options)
    whole = {(row["pipeline"], row["task"], row["quality"]): row for row in result.tables["Whole tasks"]}
    name = odd_bundle.manifest.name
    assert whole[name, "convert", "default"]["codes as in it"] >= 0.99
    assert whole["torch", "convert", "default"]["times torch"] == 1
    assert whole[name, "convert", "turbo"]["seconds"] > 0
    assert result.figures["codes equal to torch"] >= 0.99
    stages = {row["stage"]: row for row in result.tables[f"Stages of {name}"]}
    assert stages["s2a_full_backbone"]["GFLOP"] > stages["s2a_full_head"]["GFLOP"] > 0
    assert sum(row["share"] for row in stages.values() if row["task"] == "convert") == pytest.approx(1, abs=0.2)
    assert stages["t2s_backbone"]["task"] == "speak"


def test_exponent_of_a_square_law():
    assert fitted_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_scaling_covers_every_length_and_task():
    rows = scaling(builtin_bundle(), [0.5, 1.0], 0.3, "turbo", 1, 1).tables["Cost against length"]
    assert {(row["task"], row["audio s"]) for row in rows} == {(t, s) for t in ("encode", "decode") for s in (0.5, 1.0)}


def test_parity_of_a_bundle_with_itself_is_perfect(tiny_bundle):
    result = parity(builtin_bundle(), [builtin_bundle()], 0.5, 0.4, 0)
    assert all(row["largest error"] == 0 and row["equal codes"] in (None, 1.0) for row in result.tables["Stages"])
    assert result.tables["Whole bundles"][0]["same likeliest code"] == 1
    with pytest.raises(BundleError, match="of another model"):
        parity(builtin_bundle(), [tiny_bundle], 0.5, 0.4, 0)


def test_processes_reach_their_milestones_in_order():
    rows = startup([builtin_bundle()], None, 0.3, 0.3, 1, 1).tables["Seconds from process start"]
    times = [rows[0][name] for name in ("imported", "opened", "loaded", "first conversion")]
    assert times == sorted(times)


def test_memory_beside_torch_and_growth(odd_checkpoint):
    result = memory([builtin_bundle()], odd_checkpoint.folder, 0.3, 0.3, conversions=8, threads=1)
    peak, low, torch = result.tables["Peak resident memory of one conversion"]
    assert torch["peak GB"] > peak["peak GB"]
    assert peak["mode"] == ""
    assert low["mode"] == "--low-memory"
    assert peak["peak GB"] > 0.05
    assert len(result.tables["Resident memory over conversions of varying length"]) == 8


def test_failed_process_is_one_error(tmp_path):
    with pytest.raises(M8DError, match="in a process of its own failed: "):
        run_probe("runtime", str(tmp_path), 0.3, 0.3)


def test_machine_and_ceilings():
    facts = describe()
    assert facts["cores"] >= 1
    assert "onnxruntime" in facts["versions"]
    limits = ceilings(1)
    assert limits.gemm > 1e8
    assert limits.bandwidth > 1e7


def test_bundle_is_opened_whole():
    bundle: Bundle = builtin_bundle()
    pipeline = Pipeline(bundle, CPU)
    pipeline.preload()
    assert set(bundle.manifest.stages) - set(pipeline.sessions._open) == {"t2s_condition", "t2s_backbone", "t2s_head"}


def test_throughput_counts_the_audio_of_the_corpus():
    result = throughput(builtin_bundle(), files=6, seconds=0.4, actors=[])
    assert [row["run"] for row in result.tables["Extraction"]] == ["one process, one thread", "one process"]
    for row in result.tables["Extraction"]:
        assert row["times real time"] == pytest.approx(3600 * result.settings["hours"] / row["seconds"])
        assert row["peak MB"] > 30
    assert 1.2 < 3600 * result.settings["hours"] < 3.6
    with pytest.raises(M8DError, match="0 files"):
        throughput(builtin_bundle(), files=0, seconds=1.0, actors=[])


def test_a_command_that_fails_while_it_is_measured():
    with pytest.raises(M8DError, match=r"(?s)m8d-run encode failed while it was measured: .*nowhere\.wav does not"):
        m8d_run("encode", "nowhere.wav", "--output", "z.npy")


def test_long_recordings(tmp_path):
    result = long(builtin_bundle(), 250.0, "turbo", 1)
    assert [(row["task"], row["audio s"]) for row in result.tables["Recordings"]] == [
        ("encode", 62.5), ("convert", 62.5), ("encode", 250.0), ("convert", 250.0),
    ]  # fmt: skip
    errors = {row["cut"]: row["RMS error / std"] for row in result.tables["Latents of blocks against the whole"]}
    assert 0 < errors["recordings"] < errors["live, 2 s"] < errors["live"]
    assert [row["delay s"] for row in result.tables["Streams"]] == pytest.approx([1.4, 3.1])
    with pytest.raises(M8DError, match="more than 240 s"):
        long(builtin_bundle(), 100.0, "turbo", 1)
