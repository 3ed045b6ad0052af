"""The three graphs of each masked transformer: condition (once per layer), backbone (every step), head.

Why this cut. The condition and the norm scales are fixed within a layer, so they are computed once for all its steps.
The backbone takes codes, not embeddings: with a table row for "masked" the whole input is one gather, and the loop
hands over a few kilobytes of integers per step. Rows carry a position and a segment: rows attend within their segment
only, so the guidance pair (prompt + target, and target alone) runs as one sequence without padding, as do several
utterances, with one GEMM over all rows. `rows` names the rows that are scored: the last block gives the others no
query and no MLP, and only they leave the graph. The head is apart because guidance mixes hidden states before it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from m8d.export.stages import Axes, Inputs, Stage, codes_of, frames_of, item_of, lengths_of
from m8d.export.wrappers import BackboneStage, HeadStage, S2AConditionStage, T2SConditionStage
from m8d.models.config import ModelConfig, S2AConfig, T2SConfig

PADDING = -1  # segment of rows that belong to no item
EXAMPLE_TIMES = 3  # diffusion times in an example; their number varies
NUM_PROMPT_ROWS = 2  # example guidance pairs hold this many rows more in the conditional segment


def _layers(config: S2AConfig | T2SConfig) -> int:
    return config.num_quantizer if isinstance(config, S2AConfig) else 1


def _codes(config: S2AConfig | T2SConfig) -> int:
    return config.codebook_size if isinstance(config, S2AConfig) else config.cond_codebook_size


def _norms(config: S2AConfig | T2SConfig) -> int:
    return 2 * config.num_layers + 1


def _times(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(EXAMPLE_TIMES, generator=generator)


def _backbone_example(config: S2AConfig | T2SConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
    """A guidance pair in each item: `pair` rows with a prompt, then the same target rows alone; later items padded."""
    target = frames_of(seconds)
    size = 2 * target + NUM_PROMPT_ROWS
    rows = torch.arange(size)
    pair = torch.where(rows < target + NUM_PROMPT_ROWS, 0, 1)
    positions = torch.where(pair == 0, rows, rows - target - NUM_PROMPT_ROWS)
    lengths = lengths_of(batch, size, shortest=1)
    codes = codes_of(generator, _codes(config) + 2, batch, size, _layers(config))
    return {
        "codes": codes,
        "condition": torch.randn(batch, size, config.hidden_size, generator=generator),
        "scales": 1 + 0.1 * torch.randn(batch, _norms(config), config.hidden_size, generator=generator),
        "positions": positions.expand(batch, -1).clone(),
        "segments": torch.where(rows < lengths[:, None], pair, PADDING),
        "rows": rows.flip(0).expand(batch, -1).clone() if batch == 1 else rows.expand(batch, -1).clone(),
    }


def _backbone_alone(inputs: Inputs, i: int) -> Inputs:
    item = item_of(inputs, i)
    size = int((item["segments"] != PADDING).sum())
    return {name: value if name == "scales" else value[:, :size] for name, value in item.items()}


def _with_shared(*shared: str) -> Callable[[Inputs, int], Inputs]:
    """Cuts out an item; the named inputs have no batch axis."""

    def alone(inputs: Inputs, i: int) -> Inputs:
        return {name: value if name in shared else value[i : i + 1] for name, value in inputs.items()}

    return alone


def masked_stages(name: str) -> tuple[Stage, Stage, Stage]:
    """The stages of `s2a_1layer`, `s2a_full` or `t2s`."""

    def of(config: ModelConfig) -> S2AConfig | T2SConfig:
        return getattr(config, name)

    def condition_inputs(config: ModelConfig) -> Axes:
        if name == "t2s":
            return {"phone_ids": ("B", "S"), "t": ("J",)}
        return {"semantic_codes": ("B", "S"), "layer": (1,), "t": ("J",)}

    def condition_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
        size, part = frames_of(seconds), of(config)
        if isinstance(part, T2SConfig):
            return {"phone_ids": codes_of(generator, part.num_phones, batch, size), "t": _times(generator)}
        return {
            "semantic_codes": codes_of(generator, part.cond_codebook_size, batch, size),
            "layer": torch.tensor([part.num_quantizer - 1]),
            "t": _times(generator),
        }

    def condition_outputs(config: ModelConfig) -> Axes:
        part = of(config)
        outputs: Axes = {
            "condition": ("B", "S", part.hidden_size),
            "scales": ("J", _norms(part), part.hidden_size),
        }
        if isinstance(part, T2SConfig) and part.duration_width:
            outputs["durations"] = ("B", "S")
        return outputs

    def backbone_inputs(config: ModelConfig) -> Axes:
        part = of(config)
        return {
            "codes": ("B", "S", _layers(part)),
            "condition": ("B", "S", part.hidden_size),
            "scales": ("B", _norms(part), part.hidden_size),
            "positions": ("B", "S"),
            "segments": ("B", "S"),
            "rows": ("B", "R"),
        }

    def head_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
        part = of(config)
        hidden = torch.randn(batch, frames_of(seconds), part.hidden_size, generator=generator)
        return {"hidden": hidden, "layer": torch.tensor([_layers(part) - 1])}

    return (
        Stage(
            f"{name}_condition",
            (name,),
            T2SConditionStage if name == "t2s" else S2AConditionStage,
            condition_inputs,
            condition_outputs,
            condition_example,
            _with_shared("layer", "t"),
        ),
        Stage(
            f"{name}_backbone",
            (name,),
            BackboneStage,
            backbone_inputs,
            lambda c: {"hidden": ("B", "R", of(c).hidden_size)},
            lambda c, batch, seconds, generator: _backbone_example(of(c), batch, seconds, generator),
            _backbone_alone,
            bidirectional="condition",
        ),
        Stage(
            f"{name}_head",
            (name,),
            HeadStage,
            lambda c: {"hidden": ("B", "R", of(c).hidden_size), "layer": (1,)},
            lambda c: {"logits": ("B", "R", _codes(of(c)))},
            head_example,
            _with_shared("layer"),
        ),
    )
