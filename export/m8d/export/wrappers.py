"""One module per graph: the model classes behind the inputs and outputs that a bundle promises.

B batch, N samples, T frames, S rows, R scored rows, J diffusion times; D 8, K codes, L layers, M norms.
"""

from __future__ import annotations

from torch import Tensor, nn

from m8d.models.diff_llama import guide
from m8d.models.masked import embed_codes


class W2VBertStage(nn.Module):
    def __init__(self, bert: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.bert = bert
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, input_features: Tensor, attention_mask: Tensor) -> Tensor:
        return (self.bert(input_features, attention_mask) - self.mean) / self.std


class SemanticEncoderStage(nn.Module):
    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        return self.codec.latents(features, frames)


class SemanticQuantizerStage(nn.Module):
    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.quantizer = codec.vector_quantizer

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return self.quantizer.nearest_cosine(latents), self.quantizer.nearest_euclidean(latents)


class AcousticEncoderStage(nn.Module):
    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.quantizer = encoder, decoder.quantizer

    def forward(self, pcm: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.encoder(pcm, lengths)
        return self.quantizer.encode(embedding), embedding.transpose(1, 2)


class AcousticDecoderStage(nn.Module):
    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, acoustic_codes: Tensor, frames: Tensor) -> Tensor:
        return self.decoder(acoustic_codes, frames)


class S2AConditionStage(nn.Module):
    """What is fixed within a layer: the condition of every row and the norm scales of every step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, semantic_codes: Tensor, layer: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.condition(semantic_codes, layer), self.model.diff_estimator.scales(t)


class T2SConditionStage(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, phone_ids: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        fixed = self.model.condition(phone_ids), self.model.diff_estimator.scales(t)
        return (*fixed, self.model.durations(phone_ids)) if self.model.has_durations else fixed


class BackboneStage(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.diff_estimator
        self.register_buffer("table", model.embedding_table())

    def forward(self, codes: Tensor, condition: Tensor, scales: Tensor, positions: Tensor, segments: Tensor,
                rows: Tensor) -> Tensor:  # fmt: skip
        x = embed_codes(self.table, codes) + condition
        return self.backbone(x, scales, positions, segments, rows)


class HeadStage(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        weight, bias = model.heads()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, hidden: Tensor, layer: Tensor) -> Tensor:
        return hidden @ self.weight[layer][0] + self.bias[layer]


class GuidanceStage(nn.Module):
    def forward(self, conditional: Tensor, unconditional: Tensor, guidance: Tensor, rescale: Tensor) -> Tensor:
        return guide(conditional, unconditional, guidance, rescale)
