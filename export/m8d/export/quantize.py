"""Smaller weights: rewrites of a finished graph, in place.

A storage rewrite shrinks the file alone: `Cast` (and `Mul`) turn the weight back to float32, and ONNX Runtime and
TensorRT compute that once, when they load the graph. The dynamic rewrite also computes with integers.
All of it is standard ONNX. K and N are the rows and columns of a matrix product's weight.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from m8d.engines.errors import BundleError

Weights = dict[str, np.ndarray]

INT8_MAX = 127
# Weights of integer products keep seven bits: without VNNI a processor adds pairs of products in 16 bits, which eight
# bits overflow (errors of 37% instead of 3% in a stage).
PRODUCT_MAX = 63
# So many rows of a product's stored weight share a scale, if they divide its rows: few activations are far larger than
# the rest, and rows that they meet should not suffer from others' size.
GROUPS = range(64, 15, -1)
MIN_ELEMENTS = 1024  # smaller weights are biases and scales: nothing to gain, and most sensitive
# The axis whose every index has a scale of its own: the output channel of a product, the row of a table.
SCALED_AXES: dict[str, Callable[[onnx.NodeProto, int], int]] = {
    "MatMul": lambda node, ndim: ndim - 1,
    "Gemm": lambda node, ndim: 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1,
    "Conv": lambda node, ndim: 0,
    "Gather": lambda node, ndim: 0,
}


def store_fp16(model: onnx.ModelProto, weights: Weights) -> None:
    """Halves the weights' bytes; arithmetic stays float32 and each weight keeps 11 significant bits."""
    _gather_weights(model.graph, weights)
    for name in list(weights):
        _store_half(model.graph, weights, name)


def store_int8(model: onnx.ModelProto, weights: Weights) -> None:
    """Quarters the weights' bytes, one scale per output channel and group of rows; arithmetic stays float32."""
    graph = model.graph
    _gather_weights(graph, weights)
    uses = consumers(graph)
    for name in list(weights):
        axis = _scaled_axis(uses.get(name, []), name, weights[name].ndim)
        if axis is None:
            _store_half(graph, weights, name)
            continue
        weight = weights.pop(name)
        whole = name
        if weight.ndim == 2 and axis == 1:
            whole = f"{name}_groups"
            shape = np.array(weight.shape, np.int64)
            graph.initializer.append(numpy_helper.from_array(shape, f"{name}_shape"))
            graph.node.insert(0, helper.make_node("Reshape", [whole, f"{name}_shape"], [name]))
            group = next((size for size in GROUPS if len(weight) % size == 0), len(weight))
            weight = weight.reshape(-1, group, weight.shape[1])
        quantized, scale = quantized_weight(weight, (0, 2) if whole != name else (axis,))
        weights[f"{name}_int8"] = quantized
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        graph.node.insert(0, helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [whole]))
        graph.node.insert(0, helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], to=TensorProto.FLOAT))


def quantize_dynamic(model: onnx.ModelProto, weights: Weights) -> None:
    """Matrix products with a weight multiply int8 weights by uint8 activations, whose range is taken at each run.

    ONNX Runtime's own `quantize_dynamic` does the same to a model in one protobuf, which holds 2 GiB at most. Products
    of one input share its quantisation. Other weights are stored as `store_int8` does.
    """
    graph = model.graph
    _gather_weights(graph, weights)
    uses = consumers(graph)
    products = {
        name
        for name, weight in weights.items()
        if weight.ndim == 2 and all(node.op_type == "MatMul" and node.input[1] == name for node in uses.get(name, []))
    }
    for name in products:
        quantized, scale = quantized_weight(weights.pop(name), (1,), PRODUCT_MAX)
        weights[f"{name}_int8"] = quantized
        graph.initializer.append(numpy_helper.from_array(scale[0], f"{name}_scale"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(scale.size, np.int8), f"{name}_zero"))
    nodes: list[onnx.NodeProto] = []
    quantized_inputs: set[str] = set()
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in products:
            nodes.append(node)
            continue
        x, w, y = node.input[0], node.input[1], node.output[0]
        if x not in quantized_inputs:
            quantized_inputs.add(x)
            nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [f"{x}_uint8", f"{x}_scale", f"{x}_zero"]))
        nodes += [
            helper.make_node("MatMulInteger", [f"{x}_uint8", f"{w}_int8", f"{x}_zero", f"{w}_zero"], [f"{y}_int32"]),
            helper.make_node("Cast", [f"{y}_int32"], [f"{y}_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{x}_scale", f"{w}_scale"], [f"{y}_scale"]),
            helper.make_node("Mul", [f"{y}_float", f"{y}_scale"], [y]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    done = {name: weights.pop(name) for name in list(weights) if weights[name].dtype == np.int8}
    store_int8(model, weights)
    weights.update(done)


def quantized_weight(
    weight: np.ndarray, axes: tuple[int, ...], largest: int = INT8_MAX
) -> tuple[np.ndarray, np.ndarray]:
    """int8 weight within ±`largest`, float32 scale of size 1 on all axes but `axes`; their product is the weight."""
    others = tuple(i for i in range(weight.ndim) if i not in axes)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True), 1e-12) / np.float32(largest)
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def _gather_weights(graph: onnx.GraphProto, weights: Weights) -> None:
    """Moves the float32 initialisers worth shrinking, no vectors, from the graph to `weights`."""
    for tensor in list(graph.initializer):
        count = int(np.prod(tensor.dims))
        if tensor.data_type == TensorProto.FLOAT and count >= MIN_ELEMENTS and count > max(tensor.dims):
            weights[tensor.name] = numpy_helper.to_array(tensor)
            graph.initializer.remove(tensor)


def _store_half(graph: onnx.GraphProto, weights: Weights, name: str) -> None:
    if weights[name].dtype != np.float32:
        return
    half = weights.pop(name).astype(np.float16)
    if not np.isfinite(half).all():
        raise BundleError(f"Weight {name} has numbers beyond ±65504, which FP16 cannot hold. Use --precision fp32.")
    weights[f"{name}_half"] = half
    graph.node.insert(0, helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each value."""
    uses: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            uses.setdefault(name, []).append(node)
    return uses


def _scaled_axis(nodes: list[onnx.NodeProto], name: str, ndim: int) -> int | None:
    """The axis that all uses of a weight agree on; None where there is no such axis or the weight is a vector."""
    axes = {SCALED_AXES[n.op_type](n, ndim) if n.op_type in SCALED_AXES else None for n in nodes}
    return axes.pop() if len(axes) == 1 and ndim > 1 else None
