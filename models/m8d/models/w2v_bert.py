"""W2V-BERT 2.0 up to a hidden layer (`facebook/w2v-bert-2.0`, arXiv 2108.06209), inference only.

B batch, T frames (50 Hz), H width, A heads, R relative distances.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m8d.models.config import W2VBertConfig

MASKED = -1e30  # added to the scores of padded keys; finite so that a row of padding has no NaN


class FeatureProjection(nn.Module):
    def __init__(self, config: W2VBertConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.feature_projection_input_dim, eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.feature_projection_input_dim, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class FeedForward(nn.Module):
    def __init__(self, config: W2VBertConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.silu(self.intermediate_dense(x)))


class SelfAttention(nn.Module):
    """Attention with a bias `q · E[clamp(j - i)]` (Shaw et al., arXiv 1803.02155).

    The products with the R distances are taken once and then shifted into place row by row, so memory grows with
    T · T and never with T · T · H.
    """

    def __init__(self, config: W2VBertConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // self.heads
        self.left, self.right = config.left_max_position_embeddings, config.right_max_position_embeddings
        self.linear_q = nn.Linear(config.hidden_size, config.hidden_size)
        self.linear_k = nn.Linear(config.hidden_size, config.hidden_size)
        self.linear_v = nn.Linear(config.hidden_size, config.hidden_size)
        self.linear_out = nn.Linear(config.hidden_size, config.hidden_size)
        self.distance_embedding = nn.Embedding(self.left + self.right + 1, self.head_size)

    def forward(self, x: Tensor, key_bias: Tensor) -> Tensor:  # (B, T, H), (B, 1, 1, T) → (B, T, H)
        batch, time, _ = x.shape
        query, key, value = (
            linear(x).reshape(batch, time, self.heads, self.head_size).transpose(1, 2)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        query = query * self.head_size**-0.5
        scores = query @ key.transpose(2, 3) + self.distance_bias(query) + key_bias
        return self.linear_out((scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, time, -1))

    def distance_bias(self, query: Tensor) -> Tensor:  # (B, A, T, head) → (B, A, T, T)
        batch, heads, time, _ = query.shape
        # Columns -(T-1) … T of row i, then a skew: with rows of width 2T read as rows of width 2T - 1, column
        # j - i + T - 1 of row i comes to stand at column j.
        distance = torch.arange(2 * time, device=query.device) - (time - 1)
        product = query @ self.distance_embedding.weight.T  # (B, A, T, R)
        spread = product[..., distance.clamp(-self.left, self.right) + self.left]  # (B, A, T, 2T)
        flat = spread.reshape(batch, heads, 2 * time * time)[..., time - 1 : 2 * time * time - 1]
        return flat.reshape(batch, heads, time, 2 * time - 1)[..., :time]


class ConvolutionModule(nn.Module):
    """Gated causal depthwise convolution; padded frames are zeroed before it."""

    def __init__(self, config: W2VBertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(width, width, config.conv_depthwise_kernel_size, groups=width, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # (B, T, H), (B, T, 1) → (B, T, H)
        x = self.layer_norm(x) * mask
        x = F.glu(F.linear(x, self.pointwise_conv1.weight[..., 0]), dim=-1)
        x = F.pad(x.transpose(1, 2), (self.depthwise_conv.kernel_size[0] - 1, 0))
        x = F.silu(self.depthwise_layer_norm(self.depthwise_conv(x).transpose(1, 2)))
        return F.linear(x, self.pointwise_conv2.weight[..., 0])


class ConformerLayer(nn.Module):
    def __init__(self, config: W2VBertConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.ffn1_layer_norm = nn.LayerNorm(width, eps=eps)
        self.ffn1 = FeedForward(config)
        self.self_attn_layer_norm = nn.LayerNorm(width, eps=eps)
        self.self_attn = SelfAttention(config)
        self.conv_module = ConvolutionModule(config)
        self.ffn2_layer_norm = nn.LayerNorm(width, eps=eps)
        self.ffn2 = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, mask: Tensor, key_bias: Tensor) -> Tensor:
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.self_attn(self.self_attn_layer_norm(x), key_bias)
        x = x + self.conv_module(x, mask)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x)


class _Encoder(nn.Module):
    def __init__(self, config: W2VBertConfig, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(num_layers))


class W2VBert(nn.Module):
    """The first `num_layers` layers; later ones do not reach the semantic layer's output."""

    def __init__(self, config: W2VBertConfig, num_layers: int) -> None:
        super().__init__()
        self.feature_projection = FeatureProjection(config)
        self.encoder = _Encoder(config, num_layers)

    def forward(self, input_features: Tensor, attention_mask: Tensor) -> Tensor:
        """`input_features (B, T, 160)`, `attention_mask (B, T)` of 0 and 1 → hidden state `(B, T, H)`."""
        mask = attention_mask.to(input_features.dtype)[:, :, None]
        key_bias = (1.0 - mask[:, None, None, :, 0]) * MASKED
        x = self.feature_projection(input_features) * mask
        for layer in self.encoder.layers:
            x = layer(x, mask, key_bias)
        return x
