"""A checkpoint folder in the published layout: checking, loading one stage at a time, random weights.

```
w2v-bert-2.0/{config.json, model.safetensors}
wav2vec2bert_stats.pt                     {"mean", "var"} of the semantic layer
semantic_codec/model.safetensors
acoustic_codec/model.safetensors          encoder
acoustic_codec/model_1.safetensors        quantizer and decoder
s2a_model/s2a_model_{1layer,full}/model.safetensors
t2s_model/model.safetensors
config.json                               ours; absent in the published repository, where official sizes apply
```
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from m8d.models.acoustic_codec import CodecDecoder, CodecEncoder
from m8d.models.config import ModelConfig
from m8d.models.errors import CheckpointError
from m8d.models.layers import fold_weight_norm
from m8d.models.masked import S2A, T2S
from m8d.models.rep_codec import RepCodec
from m8d.models.w2v_bert import W2VBert

STATS_FILE = "wav2vec2bert_stats.pt"
VOCABULARY_FILE = "models/tts/maskgct/g2p/g2p/vocab.json"  # as in Amphion's source tree; bundles do without


@dataclass(frozen=True)
class StageFile:
    """One weight file: where it lies, the module it fills, and tensors in it that no stage of ours reads."""

    path: str
    build: Callable[[ModelConfig], nn.Module]
    unused: str = "$^"


def _w2v_bert(config: ModelConfig) -> nn.Module:
    return W2VBert(config.w2v_bert, config.semantic_layer)


STAGES: dict[str, StageFile] = {
    # Layers past the semantic one, the training-time mask embedding and the adapters of fine-tuned variants.
    "w2v_bert": StageFile(
        "w2v-bert-2.0/model.safetensors", _w2v_bert, r"encoder\.layers\.\d+\..*|masked_spec_embed|adapter\..*"
    ),
    "semantic_codec": StageFile("semantic_codec/model.safetensors", lambda c: RepCodec(c.semantic_codec)),
    "acoustic_encoder": StageFile("acoustic_codec/model.safetensors", lambda c: CodecEncoder(c.acoustic_encoder)),
    "acoustic_decoder": StageFile("acoustic_codec/model_1.safetensors", lambda c: CodecDecoder(c.acoustic_decoder)),
    "s2a_1layer": StageFile(
        "s2a_model/s2a_model_1layer/model.safetensors", lambda c: S2A(c.s2a_1layer), r"diff_estimator\.embed_tokens.*"
    ),
    "s2a_full": StageFile(
        "s2a_model/s2a_model_full/model.safetensors", lambda c: S2A(c.s2a_full), r"diff_estimator\.embed_tokens.*"
    ),
    "t2s": StageFile("t2s_model/model.safetensors", lambda c: T2S(c.t2s)),
}


class Checkpoint:
    """Stages of the checkpoint in `folder`; `check` once, then `load` what is needed."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CheckpointError(
                f"No checkpoint at {self.folder}: expected a folder in the amphion/MaskGCT layout. "
                "Fetch one with `m8d-export download DIR`."
            )
        self.config = ModelConfig.from_checkpoint(self.folder)

    def check(self, stages: list[str] | None = None) -> None:
        """Compares every tensor's name and shape with what the config asks for, without reading the tensors."""
        problems = []
        for name in stages or list(STAGES):
            problems += self._problems(name)
        if not (self.folder / STATS_FILE).exists():
            problems.append(f"{STATS_FILE}: no such file")
        if problems:
            shown = "\n  ".join(problems[:12])
            more = f"\n  … and {len(problems) - 12} more" if len(problems) > 12 else ""
            raise CheckpointError(
                f"The checkpoint at {self.folder} does not fit its config:\n  {shown}{more}\n"
                "Restore the files with `m8d-export download`, or correct the sizes in config.json."
            )

    def _problems(self, name: str) -> list[str]:
        stage = STAGES[name]
        path = self.folder / stage.path
        if not path.exists():
            return [f"{stage.path}: no such file"]
        with torch.device("meta"):
            expected = {k: tuple(v.shape) for k, v in stage.build(self.config).state_dict().items()}
        try:
            with safe_open(path, framework="pt") as file:
                received = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            return [f"{stage.path}: not a whole safetensors file ({error})"]
        wrong = [f"{stage.path}: {k} is missing, expected shape {v}" for k, v in expected.items() if k not in received]
        wrong += [
            f"{stage.path}: {k} has shape {received[k]}, expected {v}"
            for k, v in expected.items()
            if k in received and received[k] != v
        ]
        unknown = [k for k in received if k not in expected and not re.fullmatch(stage.unused, k)]
        return wrong + [f"{stage.path}: unknown tensor {k} of shape {received[k]}" for k in unknown]

    def load(self, name: str) -> nn.Module:
        """The module of stage `name` (a key of `STAGES`) in float32, weight norm folded, ready for inference."""
        stage = STAGES[name]
        problems = self._problems(name)
        if problems:
            raise CheckpointError(f"Cannot load {name} from {self.folder}: {'; '.join(problems[:4])}.")
        with torch.device("meta"):
            module = stage.build(self.config)
        wanted = module.state_dict()
        weights = {k: v.float() for k, v in load_file(self.folder / stage.path).items() if k in wanted}
        module.load_state_dict(weights, assign=True)
        _materialise_buffers(module, stage.build, self.config)
        return fold_weight_norm(module.eval().requires_grad_(False))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `(H,)` of the semantic layer's features."""
        path = self.folder / STATS_FILE
        if not path.exists():
            raise CheckpointError(f"{path}: no such file. Fetch it with `m8d-export download`.")
        stats = torch.load(path, map_location="cpu", weights_only=True)
        mean, std = stats["mean"].float(), stats["var"].float().sqrt()
        width = self.config.w2v_bert.hidden_size
        if mean.shape != (width,) or std.shape != (width,):
            raise CheckpointError(f"{path}: received shape {tuple(mean.shape)}, expected ({width},).")
        return mean, std


def _materialise_buffers(module: nn.Module, build: Callable[[ModelConfig], nn.Module], config: ModelConfig) -> None:
    """Buffers that no file stores (the inverse-DFT basis) are still on the meta device: compute them."""
    for owner_name, owner in module.named_modules():
        missing = [name for name, buffer in owner.named_buffers(recurse=False) if buffer.is_meta]
        if missing:
            fresh = build(config).get_submodule(owner_name)
            for name in missing:
                setattr(owner, name, fresh.get_buffer(name))


def _enliven(module: nn.Module) -> None:
    """Wide embeddings and heads: at their small initial values every frame would be given the same code."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight)
        elif "to_logit" in name and isinstance(part, nn.Linear):
            part.weight.mul_(8.0)


def write_random_checkpoint(folder: Path, config: ModelConfig, seed: int = 0) -> Path:
    """Writes a checkpoint of these sizes with seeded random weights, one stage in memory at a time."""
    config.write(folder)
    for number, stage in enumerate(STAGES.values()):
        torch.manual_seed(seed * len(STAGES) + number)
        with torch.no_grad():
            module = stage.build(config)
            _enliven(module)
        path = folder / stage.path
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)
    generator = torch.Generator().manual_seed(seed)
    width = config.w2v_bert.hidden_size
    stats = {"mean": 0.1 * torch.randn(width, generator=generator), "var": torch.rand(width, generator=generator) + 0.5}
    torch.save(stats, folder / STATS_FILE)
    return folder
