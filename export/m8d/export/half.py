"""FP16 and BF16 graphs: products compute in half precision, what suffers from it stays in FP32.

TensorRT networks are strongly typed, so the types are made here and the casts are part of the graph. The rule, on
standard ONNX:

- matrix products, convolutions and gathers from tables are half, with their weights;
- moving data keeps its type, and element-wise arithmetic is half where all that it combines is;
- everything else is FP32: norms, softmax, exp, sin and cos, divisions, reductions, and, since one operand is FP32,
  residual sums, rotations and masks;
- so are the scopes of `FULL_SCOPES`, and what feeds a sine or an argmax directly.
"""

from __future__ import annotations

import numpy as np
import onnx
from ml_dtypes import bfloat16, finfo
from onnx import TensorProto, helper, numpy_helper

from m8d.engines.errors import BundleError
from m8d.export.quantize import MIN_ELEMENTS, Weights, consumers

PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
MOVES = ("Transpose", "Reshape", "Slice", "Unsqueeze", "Squeeze", "Expand", "Gather", "Split", "Pad", "Concat")
ARITHMETIC = ("Add", "Sub", "Mul", "Neg", "Sigmoid", "Gelu", "Tanh", "Relu")
# What these read has to be FP32 from the arithmetic before them on: rounding there moves a phase or a choice.
SENSITIVE = ("Sin", "Cos", "Exp", "Log", "ArgMax")
# The vocoder's head (log magnitude, phase, inverse DFT) and the projections around codebooks.
FULL_SCOPES = ("/head/", "/in_project", "/out_project", "/codebook")
ANY_TYPE = ("Shape", "Size")  # read the type of no value
BF16_OPSET = 22  # the first whose convolutions take BF16
NUMPY_TYPES = {TensorProto.FLOAT16: np.dtype(np.float16), TensorProto.BFLOAT16: np.dtype(bfloat16)}

LARGEST = {half: float(finfo(dtype).max) for half, dtype in NUMPY_TYPES.items()}


def to_fp16(model: onnx.ModelProto, weights: Weights) -> None:
    """11 significant bits, numbers up to 65504."""
    _to_half(model, weights, TensorProto.FLOAT16)


def to_bf16(model: onnx.ModelProto, weights: Weights) -> None:
    """8 significant bits, the range of FP32. ONNX Runtime's CPU provider cannot run the graph."""
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, BF16_OPSET)
    _to_half(model, weights, TensorProto.BFLOAT16)


def _to_half(model: onnx.ModelProto, weights: Weights, half: int) -> None:
    graph = model.graph
    small = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    constants = {t.name for t in graph.initializer} | set(weights)
    chosen, values = _half_nodes(graph, weights, constants)
    nodes: list[onnx.NodeProto] = []
    cast: dict[str, str] = {}

    def typed(name: str, wanted: int) -> str:
        """`name` as a value of the wanted type; a cast is made once."""
        is_half = wanted == half
        if name not in cast and name in constants:
            array = weights[name] if name in weights else numpy_helper.to_array(small[name])
            cast[name] = _half_weight(name, array, half, graph, weights)
        if name not in cast:
            cast[name] = f"{name}_{'half' if is_half else 'fp32'}"
            nodes.append(helper.make_node("Cast", [name], [cast[name]], to=wanted))
        return cast[name]

    outputs = {value.name for value in graph.output}
    for position, node in enumerate(graph.node):
        if position in chosen:
            for i in _data_inputs(node):
                if node.input[i] not in values:
                    node.input[i] = typed(node.input[i], half)
        elif node.op_type not in ANY_TYPE:
            for i, name in enumerate(node.input):
                if name in values:
                    node.input[i] = typed(name, TensorProto.FLOAT)
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in values and name in outputs:
                node.output[i] = f"{name}_half"
                nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
                values.discard(name)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph, weights)


def _half_nodes(graph: onnx.GraphProto, weights: Weights, constants: set[str]) -> tuple[set[int], set[str]]:
    """Which nodes compute in half precision, by position, and the values that they give."""
    uses = consumers(graph)
    tables = {name for name, array in weights.items() if array.dtype == np.float32 and array.size >= MIN_ELEMENTS}
    tables |= {t.name for t in graph.initializer if len(t.dims) == 2 and int(np.prod(t.dims)) >= MIN_ELEMENTS
               and t.data_type == TensorProto.FLOAT}  # fmt: skip
    chosen: set[int] = set()
    values: set[str] = set()
    for position, node in enumerate(graph.node):
        if any(scope in node.name for scope in FULL_SCOPES):
            continue
        data = [node.input[i] for i in _data_inputs(node)]
        computed = [name for name in data if name not in constants]
        sensitive = any(user.op_type in SENSITIVE for name in node.output for user in uses.get(name, []))
        flows = bool(computed) and all(name in values for name in computed)
        is_half = (
            (node.op_type in PRODUCTS and not sensitive)
            or (node.op_type == "Gather" and node.input[0] in tables)
            or (node.op_type in MOVES and flows)
            or (node.op_type in ARITHMETIC and flows and not sensitive)
        )
        if is_half:
            chosen.add(position)
            values.update(node.output)
    return chosen, values


def _data_inputs(node: onnx.NodeProto) -> list[int]:
    """Positions of the inputs that have the type of the output."""
    if node.op_type == "Pad":
        return [i for i in (0, 2) if i < len(node.input) and node.input[i]]
    if node.op_type in MOVES and node.op_type != "Concat":
        return [0]
    return [i for i, name in enumerate(node.input) if name]


def _half_weight(name: str, array: np.ndarray, half: int, graph: onnx.GraphProto, weights: Weights) -> str:
    """Adds `array` in half precision beside the original, in the same place."""
    if np.abs(array).max() > LARGEST[half]:
        raise BundleError(f"Weight {name} has numbers beyond ±65504, which FP16 cannot hold. Use --precision bf16.")
    rounded = array.astype(NUMPY_TYPES[half])
    if name in weights:
        weights[f"{name}_half"] = rounded
    else:
        graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_half"))
    return f"{name}_half"


def _drop_unused(graph: onnx.GraphProto, weights: Weights) -> None:
    used = set(consumers(graph))
    for name in set(weights) - used:
        del weights[name]
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def rounded_in_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph for a runtime without half arithmetic: FP32 throughout, rounded wherever the original is half.

    Products accumulate in FP32, as tensor cores do. Weights stay as they are, each behind a cast.
    """
    graph = model.graph
    halves = {t.name: t.data_type for t in graph.initializer if t.data_type in NUMPY_TYPES}
    nodes = [_to_float(name) for name in halves]
    half = next((n.attribute[0].i for n in graph.node if _casts_to_half(n)), next(iter(halves.values()), 0))
    values = set(halves)
    for node in graph.node:
        if _casts_to_half(node):
            nodes += [node, _to_float(node.output[0])]
            values.add(node.output[0])
            continue
        if not any(name in values for name in node.input):
            nodes.append(node)
            continue
        is_cast = node.op_type == "Cast"
        for i, name in enumerate(node.input):
            if name in values:
                node.input[i] = f"{name}_exact"
        nodes.append(node)
        if is_cast or node.op_type in ANY_TYPE:
            continue
        for i, name in enumerate(list(node.output)):
            node.output[i] = f"{name}_unrounded"
            nodes += [helper.make_node("Cast", [f"{name}_unrounded"], [name], to=half), _to_float(name)]
            values.add(name)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _casts_to_half(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i in NUMPY_TYPES


def _to_float(name: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [f"{name}_exact"], to=TensorProto.FLOAT)
