"""Options of masked decoding and of the prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from m8d.engines.bundle import Manifest
from m8d.engines.errors import check_options

LATENT_METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class SamplingOptions:
    """What shapes a decoding besides its inputs; `SamplingOptions.of(manifest)` has the bundle's defaults.

    Attributes:
        coarse_steps: steps of the 1-layer model, ≥ 1.
        fine_steps: steps of each later layer in the full model, each ≥ 1.
        coarse_guidance, fine_guidance: classifier-free guidance of the two models, ≥ 0; 0 is none.
        rescale: share of the guided hidden states brought back to their unguided deviation, 0 … 1.
        temperature: of sampling at the first step, > 0; it falls with the steps.
        top_k_ratio: share of the codes that can be sampled, in (0, 1].
        prompt_seconds: how much of the reference voice is used, ≥ 0; 0 is no prompt.
        latent_metric: `cosine`, as the codec was trained; `euclidean` reproduces the reference wrapper's decoder.
        seed: of the noise, 0 … 2**64 - 1.
        guided_layers: how many layers of the full model, from its first, are guided; None is all.
        prompt_within_target: use no more of the voice than the target is long, as the reference's conversion does;
            its text to speech uses all of the voice.
    """

    coarse_steps: int
    fine_steps: tuple[int, ...]
    coarse_guidance: float
    fine_guidance: float
    rescale: float
    temperature: float
    top_k_ratio: float
    prompt_seconds: float
    latent_metric: str
    seed: int = 0
    guided_layers: int | None = None
    prompt_within_target: bool = True

    def __post_init__(self) -> None:
        rules = (
            ("coarse_steps", self.coarse_steps, self.coarse_steps >= 1, "at least 1"),
            ("fine_steps", self.fine_steps, all(n >= 1 for n in self.fine_steps), "each at least 1"),
            ("coarse_guidance", self.coarse_guidance, self.coarse_guidance >= 0, "0 (none) or more"),
            ("fine_guidance", self.fine_guidance, self.fine_guidance >= 0, "0 (none) or more"),
            ("rescale", self.rescale, 0 <= self.rescale <= 1, "0 to 1"),
            ("temperature", self.temperature, self.temperature > 0, "more than 0"),
            ("top_k_ratio", self.top_k_ratio, 0 < self.top_k_ratio <= 1, "more than 0, at most 1"),
            ("prompt_seconds", self.prompt_seconds, self.prompt_seconds >= 0, "0 (no prompt) or more"),
            ("latent_metric", self.latent_metric, self.latent_metric in LATENT_METRICS, " or ".join(LATENT_METRICS)),
            ("seed", self.seed, 0 <= self.seed < 2**64, "0 to 2**64 - 1"),
            ("guided_layers", self.guided_layers, (self.guided_layers or 0) >= 0, "0 (none) or more"),
        )
        check_options("Sampling option", rules)

    def guidance_of(self, layer: int) -> float:
        """Guidance of a layer of the full model, 1 … Q - 1."""
        guided = self.guided_layers is None or layer <= self.guided_layers
        return self.fine_guidance if guided else 0.0

    @classmethod
    def of(cls, manifest: Manifest, **changes: Any) -> SamplingOptions:
        """The bundle's defaults with `changes`; those that are None change nothing."""
        defaults = {name: getattr(manifest.sampling, name) for name in manifest.sampling.__dataclass_fields__}
        return replace(cls(**defaults), **{k: v for k, v in changes.items() if v is not None})
