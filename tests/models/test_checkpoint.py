"""The published layout: every tensor has its place in a module, and what does not fit is said."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import GOLDEN
from m8d.models.checkpoint import STAGES, Checkpoint
from m8d.models.config import ModelConfig
from m8d.models.errors import CheckpointError


@pytest.mark.parametrize("name", STAGES)
def test_official_tensors_are_those_of_the_module(name):
    stage = STAGES[name]
    published = {k: tuple(v[1]) for k, v in json.loads((GOLDEN / "manifest_full.json").read_text())[stage.path].items()}
    with torch.device("meta"):
        ours = {k: tuple(v.shape) for k, v in stage.build(ModelConfig()).state_dict().items()}
    assert ours.items() <= published.items()
    assert [k for k in published if k not in ours and not re.fullmatch(stage.unused, k)] == []


def test_toy_checkpoint_fits(tiny_checkpoint):
    tiny_checkpoint.check()


@pytest.fixture
def copied(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint.folder, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def rewrite(folder, path, change):
    tensors = load_file(folder / path)
    change(tensors)
    save_file(tensors, folder / path)


def test_missing_tensor_is_named(copied):
    rewrite(copied, "semantic_codec/model.safetensors", lambda t: t.pop("encoder.1.bias"))
    with pytest.raises(CheckpointError, match=r"encoder\.1\.bias is missing, expected shape \(32,\)"):
        Checkpoint(copied).check()


def test_other_shape_is_named(copied):
    rewrite(copied, "semantic_codec/model.safetensors", lambda t: t.update({"encoder.1.bias": torch.zeros(5)}))
    with pytest.raises(CheckpointError, match=r"encoder\.1\.bias has shape \(5,\), expected \(32,\)"):
        Checkpoint(copied).check()


def test_unknown_tensor_is_named(copied):
    rewrite(copied, "s2a_model/s2a_model_full/model.safetensors", lambda t: t.update(extra=torch.zeros(2)))
    with pytest.raises(CheckpointError, match="unknown tensor extra"):
        Checkpoint(copied).check()


def test_truncated_file_is_named(copied):
    path = copied / "t2s_model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"t2s_model.*not a whole safetensors file"):
        Checkpoint(copied).check()


def test_missing_statistics_are_named(copied):
    (copied / "wav2vec2bert_stats.pt").unlink()
    with pytest.raises(CheckpointError, match=r"wav2vec2bert_stats\.pt"):
        Checkpoint(copied).check()


def test_no_folder():
    with pytest.raises(CheckpointError, match="m8d-export download"):
        Checkpoint("nowhere")


def test_inconsistent_sizes_are_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    config["model"]["s2a_model"]["s2a_full"]["codebook_size"] = 7
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="one acoustic codebook size, received"):
        Checkpoint(copied)


def test_official_sizes_hold_without_a_config(tmp_path):
    assert ModelConfig.from_checkpoint(tmp_path) == ModelConfig()


def test_config_survives_writing(odd_checkpoint):
    assert ModelConfig.from_checkpoint(odd_checkpoint.folder) == odd_checkpoint.config
