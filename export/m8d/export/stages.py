"""What is exported: each graph's weights, its inputs and outputs by name and axis, and example inputs.

Axes: B batch, N samples, T frames, S rows, R scored rows, J diffusion times; H width, K codes, L layers, M norms.
Graph inputs and outputs are float32 and int64 in every precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m8d.export.wrappers import (
    AcousticDecoderStage,
    AcousticEncoderStage,
    GuidanceStage,
    SemanticEncoderStage,
    SemanticQuantizerStage,
    W2VBertStage,
)
from m8d.models.checkpoint import Checkpoint
from m8d.models.config import ModelConfig
from m8d.models.front_end import MIN_SAMPLES, SAMPLE_RATE, FrontEnd

Inputs = dict[str, Tensor]
Axes = dict[str, tuple[str | int, ...]]

ACOUSTIC_SAMPLE_RATE = 24000  # Hz
FRAME_RATE = 50  # Hz
HOP = ACOUSTIC_SAMPLE_RATE // FRAME_RATE  # samples


@dataclass(frozen=True)
class Stage:
    """A graph to export.

    `example(config, batch, seconds, generator)` makes inputs; items of a batch have different lengths where the stage
    takes lengths. `alone(inputs, i)` cuts item i out without its padding. `bidirectional` asks that the last frame
    reaches the first output.
    """

    name: str
    weights: tuple[str, ...]
    wrap: Callable[..., nn.Module]
    inputs: Callable[[ModelConfig], Axes]
    outputs: Callable[[ModelConfig], Axes]
    example: Callable[[ModelConfig, int, float, torch.Generator], Inputs]
    alone: Callable[[Inputs, int], Inputs]
    bidirectional: str | None = None  # the input whose last frame is changed

    def module(self, checkpoint: Checkpoint, loaded: dict[str, nn.Module]) -> nn.Module:
        """Wraps the modules in `loaded`, loading those that are not there yet."""
        for name in self.weights:
            if name not in loaded:
                loaded[name] = checkpoint.load(name)
        extra = checkpoint.statistics() if self.name == "w2v_bert" else ()
        return self.wrap(*(loaded[name] for name in self.weights), *extra).eval().requires_grad_(False)


def lengths_of(batch: int, longest: int, shortest: int = 1) -> Tensor:
    """Falling lengths: the first item fills the batch, the others are padded."""
    return torch.tensor([max(shortest, longest * (batch - i) // batch) for i in range(batch)])


def frames_of(seconds: float) -> int:
    return max(1, round(seconds * FRAME_RATE))


def codes_of(generator: torch.Generator, size: int, *shape: int) -> Tensor:
    return torch.randint(0, size, shape, generator=generator)


def _speechlike(generator: torch.Generator, batch: int, samples: int) -> Tensor:
    """Noise under a slow envelope: enough dynamic range to exercise the log, without a file."""
    noise = torch.randn(batch, samples, generator=generator)
    envelope = torch.sin(torch.arange(samples) * 0.0007).abs() + 0.02
    return 0.1 * noise * envelope


def _pcm(rate: int, shortest: int) -> Callable[[ModelConfig, int, float, torch.Generator], Inputs]:
    def example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
        samples = max(shortest, round(seconds * rate)) + 7  # no multiple of any hop
        return {"pcm": _speechlike(generator, batch, samples), "lengths": lengths_of(batch, samples, shortest)}

    return example


def item_of(inputs: Inputs, i: int) -> Inputs:
    return {name: value[i : i + 1] for name, value in inputs.items()}


def _crop(lengths: str, *padded: str) -> Callable[[Inputs, int], Inputs]:
    def alone(inputs: Inputs, i: int) -> Inputs:
        item = item_of(inputs, i)
        size = int(item[lengths][0])
        return {name: value[:, :size] if name in padded else value for name, value in item.items()}

    return alone


def _w2v_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
    time = frames_of(seconds)
    mask = (torch.arange(time) < lengths_of(batch, time)[:, None]).long()
    width = config.w2v_bert.feature_projection_input_dim
    return {"input_features": torch.randn(batch, time, width, generator=generator), "attention_mask": mask}


def _w2v_alone(inputs: Inputs, i: int) -> Inputs:
    size = int(inputs["attention_mask"][i].sum())
    return {name: value[:, :size] for name, value in item_of(inputs, i).items()}


def _features_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
    time, width = frames_of(seconds), config.w2v_bert.hidden_size
    return {"features": torch.randn(batch, time, width, generator=generator), "frames": lengths_of(batch, time)}


def _latents_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
    return {"latents": torch.randn(batch, frames_of(seconds), config.semantic_codec.codebook_dim, generator=generator)}


def _codes_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
    time, decoder = frames_of(seconds), config.acoustic_decoder
    codes = codes_of(generator, decoder.codebook_size, batch, time, decoder.num_quantizers)
    return {"acoustic_codes": codes, "frames": lengths_of(batch, time)}


def _guidance_example(config: ModelConfig, batch: int, seconds: float, generator: torch.Generator) -> Inputs:
    shape = (batch, frames_of(seconds), config.s2a_full.hidden_size)
    return {
        "conditional": torch.randn(*shape, generator=generator),
        "unconditional": torch.randn(*shape, generator=generator),
        "guidance": torch.tensor([2.5]),
        "rescale": torch.tensor([0.75]),
    }


def _guidance_alone(inputs: Inputs, i: int) -> Inputs:
    item = item_of(inputs, i)
    return {**item, "guidance": inputs["guidance"], "rescale": inputs["rescale"]}


CODEC_STAGES = (
    Stage(
        "front_end",
        (),
        FrontEnd,
        lambda c: {"pcm": ("B", "N"), "lengths": ("B",)},
        lambda c: {
            "input_features": ("B", "T", c.w2v_bert.feature_projection_input_dim),
            "attention_mask": ("B", "T"),
            "frames": ("B",),
        },
        _pcm(SAMPLE_RATE, MIN_SAMPLES),
        _crop("lengths", "pcm"),
        bidirectional="pcm",
    ),
    Stage(
        "w2v_bert",
        ("w2v_bert",),
        W2VBertStage,
        lambda c: {
            "input_features": ("B", "T", c.w2v_bert.feature_projection_input_dim),
            "attention_mask": ("B", "T"),
        },
        lambda c: {"features": ("B", "T", c.w2v_bert.hidden_size)},
        _w2v_example,
        _w2v_alone,
        bidirectional="input_features",
    ),
    Stage(
        "semantic_encoder",
        ("semantic_codec",),
        SemanticEncoderStage,
        lambda c: {"features": ("B", "T", c.w2v_bert.hidden_size), "frames": ("B",)},
        lambda c: {"latents": ("B", "T", c.semantic_codec.codebook_dim)},
        _features_example,
        _crop("frames", "features"),
        bidirectional="features",
    ),
    Stage(
        "semantic_quantizer",
        ("semantic_codec",),
        SemanticQuantizerStage,
        lambda c: {"latents": ("B", "T", c.semantic_codec.codebook_dim)},
        lambda c: {"semantic_codes": ("B", "T"), "semantic_codes_euclidean": ("B", "T")},
        _latents_example,
        item_of,
    ),
    Stage(
        "acoustic_encoder",
        ("acoustic_encoder", "acoustic_decoder"),
        AcousticEncoderStage,
        lambda c: {"pcm": ("B", "N"), "lengths": ("B",)},
        lambda c: {
            "acoustic_codes": ("B", "T", c.acoustic_decoder.num_quantizers),
            "acoustic_embedding": ("B", "T", c.acoustic_encoder.out_channels),
        },
        _pcm(ACOUSTIC_SAMPLE_RATE, HOP),
        _crop("lengths", "pcm"),
        bidirectional="pcm",
    ),
    Stage(
        "acoustic_decoder",
        ("acoustic_decoder",),
        AcousticDecoderStage,
        lambda c: {"acoustic_codes": ("B", "T", c.acoustic_decoder.num_quantizers), "frames": ("B",)},
        lambda c: {"pcm": ("B", "N")},
        _codes_example,
        _crop("frames", "acoustic_codes"),
        bidirectional="acoustic_codes",
    ),
    Stage(
        "guidance",
        (),
        GuidanceStage,
        lambda c: {
            "conditional": ("B", "T", "H"),
            "unconditional": ("B", "T", "H"),
            "guidance": (1,),
            "rescale": (1,),
        },
        lambda c: {"guided": ("B", "T", "H")},
        _guidance_example,
        _guidance_alone,
    ),
)
