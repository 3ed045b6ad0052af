"""Sizes of every stage; the defaults are those of the published MaskGCT and W2V-BERT 2.0 checkpoints."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from m8d.models.errors import CheckpointError

Config = TypeVar("Config")


@dataclass(frozen=True)
class W2VBertConfig:
    """`w2v-bert-2.0/config.json` as Hugging Face names it; only the keys that the forward pass reads."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_attention_heads: int = 16
    num_hidden_layers: int = 24
    conv_depthwise_kernel_size: int = 31
    feature_projection_input_dim: int = 160
    left_max_position_embeddings: int = 64
    right_max_position_embeddings: int = 8
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True)
class SemanticCodecConfig:
    """RepCodec: features of `hidden_size` to `codebook_dim` numbers per frame, then one of `codebook_size` codes."""

    codebook_size: int = 8192
    hidden_size: int = 1024
    codebook_dim: int = 8
    vocos_dim: int = 384
    vocos_intermediate_dim: int = 2048
    vocos_num_layers: int = 12


@dataclass(frozen=True)
class AcousticEncoderConfig:
    d_model: int = 96
    up_ratios: tuple[int, ...] = (3, 4, 5, 8)
    out_channels: int = 256


@dataclass(frozen=True)
class AcousticDecoderConfig:
    n_fft: int = 1920
    hop_size: int = 480
    in_channels: int = 256
    num_quantizers: int = 12
    codebook_size: int = 1024
    codebook_dim: int = 8
    vocos_dim: int = 512
    vocos_intermediate_dim: int = 4096
    vocos_num_layers: int = 30


@dataclass(frozen=True)
class S2AConfig:
    num_quantizer: int
    hidden_size: int = 1024
    num_layers: int = 16
    num_heads: int = 16
    codebook_size: int = 1024
    cond_codebook_size: int = 8192


@dataclass(frozen=True)
class T2SConfig:
    hidden_size: int = 1536
    num_layers: int = 16
    num_heads: int = 16
    cond_codebook_size: int = 8192
    num_phones: int = 1024
    duration_width: int = 0  # of the duration predictor, which MaskGCT's T2S does not have


@dataclass(frozen=True)
class ModelConfig:
    """All stages of one checkpoint.

    `sampling` and `speaking` have what suits its weights better than the reference's defaults, see
    `m8d.engines.bundle.SamplingDefaults` and `SpeakingDefaults`.
    """

    semantic_layer: int = 17
    w2v_bert: W2VBertConfig = field(default_factory=W2VBertConfig)
    semantic_codec: SemanticCodecConfig = field(default_factory=SemanticCodecConfig)
    acoustic_encoder: AcousticEncoderConfig = field(default_factory=AcousticEncoderConfig)
    acoustic_decoder: AcousticDecoderConfig = field(default_factory=AcousticDecoderConfig)
    s2a_1layer: S2AConfig = field(default_factory=lambda: S2AConfig(num_quantizer=1))
    s2a_full: S2AConfig = field(default_factory=lambda: S2AConfig(num_quantizer=12))
    t2s: T2SConfig = field(default_factory=T2SConfig)
    sampling: dict[str, Any] = field(default_factory=dict)
    speaking: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        decoder, encoder = self.acoustic_decoder, self.acoustic_encoder
        hop = 1
        for ratio in encoder.up_ratios:
            hop *= ratio
        semantic = (self.semantic_codec.codebook_size, self.s2a_1layer.cond_codebook_size,
                    self.s2a_full.cond_codebook_size, self.t2s.cond_codebook_size)  # fmt: skip
        acoustic = (decoder.codebook_size, self.s2a_1layer.codebook_size, self.s2a_full.codebook_size)
        rules = (
            (decoder.n_fft % decoder.hop_size == 0, "n_fft is a multiple of hop_size", decoder.n_fft),
            (hop == decoder.hop_size, "the product of up_ratios equals hop_size", encoder.up_ratios),
            (encoder.out_channels == decoder.in_channels, "encoder and decoder channels agree", encoder.out_channels),
            (self.s2a_full.num_quantizer == decoder.num_quantizers, "S2A and codec have as many quantizers",
             self.s2a_full.num_quantizer),
            (self.s2a_1layer.num_quantizer == 1, "the 1-layer S2A has one quantizer", self.s2a_1layer.num_quantizer),
            (len(set(semantic)) == 1, "all stages have one semantic codebook size", semantic),
            (len(set(acoustic)) == 1, "all stages have one acoustic codebook size", acoustic),
            (self.semantic_codec.hidden_size == self.w2v_bert.hidden_size, "codec and W2V-BERT widths agree",
             self.semantic_codec.hidden_size),
            (0 < self.semantic_layer <= self.w2v_bert.num_hidden_layers, "semantic_layer is a layer of W2V-BERT",
             self.semantic_layer),
        )  # fmt: skip
        for holds, rule, received in rules:
            if not holds:
                raise CheckpointError(f"config.json is inconsistent: expected that {rule}, received {received}.")

    @classmethod
    def from_checkpoint(cls, folder: Path) -> ModelConfig:
        """Sizes from `config.json` and `w2v-bert-2.0/config.json` in `folder`, official ones where a file is absent."""
        ours = _read_json(folder / "config.json")
        model = ours.get("model", {})
        s2a, codec = model.get("s2a_model", {}), model.get("acoustic_codec", {})
        return cls(
            semantic_layer=ours.get("semantic_layer", 17),
            w2v_bert=_pick(W2VBertConfig, _read_json(folder / "w2v-bert-2.0" / "config.json")),
            semantic_codec=_pick(SemanticCodecConfig, model.get("semantic_codec", {})),
            acoustic_encoder=_pick(AcousticEncoderConfig, codec.get("encoder", {})),
            acoustic_decoder=_pick(AcousticDecoderConfig, codec.get("decoder", {})),
            s2a_1layer=_pick(S2AConfig, {"num_quantizer": 1, **s2a.get("s2a_1layer", {})}),
            s2a_full=_pick(S2AConfig, {"num_quantizer": 12, **s2a.get("s2a_full", {})}),
            t2s=_pick(T2SConfig, model.get("t2s_model", {})),
            sampling=ours.get("sampling", {}),
            speaking=ours.get("speaking", {}),
        )

    def write(self, folder: Path) -> None:
        """Writes the two config files that `from_checkpoint` reads."""
        bert = folder / "w2v-bert-2.0"
        bert.mkdir(parents=True, exist_ok=True)
        ours: dict[str, Any] = {
            "semantic_layer": self.semantic_layer,
            "model": {
                "t2s_model": dataclasses.asdict(self.t2s),
                "s2a_model": {
                    "s2a_1layer": dataclasses.asdict(self.s2a_1layer),
                    "s2a_full": dataclasses.asdict(self.s2a_full),
                },
                "semantic_codec": dataclasses.asdict(self.semantic_codec),
                "acoustic_codec": {
                    "encoder": dataclasses.asdict(self.acoustic_encoder),
                    "decoder": dataclasses.asdict(self.acoustic_decoder),
                },
            },
        }
        ours |= {name: own for name in ("sampling", "speaking") if (own := getattr(self, name))}
        (folder / "config.json").write_text(json.dumps(ours, indent=2) + "\n")
        (bert / "config.json").write_text(json.dumps(dataclasses.asdict(self.w2v_bert), indent=2) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"Cannot read {path}: {error}. Expected a JSON object; restore the file.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Cannot use {path}: received {type(content).__name__}, expected a JSON object.")
    return content


def _pick(config: type[Config], values: dict[str, Any]) -> Config:
    names = {f.name for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names}
    return config(**known)
