"""Building: all or nothing, and a graph that computes something else is noticed."""

from dataclasses import replace

import pytest
import torch

from m8d.engines.bundle import Bundle
from m8d.engines.errors import BundleError
from m8d.export import build as build_module
from m8d.export.build import BuildOptions, build, sampling_defaults, speaking_defaults, verify
from m8d.export.graph import export_graph
from m8d.export.parity import check_stage
from m8d.export.precision import PRECISIONS
from m8d.export.stages import CODEC_STAGES
from m8d.models.checkpoint import Checkpoint, write_random_checkpoint
from m8d.models.config import ModelConfig
from m8d.models.errors import CheckpointError
from m8d.models.presets import TOY

STAGES = {stage.name: stage for stage in CODEC_STAGES}


def test_manifest_describes_the_graphs(tiny_bundle):
    import onnxruntime

    for name, spec in tiny_bundle.manifest.stages.items():
        session = onnxruntime.InferenceSession(str(tiny_bundle.folder / spec.file), providers=["CPUExecutionProvider"])
        for specs, values in ((spec.inputs, session.get_inputs()), (spec.outputs, session.get_outputs())):
            described = [
                (s.name, list(s.shape), f"tensor({'float' if s.dtype == 'float32' else s.dtype})") for s in specs
            ]
            assert described == [(v.name, v.shape, v.type) for v in values], name


def test_existing_output_is_left_alone(tiny_checkpoint, tmp_path):
    with pytest.raises(BundleError, match="exists already"):
        build(tiny_checkpoint, tmp_path, BuildOptions())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(tiny_checkpoint, tmp_path):
    def interrupt(parity):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tiny_checkpoint, tmp_path / "bundle", BuildOptions(max_seconds=0.2), interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_is_off_fails_the_build(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "all_stages", lambda with_t2s: (STAGES["guidance"],))
    monkeypatch.setitem(PRECISIONS, "fp32", replace(PRECISIONS["fp32"], max_error=-1.0))
    with pytest.raises(BundleError, match="Not built: guidance"):
        build(tiny_checkpoint, tmp_path / "bundle", BuildOptions(max_seconds=0.2))
    assert list(tmp_path.iterdir()) == []


def test_verify_notices_other_weights(odd_bundle, tmp_path):
    other = Checkpoint(write_random_checkpoint(tmp_path / "other", TOY, seed=4))
    results = {r.stage: r for r in verify(odd_bundle, other, max_seconds=0.2)}
    assert results["front_end"].passed
    assert not results["w2v_bert"].passed
    assert not results["s2a_full_backbone"].passed


def test_verify_agrees_with_the_build(odd_bundle, odd_checkpoint):
    assert all(r.passed for r in verify(odd_bundle, odd_checkpoint, max_seconds=0.5))


class Causal(torch.nn.Module):
    """The semantic encoder with the future cut off: each frame from itself alone."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, features, frames):
        batch, time, width = features.shape
        one = torch.ones_like(features[:, :, 0]).flatten().long()
        single = self.module(features.reshape(batch * time, 1, width), one * frames.min().clamp(1, 1))
        return single.reshape(batch, time, -1)


def test_a_causal_graph_is_noticed(tiny_checkpoint, tmp_path):
    stage = STAGES["semantic_encoder"]
    module = Causal(stage.module(tiny_checkpoint, {}))
    files = export_graph(stage, module, tiny_checkpoint.config, tmp_path)
    parity = check_stage(stage, module, files.graph, tiny_checkpoint.config, max_seconds=0.5)
    assert parity.error < 1e-4
    assert not parity.bidirectional
    assert not parity.passed


@pytest.mark.parametrize("name", ["semantic_encoder", "w2v_bert", "acoustic_decoder"])
def test_large_weights_lie_beside_the_graph(tiny_checkpoint, tmp_path, monkeypatch, name):
    monkeypatch.setattr("m8d.export.graph.EXTERNAL_DATA_ABOVE", 0)
    monkeypatch.setattr("m8d.export.graph.LATE_WEIGHT_ABOVE", 0)
    stage = STAGES[name]
    module = stage.module(tiny_checkpoint, {})
    files = export_graph(stage, module, tiny_checkpoint.config, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.onnx", f"{name}.onnx.data"]
    assert files.data is not None
    assert check_stage(stage, module, files.graph, tiny_checkpoint.config, max_seconds=0.5).passed


def test_t2s_can_be_left_out(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "check_stage", lambda stage, *_: _passed(stage.name))
    build(tiny_checkpoint, tmp_path / "bundle", BuildOptions(with_t2s=False))
    assert not Bundle.open(tmp_path / "bundle").has_tts


def _passed(name):
    from m8d.export.parity import StageParity

    return StageParity(name, "fp32", 0.0, 1.0, True, 1)


def test_a_checkpoint_may_say_how_it_is_best_sampled(odd_checkpoint, tmp_path):
    config = replace(odd_checkpoint.config, sampling={"temperature": 0.7, "fine_steps": [4, 2, 1]})
    config.write(tmp_path)
    read = sampling_defaults(ModelConfig.from_checkpoint(tmp_path))
    assert read == replace(sampling_defaults(odd_checkpoint.config), temperature=0.7, fine_steps=(4, 2, 1))
    config = replace(config, speaking={"steps": 9, "s2a_fine_steps": [3, 2, 1]})
    config.write(tmp_path)
    spoken = speaking_defaults(ModelConfig.from_checkpoint(tmp_path))
    assert spoken == replace(speaking_defaults(odd_checkpoint.config), steps=9, s2a_fine_steps=(3, 2, 1))
    with pytest.raises(CheckpointError, match=r"config\.json, sampling: .*'heat'.* Expected an object"):
        sampling_defaults(replace(config, sampling={"heat": 1}))
