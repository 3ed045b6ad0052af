"""torch module → ONNX file."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxslim
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from m8d.export.precision import PRECISIONS
from m8d.export.stages import Stage
from m8d.models.config import ModelConfig

OPSET = 20  # the first with Gelu; TensorRT 11 and ONNX Runtime 1.17 read it
# Weights above this lie beside the graph, where the runtime maps them instead of parsing and copying them.
EXTERNAL_DATA_ABOVE = 16 * 2**20  # bytes
# Weights above this stay out of the graph until it is final: a protobuf holds at most 2 GiB, and every pass copies it.
LATE_WEIGHT_ABOVE = 256 * 2**10  # bytes
ALIGNMENT = 4096  # bytes: a page, so that weights can be mapped

Axes = dict[str, tuple[str | int, ...]]


@dataclass(frozen=True)
class GraphFiles:
    graph: Path
    data: Path | None  # weights, where they are not inside the graph


def export_graph(
    stage: Stage, module: torch.nn.Module, config: ModelConfig, folder: Path, precision: str = "fp32"
) -> GraphFiles:
    """Writes `folder/<stage>.onnx`, with `.onnx.data` beside it for large weights. All letter axes stay dynamic.

    `precision` is a key of `PRECISIONS`; inputs and outputs are the same in each.
    """
    axes = {**stage.inputs(config), **stage.outputs(config)}
    model = _trace(stage, module, config, axes)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    late = {}
    for value in list(model.graph.input):
        if value.name in state:
            weight = state[value.name].numpy()
            if weight.nbytes > LATE_WEIGHT_ABOVE:
                late[value.name] = weight
            else:
                model.graph.input.remove(value)
                model.graph.initializer.append(numpy_helper.from_array(weight, value.name))
    model = onnxslim.slim(model)
    for value in [v for v in model.graph.input if v.name in late]:
        model.graph.input.remove(value)
    _fold(model.graph, late)
    _name_axes(model, axes)
    rewrite = PRECISIONS[precision].rewrite
    if rewrite:
        rewrite(model, late)
    return _save(model, late, folder / f"{stage.name}.onnx")


def _trace(stage: Stage, module: torch.nn.Module, config: ModelConfig, axes: Axes) -> onnx.ModelProto:
    """The graph with its weights as inputs.

    Uses torch's tracing exporter: its torch.export-based successor gives the same graphs but takes 20 times as long on
    symbolic shapes (145 s against 8 s for all stages at toy size). What tracing could get wrong, a length or a batch
    frozen into the graph, is what the parity check sweeps.
    """
    example = stage.example(config, 2, 0.5, torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the deprecation, and what the tracer says of constants it does not fold
        traced = Path(scratch) / "traced.onnx"
        torch.onnx.export(
            module,
            tuple(example[name] for name in stage.inputs(config)),
            str(traced),
            input_names=list(stage.inputs(config)),
            output_names=list(stage.outputs(config)),
            dynamic_axes={k: {i: a for i, a in enumerate(v) if isinstance(a, str)} for k, v in axes.items()},
            opset_version=OPSET,
            export_params=False,
            do_constant_folding=False,
            dynamo=False,
        )
        return onnx.load(traced)


def _fold(graph: onnx.GraphProto, weights: dict[str, np.ndarray]) -> None:
    """Computes nodes that only rearrange weights, such as the transposition in front of every matrix product."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in list(graph.node):
        inputs = [name for name in node.input if name]
        if any(n in weights for n in inputs) and all(n in weights or n in constants for n in inputs):
            values = {n: weights.get(n, constants.get(n)) for n in inputs}
            (result,) = ReferenceEvaluator(node).run(None, values)
            weights[node.output[0]] = np.ascontiguousarray(result)
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for name in set(weights) - used:
        del weights[name]
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def _name_axes(model: onnx.ModelProto, axes: Axes) -> None:
    """Gives the graph's inputs and outputs the axis letters of the manifest, and drops shapes that contradict them."""
    for value in (*model.graph.input, *model.graph.output):
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
            dim.Clear()
            if isinstance(axis, str):
                dim.dim_param = axis
            else:
                dim.dim_value = axis
    del model.graph.value_info[:]


def _save(model: onnx.ModelProto, weights: dict[str, np.ndarray], path: Path) -> GraphFiles:
    """Writes the graph; its late weights go inside when they are few, else to one file beside it."""
    data = None
    if sum(weight.nbytes for weight in weights.values()) > EXTERNAL_DATA_ABOVE:
        data = path.with_name(path.name + ".data")
        with data.open("wb") as file:
            for name, weight in weights.items():
                file.write(b"\0" * (-file.tell() % ALIGNMENT))
                model.graph.initializer.append(_external(name, weight, data.name, file.tell()))
                weight.tofile(file)
    else:
        model.graph.initializer.extend(numpy_helper.from_array(weight, name) for name, weight in weights.items())
    onnx.save(model, path)
    return GraphFiles(path, data)


def _external(name: str, weight: np.ndarray, location: str, offset: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name=name,
        dims=weight.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(weight.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in (("location", location), ("offset", offset), ("length", weight.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
