"""Sizes that have a name."""

from __future__ import annotations

from m8d.models.config import (
    AcousticDecoderConfig,
    AcousticEncoderConfig,
    ModelConfig,
    S2AConfig,
    SemanticCodecConfig,
    T2SConfig,
    W2VBertConfig,
)

# Small and odd on purpose: nothing here equals an official size, and no two sizes are equal by chance.
TOY = ModelConfig(
    semantic_layer=2,
    w2v_bert=W2VBertConfig(
        hidden_size=40,
        intermediate_size=72,
        num_attention_heads=5,
        num_hidden_layers=3,
        conv_depthwise_kernel_size=9,
        left_max_position_embeddings=11,
        right_max_position_embeddings=3,
    ),
    semantic_codec=SemanticCodecConfig(
        codebook_size=100,
        hidden_size=40,
        codebook_dim=8,
        vocos_dim=24,
        vocos_intermediate_dim=44,
        vocos_num_layers=3,
    ),
    acoustic_encoder=AcousticEncoderConfig(d_model=3, up_ratios=(4, 3, 8, 5), out_channels=20),
    acoustic_decoder=AcousticDecoderConfig(
        n_fft=960,
        hop_size=480,
        in_channels=20,
        num_quantizers=5,
        codebook_size=160,
        codebook_dim=6,
        vocos_dim=28,
        vocos_intermediate_dim=52,
        vocos_num_layers=2,
    ),
    s2a_1layer=S2AConfig(1, hidden_size=30, num_layers=2, num_heads=3, codebook_size=160, cond_codebook_size=100),
    s2a_full=S2AConfig(5, hidden_size=36, num_layers=3, num_heads=3, codebook_size=160, cond_codebook_size=100),
    t2s=T2SConfig(44, num_layers=2, num_heads=2, cond_codebook_size=100, num_phones=1024, duration_width=6),
)
PRESETS = {"official": ModelConfig(), "toy": TOY}
