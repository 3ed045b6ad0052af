"""Drop-in `Metis8dEncoder` and `Metis8dDecoder`: method names and array shapes of the reference wrapper, in NumPy.

T frames (50 Hz), H features (1024), Q quantizers (12). Every array has a leading batch axis of 1.
"""

from __future__ import annotations

import numpy as np

from m8d.engines.errors import InputError
from m8d.runtime.audio import Audio, as_audio, load_audio
from m8d.runtime.decoder import Voice
from m8d.runtime.pipeline import Pipeline
from m8d.runtime.sampling import SamplingOptions


class Metis8dEncoder:
    """Audio → features, latents and codes. Paths take any file that `m8d.runtime.audio.load_audio` reads."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.model = pipeline.bundle.manifest.model

    def encode_waveform_16k(self, wav_16k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(N,)` at 16 kHz → features `(1, T, H)`, latents `(1, T, 8)`."""
        return self._encode(as_audio(wav_16k, self.model.semantic_sample_rate))

    def encode_from_path(self, wav_path: str) -> tuple[np.ndarray, np.ndarray]:
        return self._encode(load_audio(wav_path))

    def wav2acoustic(self, wav_24k: np.ndarray) -> np.ndarray:
        """`(N,)` at 24 kHz → acoustic codes `(1, T, Q)`."""
        return self.pipeline.encoder.acoustic_codes(as_audio(wav_24k, self.model.acoustic_sample_rate))[None]

    def encode_acoustic_from_path(self, wav_path: str) -> np.ndarray:
        return self.pipeline.encoder.acoustic_codes(load_audio(wav_path))[None]

    def encode_semantic_code_from_path(self, wav_path: str) -> np.ndarray:
        """Semantic codes `(1, T)`, chosen by cosine as the codec was trained."""
        return self._semantic_codes(load_audio(wav_path))

    def encode_full_from_path(self, wav_path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features `(1, T, H)`, latents `(1, T, 8)`, acoustic codes `(1, T, Q)`."""
        audio = load_audio(wav_path)
        return (*self._encode(audio), self.pipeline.encoder.acoustic_codes(audio)[None])

    def encode_prompt_from_path(self, wav_path: str) -> tuple[np.ndarray, np.ndarray]:
        """Semantic codes `(1, T)` and acoustic codes `(1, T, Q)`; T of the two may differ by one."""
        audio = load_audio(wav_path)
        return self._semantic_codes(audio), self.pipeline.encoder.acoustic_codes(audio)[None]

    def _encode(self, audio: Audio) -> tuple[np.ndarray, np.ndarray]:
        encoding = self.pipeline.encode_audio(audio, with_features=True)
        assert encoding.features is not None
        return encoding.features[None], encoding.latents[None]

    def _semantic_codes(self, audio: Audio) -> np.ndarray:
        return self.pipeline.encoder.semantic_codes(self.pipeline.encode_audio(audio).latents)[None]


class Metis8dDecoder:
    """Latents → 24 kHz waveform. Sampling is the wrapper's, but for `latent_metric` and the aligned prompt."""

    def __init__(self, pipeline: Pipeline, options: SamplingOptions | None = None) -> None:
        self.pipeline, self.options = pipeline, options

    def decode_from_z(
        self,
        z_8d: np.ndarray,
        prompt_acoustic_code: np.ndarray | None = None,
        prompt_semantic_code: np.ndarray | None = None,
    ) -> np.ndarray:
        """`(1, T, 8)` or `(T, 8)` → `(T * 480,)` float32.

        Args:
            z_8d: latents.
            prompt_acoustic_code: `(1, P, Q)` or `(P, Q)`, the voice.
            prompt_semantic_code: `(1, P)` or `(P,)`, what the voice says; zeros where it is absent.
        """
        voice = None
        if prompt_acoustic_code is not None:
            acoustic = _unbatched(prompt_acoustic_code, 2)
            semantic = np.zeros(len(acoustic), np.int64)
            if prompt_semantic_code is not None:
                semantic = _unbatched(prompt_semantic_code, 1)
            voice = Voice(semantic, acoustic)
        return self.pipeline.decode(z_8d, voice, self.options).audio.samples


def _unbatched(codes: np.ndarray, ndim: int) -> np.ndarray:
    array = np.asarray(codes)
    if array.ndim == ndim + 1 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != ndim or array.dtype.kind not in "iu":
        raise InputError(f"Prompt codes: received {array.dtype} {np.shape(codes)}, expected integers of {ndim} axes.")
    return array.astype(np.int64)
