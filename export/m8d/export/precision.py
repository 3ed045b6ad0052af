"""What `--precision` means for each stage, and how far from the checkpoint's module it may take the stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from m8d.export.half import to_bf16, to_fp16
from m8d.export.quantize import quantize_dynamic, store_fp16, store_int8

# Changes a graph and the weights that are kept beside it, both in place; the weights become its initialisers.
Rewrite = Callable[[onnx.ModelProto, dict[str, np.ndarray]], None]


@dataclass(frozen=True)
class Precision:
    """A rewrite, and the limits of the parity check that go with it.

    `max_error` is max |Δ| over the largest magnitude, `min_agreement` the share of equal codes. Graphs with `half`
    arithmetic are checked with every half value rounded explicitly, see `rounded_in_fp32`.
    """

    rewrite: Rewrite | None
    max_error: float
    min_agreement: float
    half: bool = False


PRECISIONS = {
    "fp32": Precision(None, 1e-4, 0.99),
    "fp16": Precision(to_fp16, 5e-3, 0.99, half=True),
    "bf16": Precision(to_bf16, 3e-2, 0.99, half=True),
    "fp16-storage": Precision(store_fp16, 5e-3, 0.95),
    "int8-storage": Precision(store_int8, 0.1, 0.8),
    "int8": Precision(quantize_dynamic, 0.15, 0.8),
}
CHOICES = ("fp32", "fp16", "bf16", "fp16-storage", "int8-storage", "int8")

# No weights, or constants of a transform whose logarithm or nearest-neighbour search shows every rounding.
EXACT_STAGES = ("front_end", "semantic_quantizer", "guidance")
# Not in half precision. Heads are small and their logits are compared with each other; the acoustic encoder runs once
# for a voice, and measured, its sin² amplifies rounding until 3% (FP16) or 11% (BF16) of its codes change.
FULL_STAGES = ("acoustic_encoder", "s2a_1layer_head", "s2a_full_head", "t2s_head")
# The stages that are one stack of large products.
DYNAMIC_STAGES = ("w2v_bert", "s2a_1layer_backbone", "s2a_full_backbone", "t2s_backbone")
CONDITION_STAGES = ("s2a_1layer_condition", "s2a_full_condition", "t2s_condition")


def stage_precision(choice: str, stage: str) -> str:
    """The precision that `stage` gets in a bundle of precision `choice`."""
    if stage in EXACT_STAGES:
        return "fp32"
    if PRECISIONS[choice].half and stage in FULL_STAGES:
        return "fp32"
    if choice in ("int8", "int8-storage") and stage not in DYNAMIC_STAGES:
        return "int8-storage" if stage in CONDITION_STAGES else "fp16-storage"
    return choice
