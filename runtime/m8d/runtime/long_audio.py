"""Recordings of any length, in large blocks that end at pauses: memory beyond the recording's own is that of a block.

N samples, T frames (50 Hz), D latent, Q quantizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from m8d.runtime.audio import Audio
from m8d.runtime.decoder import Decoder, Decoding, Voice
from m8d.runtime.encoder import Encoder, Encoding
from m8d.runtime.masked_decoding import Progress
from m8d.runtime.sampling import SamplingOptions
from m8d.runtime.streaming import LatentStream, SpeechStream, StreamOptions

LONG = StreamOptions(block=20.0, look_ahead=2.0, context=5.0, hold=2.0, cut_within=5.0)
LONG_SECONDS = 60.0  # longer audio is treated in such blocks


def encode_long(encoder: Encoder, audio: Audio, with_features: bool = False, options: StreamOptions = LONG) -> Encoding:
    """Encodes block by block, each with its surroundings."""
    stream = LatentStream(encoder, options, with_features)
    blocks = [*stream.push(audio.resampled(encoder.model.semantic_sample_rate)), *stream.finish()]
    features = [block.features for block in blocks if block.features is not None]
    return Encoding(
        np.concatenate([block.latents for block in blocks]), np.concatenate(features) if with_features else None
    )


def acoustic_codes_long(encoder: Encoder, audio: Audio, options: StreamOptions = LONG) -> np.ndarray:
    """Acoustic codes `(T, Q)` of a recording of any length; a block hears `hold` on both sides."""
    model = encoder.model
    pcm = audio.resampled(model.acoustic_sample_rate)
    frames = len(pcm) // model.hop_size
    block, edge = (round(seconds * model.frame_rate) for seconds in (options.block, options.hold))
    codes = []
    for start in range(0, frames, block):
        first, end = max(start - edge, 0), min(start + block, frames)
        part = pcm[first * model.hop_size : (end + edge) * model.hop_size]
        heard = encoder.acoustic_codes(Audio(part, model.acoustic_sample_rate))
        codes.append(heard[start - first : end - first])
    return np.concatenate(codes)


def speak_long(
    encoder: Encoder, decoder: Decoder, latents: Iterable[np.ndarray], voice: Voice | None,
    sampling: SamplingOptions, progress: Progress, options: StreamOptions = LONG,
) -> Decoding:  # fmt: skip
    """Speech of blocks of latents `(T, D)`, one continuing the other."""
    stream = SpeechStream(encoder, decoder, voice, sampling, options, progress)
    sounds = [stream.push(block) for block in latents]
    sounds.append(stream.finish())
    return Decoding(Audio(np.concatenate(sounds), decoder.model.acoustic_sample_rate), stream.take_codes())


def in_blocks(latents: np.ndarray, frame_rate: int, options: StreamOptions = LONG) -> list[np.ndarray]:
    """Latents `(T, D)` cut into blocks, which without their audio cannot end at pauses."""
    size = round(options.block * frame_rate)
    return [latents[start : start + size] for start in range(0, len(latents), size)]


def expected_blocks(seconds: float) -> int:
    """How many blocks a recording is decoded in, about: those that end at pauses are shorter than they may be."""
    return 1 if seconds <= LONG_SECONDS else math.ceil(seconds / (LONG.block - LONG.cut_within / 2))
