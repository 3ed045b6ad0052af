"""Audio → latents and codes.

N samples, T frames (50 Hz), H features, D latent (8), Q quantizers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m8d.engines.errors import InputError
from m8d.runtime.audio import Audio
from m8d.runtime.sessions import StageSessions


@dataclass(frozen=True)
class Encoding:
    """Attributes:
    latents: `(T, D)` float32, before quantisation.
    features: `(T, H)` float32, normalised W2V-BERT features, where they were asked for.
    """

    latents: np.ndarray
    features: np.ndarray | None = None


class Encoder:
    def __init__(self, sessions: StageSessions) -> None:
        self.sessions = sessions
        self.model = sessions.bundle.manifest.model

    def encode(self, audio: Audio, with_features: bool = False) -> Encoding:
        """Raises `InputError` when the audio is shorter than the front end needs (35 ms)."""
        return self.encode_batch([audio], with_features)[0]

    def encode_batch(self, audios: list[Audio], with_features: bool = False) -> list[Encoding]:
        """Several at once, the shorter ones padded; each comes out as it would alone."""
        sounds = [self._checked(audio) for audio in audios]
        pcm = np.zeros((len(sounds), max(map(len, sounds))), np.float32)
        for row, sound in zip(pcm, sounds, strict=True):
            row[: len(sound)] = sound
        lengths = np.array([len(sound) for sound in sounds])
        front = self.sessions.run("front_end", {"pcm": pcm, "lengths": lengths})
        inputs = {name: front[name] for name in ("input_features", "attention_mask")}
        features = self.sessions.run("w2v_bert", inputs)["features"]
        frames = front["frames"]
        latents = self.sessions.run("semantic_encoder", {"features": features, "frames": frames})["latents"]
        return [
            Encoding(latents[i, :size], features[i, :size] if with_features else None) for i, size in enumerate(frames)
        ]

    def _checked(self, audio: Audio) -> np.ndarray:
        pcm = audio.resampled(self.model.semantic_sample_rate)
        shortest = self.model.min_semantic_samples
        if len(pcm) < shortest:
            raise InputError(
                f"The audio is too short: received {audio.seconds * 1000:.1f} ms, "
                f"expected at least {1000 * shortest / self.model.semantic_sample_rate:g} ms."
            )
        return pcm

    def semantic_codes(self, latents: np.ndarray, metric: str = "cosine") -> np.ndarray:
        """Nearest codes `(T,)` int64 of latents `(T, D)`."""
        name = "semantic_codes" if metric == "cosine" else "semantic_codes_euclidean"
        return self.sessions.run("semantic_quantizer", {"latents": latents[None]}, [name])[name][0]

    def acoustic_codes(self, audio: Audio) -> np.ndarray:
        """Codes `(T, Q)` int64 of the acoustic codec; T is the number of whole 20 ms frames."""
        pcm = audio.resampled(self.model.acoustic_sample_rate)
        if len(pcm) < self.model.hop_size:
            raise InputError(
                f"The audio is too short: received {audio.seconds * 1000:.1f} ms, expected at least one frame of "
                f"{1000 / self.model.frame_rate:g} ms."
            )
        feeds = {"pcm": pcm[None], "lengths": np.array([len(pcm)])}
        return self.sessions.run("acoustic_encoder", feeds, ["acoustic_codes"])["acoustic_codes"][0]
