"""`m8d-run extract` as a user types it: results, resuming, failures, shards, checks."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import soundfile

from m8d.benchmarks import speech
from m8d.engines.builtin import builtin_bundle
from m8d.engines.errors import InputError
from m8d.runtime.audio import load_audio
from m8d.runtime.extraction.batches import Loaded, batches, read_ahead
from m8d.runtime.extraction.cluster import chunks
from m8d.runtime.extraction.corpus import Corpus, parse_shard
from m8d.runtime.extraction.outputs import NpyOutput, OutputOptions, TarOutput

LAYERS = builtin_bundle().manifest.model.num_quantizers

LENGTHS = {"part_000/a": 0.5, "part_000/deep/b.x": 1.3, "part_001/c": 0.9, "part_001/d": 0.04}


def command(root, *arguments):
    return [sys.executable, "-m", "m8d.runtime.cli", "extract", "--audio-dir", str(root / "audio"),
            "--embedding-dir", str(root / "z"), "--json-dir", str(root / "json"), "--device", "cpu", "--threads", "1",
            *map(str, arguments)]  # fmt: skip


def extract(root, *arguments):
    return subprocess.run(command(root, *arguments), capture_output=True, text=True, check=False)


def write(root, name, seconds, suffix=".wav"):
    path = root / "audio" / (name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = speech.source(seconds)
    soundfile.write(path, audio.samples, audio.sample_rate)


@pytest.fixture
def root(tmp_path):
    for number, (name, seconds) in enumerate(LENGTHS.items()):
        write(tmp_path, name, seconds, (".wav", ".flac", ".ogg", ".wav")[number])
    return tmp_path


def latents(root):
    return {path.relative_to(root / "z").with_suffix("").as_posix(): np.load(path) for path in root.glob("z/**/*.npy")}


def succeeded(root, shard=""):
    return json.loads((root / "json" / f"success_total_audio{shard}.json").read_text())


def test_tree_is_mirrored_and_each_file_is_as_alone(root, builtin_pipeline):
    done = extract(root, "--also", "codes", "--also", "features", "--also", "acoustic_codes")
    assert done.returncode == 0, done.stderr
    assert "4 files of 0.00 h encoded" in done.stderr
    found = latents(root)
    assert found.keys() == LENGTHS.keys()
    for path in sorted((root / "audio").rglob("*.*")):
        if path.is_file():
            name = path.relative_to(root / "audio").with_suffix("").as_posix()
            alone = builtin_pipeline.encode_audio(load_audio(str(path)), with_features=True)
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], alone.latents, atol=2e-5)
            assert np.load(root / "z_features" / f"{name}.npy").dtype == np.float16
            codes = np.load(root / "z_codes" / f"{name}.npy")
            assert (codes == builtin_pipeline.encoder.semantic_codes(alone.latents)).mean() > 0.95
            assert np.load(root / "z_acoustic_codes" / f"{name}.npy").shape[1] == LAYERS
    # The reference's list: sorted absolute paths.
    assert succeeded(root) == sorted(str(p.absolute()) for p in (root / "audio").rglob("*.*") if p.is_file())
    assert not list((root / "json").glob("failed*"))


def test_bad_files_are_listed_and_stop_nothing(root):
    (root / "audio" / "broken.wav").write_bytes(b"RIFF of nothing")
    (root / "audio" / "empty.wav").touch()
    write(root, "short", 0.01)
    write(root, "part_000/a", 0.5, ".flac")
    done = extract(root)
    assert done.returncode == 1
    assert "4 files failed" in done.stderr
    reasons = {}
    for line in (root / "json" / "failed_total_audio.jsonl").read_text().splitlines():
        entry = json.loads(line)
        reasons[entry["audio"].removeprefix(f"{root}/audio/")] = entry["reason"]
    assert "Cannot read" in reasons["broken.wav"]
    assert "Cannot read" in reasons["empty.wav"]
    assert "too short" in reasons["short.wav"]
    assert "rename one of them" in reasons["part_000/a.wav"]
    assert len(latents(root)) == len(succeeded(root)) == 4


def test_second_run_does_what_is_left_and_reads_a_foreign_list(root):
    assert extract(root, "--part", "part_000").returncode == 0
    assert len(latents(root)) == 2
    before = {path: path.stat().st_mtime_ns for path in root.glob("z/**/*.npy")}
    gone = str(root / "audio" / "moved-away.wav")
    (root / "json" / "success_total_audio.json").write_text(json.dumps([gone]))
    done = extract(root)
    assert "2 files of" in done.stderr
    assert len(latents(root)) == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert gone in succeeded(root)
    assert len(succeeded(root)) == 5


@pytest.mark.parametrize("form", ["npy", "tar"])
def test_killed_run_goes_on_without_loss(tmp_path, form):
    for number in range(40):
        write(tmp_path, f"{number:02}", 1.0 + 0.01 * number)
    arguments = ("--batch-seconds", "2", "--format", form, "--shard-files", "4", "--quiet")
    with subprocess.Popen(command(tmp_path, *arguments)) as process:
        while not list(tmp_path.glob("z/*")):
            time.sleep(0.005)
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    done = extract(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(succeeded(tmp_path)) == 40
    assert extract(tmp_path, *arguments, "--verify").returncode == 0
    if form == "npy":
        assert all(len(array) >= 49 for array in latents(tmp_path).values())
    else:
        names = []
        for path in tmp_path.glob("z/*.tar"):
            with tarfile.open(path) as tar:
                names += tar.getnames()
        assert sorted(names) == [f"{number:02}.latents.npy" for number in range(40)]


def test_verify_finds_what_is_wrong(root):
    assert extract(root).returncode == 0
    assert extract(root, "--verify").returncode == 0
    np.save(root / "z" / "part_000" / "a.npy", np.full((24, 8), np.nan, np.float32))
    (root / "z" / "part_001" / "c.npy").write_bytes(b"cut")
    (root / "z" / "part_001" / "d.npy").unlink()
    done = extract(root, "--verify")
    assert done.returncode == 1
    assert "a.wav: its latents hold NaN or infinity" in done.stdout
    assert "d.wav: it has no output" in done.stdout
    assert "1 files of" in done.stderr
    assert "3 are not" in done.stderr


def test_shards_cover_the_corpus_and_are_gathered(root):
    for index in range(2):
        assert extract(root, "--shard", f"{index}/2").returncode == 0
        assert len(succeeded(root, f".shard-{index}-of-2")) == 2
    assert len(latents(root)) == 4
    assert "0 files of" in extract(root).stderr
    assert len(succeeded(root)) == 4


def test_killed_ray_worker_loses_nothing(tmp_path):
    for number in range(48):
        write(tmp_path, f"{number:02}", 1.0)
    arguments = ("--ray", "local", "--batch-seconds", "1", "--workers", "1")
    with subprocess.Popen(command(tmp_path, *arguments), stderr=subprocess.PIPE, text=True) as process:
        while len(list(tmp_path.glob("z/*.npy"))) < 4:
            time.sleep(0.01)
            assert process.poll() is None, process.stderr.read()
        os.kill(ray_worker(), signal.SIGKILL)
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert len(latents(tmp_path)) == len(succeeded(tmp_path)) == 48
    assert extract(tmp_path, "--verify").returncode == 0


def ray_worker():
    for folder in os.listdir("/proc"):
        if folder.isdecimal():
            try:
                with open(f"/proc/{folder}/cmdline", "rb") as file:
                    if file.read().startswith(b"ray::_Extractor"):
                        return int(folder)
            except OSError:
                continue
    raise AssertionError("no Ray worker runs")


def test_lost_cluster_is_one_error(root):
    done = extract(root, "--ray", "127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --ray 127.0.0.1:1: the cluster cannot be reached")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--part", "nowhere"), "does not exist"),
        (("--shard", "2/2"), "expected i/n"),
        (("--also", "words"), "expected one of codes"),
        (("--format", "zip"), "expected one of npy, tar"),
        (("--device", "tpu:1"), "expected auto, cpu, cuda or cuda:N"),
        (("--batch-seconds", "0"), "expected more than 0"),
        (("--workers", "0"), "expected at least 1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(root, arguments, message):
    done = extract(root, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_batches_hold_their_limit_and_lose_nothing(tmp_path):
    chance = np.random.default_rng(0)
    files = []
    for number, seconds in enumerate(chance.uniform(0.1, 3.0, 50)):
        audio = speech.source(float(seconds))
        files.append(Loaded(tmp_path / str(number), audio, audio))
    groups = list(batches(iter(files), 6.0))
    assert sorted(str(f.path) for group in groups for f in group) == sorted(str(f.path) for f in files)
    for group in groups:
        assert len(group) * max(f.spoken.seconds for f in group) <= 6.0 or len(group) == 1
    spoken = sum(f.spoken.seconds for f in files)
    padded = sum(len(group) * max(f.spoken.seconds for f in group) for group in groups)
    assert padded < 1.25 * spoken


def test_files_are_read_in_order_and_not_all_at_once(root):
    paths = Corpus(root / "audio").files()
    taken = []

    def watched():
        for path in paths * 10:
            taken.append(path)
            yield path

    loaded = read_ahead(watched(), 1, 16000)
    assert next(loaded).path == paths[0]
    assert len(taken) <= 5
    assert [file.path for file in loaded] == (paths * 10)[1:]


def test_chunks_are_of_equal_length(root):
    paths = Corpus(root / "audio").files()
    groups = chunks(paths, 2)
    assert sorted(path for group in groups for path in group) == paths
    lengths = [sum(soundfile.info(str(path)).duration for path in group) for group in groups]
    assert abs(lengths[0] - lengths[1]) < 0.2


def test_extras_are_there_before_the_latents(tmp_path, monkeypatch):
    output = NpyOutput(OutputOptions(tmp_path / "z", extras=("codes",)))
    order = []
    monkeypatch.setattr("m8d.runtime.extraction.outputs.write_whole", lambda path, write: order.append(path))
    output.write("a/b", {"latents": np.zeros(1), "codes": np.zeros(1)})
    assert order == [tmp_path / "z_codes" / "a" / "b.npy", tmp_path / "z" / "a" / "b.npy"]


def test_open_tar_shard_is_not_done(tmp_path):
    options = OutputOptions(tmp_path / "z", "tar")
    output = TarOutput(options, "w")
    output.write("a/b.c", {"latents": np.ones((2, 8), np.float32)})
    assert not TarOutput(options, "w").done("a/b.c")
    assert output.close() == ["a/b.c"]
    again = TarOutput(options, "w")
    assert again.done("a/b.c")
    np.testing.assert_array_equal(again.read("a/b.c")["latents"], np.ones((2, 8)))


def test_shard_is_parsed():
    assert parse_shard("3/8") == (3, 8)
    with pytest.raises(InputError):
        parse_shard("3")
