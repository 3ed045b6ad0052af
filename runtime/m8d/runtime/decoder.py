"""Semantic codes → acoustic codes → audio.

P prompt frames, T target frames, Q quantizers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from m8d.engines.errors import InputError
from m8d.runtime.audio import Audio
from m8d.runtime.masked_decoding import Context, LayerDecoding, LayerSampling, MaskedModel, Progress
from m8d.runtime.noise import STAGE_S2A_1LAYER, STAGE_S2A_FULL, NoiseStream
from m8d.runtime.sampling import SamplingOptions
from m8d.runtime.sessions import StageSessions


@dataclass(frozen=True)
class Voice:
    """A reference voice, frame by frame what was said and how it sounded.

    Attributes:
        semantic_codes: `(P,)` int64.
        acoustic_codes: `(P, Q)` int64.
    """

    semantic_codes: np.ndarray
    acoustic_codes: np.ndarray

    def __post_init__(self) -> None:
        if self.semantic_codes.ndim != 1 or self.acoustic_codes.ndim != 2:
            raise InputError(
                f"A voice has semantic codes (P,) and acoustic codes (P, Q); received shapes "
                f"{self.semantic_codes.shape} and {self.acoustic_codes.shape}."
            )

    def cut(self, frames: int) -> Voice:
        """The first `frames` frames, or fewer: the two kinds of codes are cut to the shorter of them.

        The reference wrapper does not, and then pairs each prompt frame with the wrong sound by one frame.
        """
        size = min(frames, len(self.semantic_codes), len(self.acoustic_codes))
        return Voice(self.semantic_codes[:size], self.acoustic_codes[:size])


@dataclass(frozen=True)
class Decoding:
    """Attributes:
    audio: 24 kHz mono, T * 480 samples.
    acoustic_codes: `(T, Q)` int64.
    """

    audio: Audio
    acoustic_codes: np.ndarray


class Decoder:
    def __init__(self, sessions: StageSessions) -> None:
        self.sessions = sessions
        self.model = sessions.bundle.manifest.model

    def decode(
        self, semantic_codes: np.ndarray, voice: Voice | None, options: SamplingOptions, progress: Progress
    ) -> Decoding:
        """`semantic_codes (T,)` in the voice, or in the one that the model finds likely where there is none."""
        codes = self.acoustic_codes(semantic_codes, voice, options, progress)
        return Decoding(self.vocode(codes), codes)

    def vocode(self, acoustic_codes: np.ndarray) -> Audio:
        """`(T, Q)` → audio."""
        feeds = {"acoustic_codes": acoustic_codes[None], "frames": np.array([len(acoustic_codes)])}
        return Audio(self.sessions.run("acoustic_decoder", feeds)["pcm"][0], self.model.acoustic_sample_rate)

    def acoustic_codes(
        self, semantic_codes: np.ndarray, voice: Voice | None, options: SamplingOptions, progress: Progress
    ) -> np.ndarray:
        """S2A: the 1-layer model fills layer 0, the full model the others, one after another. Returns `(T, Q)`."""
        frames = len(semantic_codes)
        limit = round(options.prompt_seconds * self.model.frame_rate)
        if options.prompt_within_target:
            limit = min(limit, frames)
        empty = Voice(np.zeros(0, np.int64), np.zeros((0, self.model.num_quantizers), np.int64))
        prompt = (voice or empty).cut(limit)
        total = len(prompt.semantic_codes) + frames
        if total > self.model.max_positions:
            raise InputError(
                f"Prompt and audio are too long together: received {total} frames, expected at most "
                f"{self.model.max_positions} ({self.model.max_positions // self.model.frame_rate} s). Cut the audio."
            )
        layers = self.model.num_quantizers
        if len(options.fine_steps) != layers - 1:
            raise InputError(
                f"Sampling option fine_steps: received {len(options.fine_steps)} numbers, expected {layers - 1}, "
                f"one for each layer after the first."
            )
        coarse = LayerSampling(
            options.coarse_steps, options.coarse_guidance, options.rescale, options.temperature, options.top_k_ratio
        )
        codes = np.full((frames, layers), self.model.acoustic_codebook_size, np.int64)
        task = _Task(prompt, semantic_codes, options.seed, progress)
        codes[:, :1] = self._layer("s2a_1layer", STAGE_S2A_1LAYER, task, codes[:, :1], 0, coarse)
        for layer, steps in enumerate(options.fine_steps, start=1):
            fine = LayerSampling(
                steps, options.guidance_of(layer), options.rescale, options.temperature, options.top_k_ratio
            )
            codes = self._layer("s2a_full", STAGE_S2A_FULL, task, codes, layer, fine)
        return codes

    def _layer(
        self, name: str, noise_stage: int, task: _Task, codes: np.ndarray, layer: int, sampling: LayerSampling
    ) -> np.ndarray:
        prompt, sampler = task.prompt, self.sessions.sampler
        t = np.array([1.0 - step * (1.0 / sampling.steps) for step in range(sampling.steps)], np.float32)
        semantic = np.concatenate([prompt.semantic_codes, task.semantic_codes])[None]
        feeds = {"semantic_codes": semantic, "layer": np.array([layer]), "t": t}
        with sampler.active():
            fixed = self.sessions.run(f"{name}_condition", {k: sampler.array(v) for k, v in feeds.items()})
            context = Context(
                prefix=sampler.array(prompt.acoustic_codes[:, : codes.shape[1]]),
                condition=fixed["condition"],
                positions=sampler.arrays.arange(semantic.shape[1]),
                free_condition=fixed["condition"][:, len(prompt.semantic_codes) :],
                scales=fixed["scales"],
            )
            model = masked_model(self.sessions, name, self.model.acoustic_codebook_size)
            noise = NoiseStream(task.seed, noise_stage, layer)
            return LayerDecoding(model, context, codes, layer, noise, sampling, sampler).run(task.progress)


def masked_model(sessions: StageSessions, name: str, num_codes: int) -> MaskedModel:
    """`s2a_1layer`, `s2a_full` or `t2s`."""
    stage = sessions.stage
    return MaskedModel(
        stage(f"{name}_backbone"), stage(f"{name}_head"), stage("guidance"), num_codes, sessions.sampler.arrays
    )


@dataclass(frozen=True)
class _Task:
    prompt: Voice
    semantic_codes: np.ndarray
    seed: int
    progress: Callable[[int], None]


def total_steps(options: SamplingOptions) -> int:
    """How many steps `Decoder.decode` reports to its progress function in all."""
    return options.coarse_steps + sum(options.fine_steps)
