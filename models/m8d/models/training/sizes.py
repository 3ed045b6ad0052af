"""Sizes of the small checkpoint: the official architecture at about a hundredth of its parameters."""

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

SEMANTIC_CODES = 512
ACOUSTIC_CODES = 512
QUANTIZERS = 4  # of eight, the last four changed neither words nor voice

SMALL = ModelConfig(
    semantic_layer=4,
    w2v_bert=W2VBertConfig(
        hidden_size=144, intermediate_size=432, num_attention_heads=4, num_hidden_layers=4,
        conv_depthwise_kernel_size=15, left_max_position_embeddings=32, right_max_position_embeddings=8,
    ),
    semantic_codec=SemanticCodecConfig(
        codebook_size=SEMANTIC_CODES, hidden_size=144, vocos_dim=128, vocos_intermediate_dim=384, vocos_num_layers=3
    ),
    acoustic_encoder=AcousticEncoderConfig(d_model=8, up_ratios=(6, 5, 4, 4), out_channels=160),
    acoustic_decoder=AcousticDecoderConfig(
        n_fft=960, in_channels=160, num_quantizers=QUANTIZERS, codebook_size=ACOUSTIC_CODES, vocos_dim=224,
        vocos_intermediate_dim=672, vocos_num_layers=6,
    ),
    s2a_1layer=S2AConfig(1, 160, 5, 4, ACOUSTIC_CODES, SEMANTIC_CODES),
    s2a_full=S2AConfig(QUANTIZERS, 160, 5, 4, ACOUSTIC_CODES, SEMANTIC_CODES),
    t2s=T2SConfig(160, 6, 4, SEMANTIC_CODES, 64, duration_width=64),
    # A small model is surer of its likeliest codes than of the rest: heat costs words, and guidance beyond the text's.
    sampling={"coarse_steps": 5, "fine_steps": [3, 1, 1], "fine_guidance": 0.0, "temperature": 0.2,
              "top_k_ratio": 0.01},
    speaking={"steps": 16, "guidance": 0.75, "temperature": 0.1, "s2a_coarse_steps": 5, "s2a_fine_steps": [3, 1, 1],
              "s2a_coarse_guidance": 0.0, "s2a_fine_guidance": 0.0},
)  # fmt: skip
