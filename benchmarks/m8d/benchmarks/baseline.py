"""The torch pipeline as a user of the reference would run it: what the runtime is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from m8d.models.checkpoint import Checkpoint
from m8d.models.pipeline import Schedule, TorchPipeline
from m8d.runtime.audio import Audio
from m8d.runtime.noise import NoiseStream
from m8d.runtime.sampling import SamplingOptions


class Baseline:
    """Encodes, reconstructs and converts with every weight in memory, as the reference does."""

    def __init__(self, checkpoint: Path, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.pipeline = TorchPipeline(Checkpoint(checkpoint))
        self.quantizer = self.pipeline.semantic_codec.vector_quantizer

    def encode(self, audio: Audio) -> torch.Tensor:  # → (T, 8)
        return self.pipeline.latents(audio.resampled(16000))

    def decode(self, source: Audio, reference: Audio | None, options: SamplingOptions) -> np.ndarray:
        """Acoustic codes `(T, Q)` of `source`, decoded to audio as well, in the reference's voice if there is one."""
        semantic = self.quantizer.nearest_cosine(self.encode(source))
        prompt = None
        if reference is not None:
            voice = self.quantizer.nearest_cosine(self.encode(reference))
            sound = self.pipeline.acoustic_codes(reference.resampled(24000))
            size = min(len(voice), len(sound), len(semantic), round(options.prompt_seconds * 50))
            prompt = (voice[:size], sound[:size])
        schedule = Schedule((options.coarse_steps, *options.fine_steps), options.coarse_guidance,
                            options.fine_guidance, options.rescale, options.temperature,
                            options.top_k_ratio)  # fmt: skip

        def noise(stage: int, layer: int, kind: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
            return NoiseStream(options.seed, stage, layer).uniform(kind, step, shape)

        return self.pipeline.decode(semantic, prompt, schedule, noise)[0].numpy()
