"""torch module → ONNX file."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxslim
import torch
from onnx.external_data_helper import convert_model_to_external_data

from m8d.export.stages import Stage
from m8d.models.config import ModelConfig

OPSET = 20  # the first with Gelu; TensorRT 11 and ONNX Runtime 1.17 read it
# Weights above this lie beside the graph, where the runtime maps them instead of parsing and copying them.
EXTERNAL_DATA_ABOVE = 16 * 2**20  # bytes


@dataclass(frozen=True)
class GraphFiles:
    graph: Path
    data: Path | None  # weights, where they are not inside the graph


def export_graph(stage: Stage, module: torch.nn.Module, config: ModelConfig, folder: Path) -> GraphFiles:
    """Writes `folder/<stage>.onnx`, with `.onnx.data` beside it for large weights. All letter axes stay dynamic.

    Uses torch's tracing exporter: its torch.export-based successor gives the same graphs but takes 20 times as long on
    symbolic shapes (145 s against 8 s for all stages at toy size). What tracing could get wrong, a length or a batch
    frozen into the graph, is what the parity check sweeps.
    """
    example = stage.example(config, 2, 0.5, torch.Generator().manual_seed(0))
    axes = {**stage.inputs(config), **stage.outputs(config)}
    with tempfile.TemporaryDirectory(dir=folder) as scratch, warnings.catch_warnings():
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
            dynamo=False,
        )
        model = onnx.load(traced)
    return save_graph(name_axes(onnxslim.slim(model), axes), folder / f"{stage.name}.onnx")


def name_axes(model: onnx.ModelProto, axes: dict[str, tuple[str | int, ...]]) -> onnx.ModelProto:
    """Gives the graph's inputs and outputs the axis letters of the manifest, and drops what depends on others."""
    for value in (*model.graph.input, *model.graph.output):
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
            dim.Clear()
            if isinstance(axis, str):
                dim.dim_param = axis
            else:
                dim.dim_value = axis
    del model.graph.value_info[:]
    return model


def save_graph(model: onnx.ModelProto, path: Path) -> GraphFiles:
    """Writes the graph, its large weights to one file beside it."""
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    data = path.with_name(path.name + ".data") if weights > EXTERNAL_DATA_ABOVE else None
    if data:
        data.unlink(missing_ok=True)  # onnx appends
        convert_model_to_external_data(model, location=data.name)
    onnx.save(model, path)
    return GraphFiles(path, data)
