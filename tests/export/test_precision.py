"""Smaller weights: how much smaller, how far off, and what is never touched."""

import numpy as np
import onnx
import pytest

from m8d.export.graph import export_graph
from m8d.export.masked_stages import masked_stages
from m8d.export.parity import check_stage
from m8d.export.precision import CHOICES, EXACT_STAGES, stage_precision
from m8d.export.quantize import quantized_weight


@pytest.fixture(scope="module")
def backbone(odd_checkpoint):
    stage = masked_stages("s2a_full")[1]
    return stage, stage.module(odd_checkpoint, {})


@pytest.mark.parametrize(("precision", "share"), [("fp16-storage", 0.6), ("int8-storage", 0.4), ("int8", 0.4)])
def test_weights_shrink_and_the_graph_still_computes_the_same(backbone, odd_checkpoint, tmp_path, precision, share):
    stage, module = backbone
    sizes = {}
    for choice in ("fp32", precision):
        folder = tmp_path / choice
        folder.mkdir()
        files = export_graph(stage, module, odd_checkpoint.config, folder, choice)
        parity = check_stage(stage, module, files.graph, odd_checkpoint.config, 0.5, choice)
        assert parity.passed, parity
        model = onnx.load(files.graph)
        sizes[choice] = sum(len(t.raw_data) for t in model.graph.initializer)
    assert sizes[precision] <= share * sizes["fp32"]


def test_int8_multiplies_integers(backbone, odd_checkpoint, tmp_path):
    stage, module = backbone
    files = export_graph(stage, module, odd_checkpoint.config, tmp_path, "int8")
    operators = [node.op_type for node in onnx.load(files.graph).graph.node]
    assert operators.count("MatMulInteger") >= 7 * odd_checkpoint.config.s2a_full.num_layers


def test_stages_without_weights_stay_exact():
    assert {stage_precision(choice, stage) for choice in CHOICES for stage in EXACT_STAGES} == {"fp32"}


def test_one_scale_per_channel():
    weight = np.array([[1.0, 100.0], [-2.0, 50.0]], np.float32)
    quantized, scale = quantized_weight(weight, axes=(1,))
    np.testing.assert_array_equal(np.abs(quantized).max(0), [127, 127])
    np.testing.assert_allclose(quantized * scale, weight, atol=0.5)
