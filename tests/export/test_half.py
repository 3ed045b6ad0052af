"""FP16 and BF16 graphs: what is half, what never is, and that rounding is what the check sees."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from m8d.engines.errors import BundleError
from m8d.export.build import all_stages
from m8d.export.graph import export_graph
from m8d.export.half import FULL_SCOPES, NUMPY_TYPES, to_bf16, to_fp16
from m8d.export.parity import check_stage, open_graph
from m8d.export.precision import PRECISIONS, stage_precision

STAGES = {stage.name: stage for stage in all_stages(True)}
HALF_STAGES = [name for name in STAGES if stage_precision("fp16", name) == "fp16"]
HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
EXACT = {"LayerNormalization", "ReduceMean", "ReduceSum", "Sqrt", "Softmax", "Exp", "Sin", "Cos", "Div", "Where"}


def value_types(model):
    """Type of every value, by ONNX's own inference, which also refuses a graph of mixed types."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("name", HALF_STAGES)
def test_half_where_it_helps_and_fp32_where_it_hurts(tiny_checkpoint, tmp_path, name, precision):
    stage = STAGES[name]
    module = stage.module(tiny_checkpoint, {})
    files = export_graph(stage, module, tiny_checkpoint.config, tmp_path, precision)
    parity = check_stage(stage, module, files.graph, tiny_checkpoint.config, 0.5, precision)
    assert parity.passed, parity
    model, half = onnx.load(files.graph), HALVES[precision]
    types = value_types(model)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.INT64)
    products = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm", "Conv")]
    free = [n for n in products if not any(scope in n.name for scope in FULL_SCOPES)]
    assert free
    assert {types[n.output[0]] for n in free} == {half}
    for node in model.graph.node:
        if node.op_type in EXACT or "/head/" in node.name:
            assert half not in {types[n] for n in (*node.input, *node.output) if n}, node.name


def graph(weight):
    """x (B, 2) float32 → x · weight · 1/3 → y."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 2]) for n in "xy")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Mul", ["p", "third"], ["y"])]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32([1 / 3]), "third")]
    return helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )


@pytest.mark.parametrize(("rewrite", "half"), [(to_fp16, TensorProto.FLOAT16), (to_bf16, TensorProto.BFLOAT16)])
def test_the_check_rounds_after_every_operation(tmp_path, rewrite, half):
    """Against NumPy's own half numbers, step by step."""
    weight = np.float32([[1.1, -0.7], [0.3, 2.9]])
    model = graph(weight)
    rewrite(model, {})
    onnx.save(model, tmp_path / "g.onnx")
    x = np.float32([[0.37, 1.91], [-5.3, 0.01]])

    def rounded(array):
        return np.asarray(array, np.float32).astype(NUMPY_TYPES[half]).astype(np.float32)

    expected = rounded(rounded(rounded(x) @ rounded(weight)) * rounded(1 / 3))
    received = open_graph(tmp_path / "g.onnx", half=True).run(None, {"x": x})[0]
    np.testing.assert_array_equal(received, expected)
    assert (received != x @ weight / 3).any()


def test_weights_beyond_fp16_are_refused():
    with pytest.raises(BundleError, match=r"Weight w has numbers beyond ±65504.*--precision bf16"):
        to_fp16(graph(np.full((2, 2), 1e5, np.float32)), {})
    to_bf16(graph(np.full((2, 2), 1e5, np.float32)), {})


def test_the_choices_are_known():
    assert {name for name, precision in PRECISIONS.items() if precision.half} == set(HALVES)
    assert {stage_precision("bf16", name) for name in ("acoustic_encoder", "t2s_head", "front_end")} == {"fp32"}
