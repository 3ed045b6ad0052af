"""The library's front door: audio or latents in, frozen results out.

N samples, T frames (50 Hz), D latent (8), Q quantizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from m8d.engines.builtin import builtin_bundle
from m8d.engines.bundle import Bundle
from m8d.engines.errors import InputError
from m8d.engines.session import SessionOptions
from m8d.runtime.audio import Audio, as_audio
from m8d.runtime.decoder import Decoder, Decoding, Voice
from m8d.runtime.encoder import Encoder, Encoding
from m8d.runtime.long_audio import LONG, LONG_SECONDS, acoustic_codes_long, encode_long, in_blocks, speak_long
from m8d.runtime.masked_decoding import Progress
from m8d.runtime.sampling import SamplingOptions
from m8d.runtime.sessions import StageSessions
from m8d.runtime.speaker import Prompt, Speaker, SpeakingOptions, Speech
from m8d.runtime.streaming import LatentStream, Stream, StreamOptions


def _silent(steps: int) -> None:
    """Progress that nobody watches."""


class Pipeline:
    """Encodes, decodes and converts speech with one bundle. Stages load when they are first needed."""

    def __init__(self, bundle: Bundle, options: SessionOptions | None = None, low_memory: bool = False) -> None:
        self.bundle = bundle
        self.sessions = StageSessions(bundle, options or SessionOptions(), low_memory)
        self.encoder = Encoder(self.sessions)
        self.decoder = Decoder(self.sessions)

    @classmethod
    def load(
        cls,
        bundle: str | Path | None = None,
        provider: str = "auto",
        device: int = 0,
        threads: int = 0,
        low_memory: bool = False,
        tf32: bool = False,
    ) -> Pipeline:
        """Opens a bundle folder, or the one that ships with m8d.

        Args:
            bundle: folder with an `m8d.json`; None takes the built-in bundle.
            provider: `auto`, `cpu`, `cuda`, `tensorrt` or `tensorrt-rtx`; a named one is used or refused.
            device: index of the GPU.
            threads: CPU threads of each stage; 0 leaves it to ONNX Runtime.
            low_memory: keep the graphs of one model in memory at a time, opening each again when it is needed.
            tf32: allow TensorFloat-32 on CUDA: faster, and some codes change.

        Raises:
            BundleError, ProviderError: the bundle or the provider cannot be used.
        """
        opened = builtin_bundle() if bundle is None else Bundle.open(bundle)
        return cls(opened, SessionOptions(provider, device, threads, tf32), low_memory)

    def preload(self, with_tts: bool = False) -> None:
        """Opens every stage now, so that the first call is as quick as the later ones; for services.

        Raises:
            InputError: the pipeline was loaded with `low_memory`.
        """
        self.sessions.preload(with_tts)

    def sampling(self, **changes: Any) -> SamplingOptions:
        """The bundle's sampling options with `changes`; see `SamplingOptions`."""
        return SamplingOptions.of(self.bundle.manifest, **changes)

    def speech_sampling(self, **changes: object) -> SamplingOptions:
        """S2A's options in the bundle's text to speech, with `changes`: all of the voice is the prompt."""
        model, defaults = self.bundle.manifest.model, self.bundle.manifest.speaking
        own = {
            "coarse_steps": defaults.s2a_coarse_steps,
            "fine_steps": defaults.s2a_fine_steps,
            "coarse_guidance": defaults.s2a_coarse_guidance,
            "fine_guidance": defaults.s2a_fine_guidance,
            "prompt_seconds": model.max_positions / model.frame_rate,
            "prompt_within_target": False,
        }
        return self.sampling(**{**own, **{name: value for name, value in changes.items() if value is not None}})

    def speaking(self, **changes: Any) -> SpeakingOptions:
        """The bundle's speaking options with `changes`; see `SpeakingOptions`."""
        return SpeakingOptions.of(self.bundle.manifest, **changes)

    @cached_property
    def speaker(self) -> Speaker:
        """Text to speech; raises `BundleError` where the bundle has none, or no phone vocabulary."""
        return Speaker(self.sessions, self.decoder)

    def speak(
        self,
        text: str,
        reference: tuple[np.ndarray, int],
        prompt_text: str,
        options: SpeakingOptions | None = None,
        sampling: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Speech:
        """Says `text` in the voice and at the pace of `reference`.

        For several texts in one voice, make a prompt once: see `prompt`, `speaker.script`, `speaker.speak`.

        Args:
            text: any length; longer text is spoken in pieces of up to 10 s.
            reference: (samples, sample rate) of a few seconds.
            prompt_text: what the reference says. A wrong text gives a wrong pace and wrong sounds.
            options: language, duration, speed and T2S sampling; see `speaking`.
            sampling: of S2A; see `speech_sampling`.

        Raises:
            BundleError: the bundle cannot speak.
            InputError: a text, language or option is not usable.
        """
        options = options or self.speaking()
        prompt = self.prompt(as_audio(*reference, what="reference"), prompt_text, options)
        script = self.speaker.script(text, prompt, options)
        return self.speaker.speak(script, prompt, options, sampling or self.speech_sampling(), progress)

    def prompt(self, audio: Audio, text: str, options: SpeakingOptions) -> Prompt:
        """A voice that says `text`, ready to go on speaking."""
        # The text first: it is quick to refuse.
        phone_ids = self.speaker.phone_ids(text, options.prompt_language or options.language)
        return Prompt(self.voice(audio), phone_ids)

    def encode(self, samples: np.ndarray, sample_rate: int, with_features: bool = False) -> Encoding:
        """Speech → 8-D latents at 50 Hz.

        Args:
            samples: `(N,)` or `(N, channels)`, floats in [-1, 1] or integers; at least 35 ms.
            sample_rate: Hz, any.
            with_features: also return the 1024-D features.
        """
        return self.encode_audio(as_audio(samples, sample_rate), with_features)

    def encode_audio(self, audio: Audio, with_features: bool = False) -> Encoding:
        """The same for `Audio`. Above `LONG_SECONDS` in blocks that hear their surroundings; see `long_audio`."""
        encode = encode_long if audio.seconds > LONG_SECONDS else Encoder.encode
        return encode(self.encoder, audio, with_features)

    def acoustic_codes(self, audio: Audio) -> np.ndarray:
        """Codes `(T, Q)` of the acoustic codec, of audio of any length."""
        if audio.seconds > LONG_SECONDS:
            return acoustic_codes_long(self.encoder, audio)
        return self.encoder.acoustic_codes(audio)

    def encode_prompt(self, samples: np.ndarray, sample_rate: int, latent_metric: str = "cosine") -> Voice:
        """A reference voice, ready for any number of conversions."""
        return self.voice(as_audio(samples, sample_rate), latent_metric)

    def voice(self, audio: Audio, latent_metric: str = "cosine") -> Voice:
        """The same for `Audio`, of which the first `LONG_SECONDS` are used."""
        audio = Audio(audio.samples[: round(LONG_SECONDS * audio.sample_rate)], audio.sample_rate)
        semantic = self.encoder.semantic_codes(self.encoder.encode(audio).latents, latent_metric)
        acoustic = self.encoder.acoustic_codes(audio)
        return Voice(semantic, acoustic).cut(len(semantic))

    def decode(
        self,
        latents: np.ndarray,
        voice: Voice | None = None,
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Decoding:
        """Latents `(T, D)` → 24 kHz speech of T * 480 samples, in `voice` where there is one.

        Above `LONG_SECONDS` in blocks, each a continuation of the one before.
        """
        options = options or self.sampling()
        latents = self._checked(latents)
        frame_rate = self.bundle.manifest.model.frame_rate
        if len(latents) > LONG_SECONDS * frame_rate:
            blocks = in_blocks(latents, frame_rate)
            return speak_long(self.encoder, self.decoder, blocks, voice, options, progress)
        codes = self.encoder.semantic_codes(latents, options.latent_metric)
        return self.decoder.decode(codes, voice, options, progress)

    def revoice(
        self,
        audio: Audio,
        voice: Voice | None,
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Decoding:
        """What `audio` says, in `voice`, or without one. Above `LONG_SECONDS` in blocks that end at pauses."""
        options = options or self.sampling()
        if audio.seconds <= LONG_SECONDS:
            return self.decode(self.encoder.encode(audio).latents, voice, options, progress)
        stream = LatentStream(self.encoder, LONG)
        blocks = [*stream.push(audio.resampled(self.bundle.manifest.model.semantic_sample_rate)), *stream.finish()]
        latents = [block.latents for block in blocks]
        return speak_long(self.encoder, self.decoder, latents, voice, options, progress)

    def stream(
        self,
        voice: Voice | None,
        input_rate: int,
        options: StreamOptions | None = None,
        sampling: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Stream:
        """Live conversion to `voice`: push blocks of PCM, get blocks of PCM.

        Args:
            voice: see `encode_prompt`; None is the voice that the model finds likely.
            input_rate: of the samples that will be pushed, Hz.
            options: how the stream is cut; decides delay and quality.
            sampling: of S2A.
        """
        options = options or StreamOptions()
        return Stream(self.encoder, self.decoder, voice, input_rate, sampling or self.sampling(), options, progress)

    def convert(
        self,
        source: tuple[np.ndarray, int],
        reference: tuple[np.ndarray, int],
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Decoding:
        """What `source` says, in the voice of `reference`; both are (samples, sample rate)."""
        voice = self.voice(as_audio(*reference, what="reference"))
        return self.revoice(as_audio(*source, what="source"), voice, options, progress)

    def reconstruct(
        self,
        samples: np.ndarray,
        sample_rate: int,
        options: SamplingOptions | None = None,
        progress: Progress = _silent,
    ) -> Decoding:
        """Encodes and decodes without a voice."""
        return self.revoice(as_audio(samples, sample_rate), None, options, progress)

    def interpolate(self, first: np.ndarray, second: np.ndarray, steps: int) -> Iterator[tuple[float, np.ndarray]]:
        """`steps` ≥ 2 pairs (share, latents) from `first` (0) to `second` (1), both cut to the shorter."""
        if steps < 2:
            raise InputError(f"Interpolation steps: received {steps}, expected at least 2.")
        first, second = self._checked(first), self._checked(second)
        size = min(len(first), len(second))
        for i in range(steps):
            share = i / (steps - 1)
            yield share, ((1 - share) * first[:size] + share * second[:size]).astype(np.float32)

    def _checked(self, latents: np.ndarray) -> np.ndarray:
        array = np.asarray(latents)
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        width = self.bundle.manifest.model.latent_dim
        if array.ndim != 2 or array.shape[1] != width or len(array) == 0 or array.dtype.kind not in "fi":
            raise InputError(
                f"Latents: received {array.dtype} {array.shape}, expected floats of shape (T, {width}), T at least 1."
            )
        if not np.isfinite(array).all():
            raise InputError("Latents hold NaN or infinity: expected finite numbers.")
        return array.astype(np.float32)
