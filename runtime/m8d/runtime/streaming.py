"""Speech in blocks: live conversion, and what recordings too long to treat as a whole are made of.

Each block is encoded with what was said before it and a little of what follows, is spoken as a continuation of the
block before, and has its end decoded once more with the next, so that no seam is decoded without what follows it. A
recording and a live stream go through the same objects: with the same options they give the same audio.

N samples, T frames (50 Hz), D latent, Q quantizers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from m8d.engines.errors import InputError, check_options
from m8d.runtime.audio import Audio, as_audio
from m8d.runtime.decoder import Decoder, Voice
from m8d.runtime.encoder import Encoder, Encoding
from m8d.runtime.masked_decoding import Progress
from m8d.runtime.sampling import SamplingOptions

UNLIMITED_SECONDS = 1e6  # of prompt: what it may be has been cut already


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is cut, in seconds; all are rounded to frames of 20 ms.

    Attributes:
        block: most speech that is converted at a time, ≥ 0.1.
        look_ahead: what the encoder hears after the block, ≥ 0.04.
        context: what it hears before the block, and how much of the last block's codes S2A goes on from, ≥ 0.
        hold: the end of a block that is decoded again with the next, ≥ 0.04; it has to be shorter than the block.
        cut_within: a block may end this much sooner, where it is quietest; 0 keeps all blocks equal.
    """

    block: float = 1.0
    look_ahead: float = 0.3
    context: float = 2.0
    hold: float = 0.1
    cut_within: float = 0.0

    def __post_init__(self) -> None:
        rules = (
            ("block", self.block, self.block >= 0.1, "at least 0.1 s"),
            ("look_ahead", self.look_ahead, self.look_ahead >= 0.04, "at least 0.04 s"),
            ("context", self.context, self.context >= 0, "0 s or more"),
            ("cut_within", self.cut_within, 0 <= self.cut_within < self.block, "0 to less than a block"),
            ("hold", self.hold, 0.04 <= self.hold < self.block - self.cut_within, "0.04 s to less than a block"),
        )
        check_options("Stream option", ((name, f"{value:g} s", *rule) for name, value, *rule in rules))

    @property
    def delay(self) -> float:
        """Algorithmic delay: from hearing the start of a block to being able to say it, computing not counted."""
        return self.block + self.look_ahead + self.hold


class LatentStream:
    """PCM at the encoder's rate → latents, and features if they are asked for, block by block."""

    def __init__(self, encoder: Encoder, options: StreamOptions, with_features: bool = False) -> None:
        model = encoder.model
        self.encoder, self.hop = encoder, model.semantic_sample_rate // model.frame_rate
        self.with_features = with_features
        self.block, self.look_ahead, self.context, self.cut = (
            round(seconds * model.frame_rate)
            for seconds in (options.block, options.look_ahead, options.context, options.cut_within)
        )
        self.pcm = np.zeros(0, np.float32)  # from frame `first` on
        self.first = self.done = 0  # frames

    def push(self, pcm: np.ndarray) -> list[Encoding]:
        """Adds `(N,)` samples; returns every block that is complete."""
        self.pcm = np.concatenate([self.pcm, pcm])
        blocks = []
        # One frame more: the front end's last window reaches 5 ms beyond its frame.
        while self.first + len(self.pcm) // self.hop > self.done + self.block + self.look_ahead:
            blocks.append(self._encode(self.done + self._cut(), self.done + self.block + self.look_ahead + 1))
        return blocks

    def finish(self) -> list[Encoding]:
        """What is left, if that is enough for a frame."""
        if len(self.pcm) < self.encoder.model.min_semantic_samples:
            return []
        rest = _cut_out(self._heard(self.pcm), self.done - self.first, None)
        return [rest] if len(rest.latents) else []

    def _cut(self) -> int:
        """Frames of the next block: up to its quietest frame within the range that may be cut."""
        if not self.cut:
            return self.block
        start = (self.done - self.first + self.block - self.cut) * self.hop
        frames = self.pcm[start : start + self.cut * self.hop].reshape(self.cut, self.hop)
        return self.block - self.cut + 1 + int(np.square(frames).sum(1).argmin())

    def _encode(self, end: int, heard: int) -> Encoding:
        window = self._heard(self.pcm[: (heard - self.first) * self.hop])
        block = _cut_out(window, self.done - self.first, end - self.first)
        self.done = end
        forgotten = max(end - self.context - self.first, 0)
        self.pcm, self.first = self.pcm[forgotten * self.hop :], self.first + forgotten
        return block

    def _heard(self, pcm: np.ndarray) -> Encoding:
        return self.encoder.encode(Audio(pcm, self.encoder.model.semantic_sample_rate), self.with_features)


def _cut_out(encoding: Encoding, start: int, end: int | None) -> Encoding:
    features = encoding.features
    return Encoding(encoding.latents[start:end], None if features is None else features[start:end])


class SpeechStream:
    """Latents → 24 kHz PCM, block by block, each block a continuation of the one before."""

    def __init__(
        self, encoder: Encoder, decoder: Decoder, voice: Voice | None, sampling: SamplingOptions,
        options: StreamOptions, progress: Progress,
    ) -> None:  # fmt: skip
        model = decoder.model
        self.encoder, self.decoder, self.sampling, self.progress = encoder, decoder, sampling, progress
        self.context, self.hold, self.block = (
            round(seconds * model.frame_rate) for seconds in (options.context, options.hold, options.block)
        )
        empty = Voice(np.zeros(0, np.int64), np.zeros((0, model.num_quantizers), np.int64))
        self.voice = (voice or empty).cut(round(sampling.prompt_seconds * model.frame_rate))
        longest = len(self.voice.semantic_codes) + self.context + self.block
        if longest > model.max_positions:
            raise InputError(
                f"Prompt, context and block are too long together: received {longest} frames, expected at most "
                f"{model.max_positions}. Shorten one of them."
            )
        self.before = empty  # codes of the last frames that were decoded
        self.held = 0  # of them, frames at the end whose audio is not out yet
        self.count = 0
        self.codes: list[np.ndarray] = []  # of blocks not yet taken by `take_codes`

    def push(self, latents: np.ndarray) -> np.ndarray:
        """The audio `(N,)` that `latents (T, D)` complete; its last `hold` comes with the next block."""
        codes = self._codes(self.encoder.semantic_codes(latents, self.sampling.latent_metric))
        return self._speak(codes, hold=min(self.hold, len(codes)))

    def finish(self) -> np.ndarray:
        """The audio that was held back."""
        return self._speak(np.zeros((0, self.decoder.model.num_quantizers), np.int64), hold=0)

    def take_codes(self) -> np.ndarray:
        """Acoustic codes `(T, Q)` since this was last called."""
        taken = np.concatenate(self.codes or [self.before.acoustic_codes[:0]])
        self.codes = []
        return taken

    def _codes(self, semantic: np.ndarray) -> np.ndarray:
        """S2A, with the voice and what was said last as the prompt."""
        recent = _last(self.before, self.context)
        prompt = Voice(
            np.concatenate([self.voice.semantic_codes, recent.semantic_codes]),
            np.concatenate([self.voice.acoustic_codes, recent.acoustic_codes]),
        )
        options = replace(
            self.sampling, seed=(self.sampling.seed + self.count) % 2**64, prompt_seconds=UNLIMITED_SECONDS,
            prompt_within_target=False,
        )  # fmt: skip
        if self.count == 0:  # the first block is what a whole recording would be
            prompt = self.voice
            options = replace(options, prompt_within_target=self.sampling.prompt_within_target)
        self.count += 1
        codes = self.decoder.acoustic_codes(semantic, prompt, options, self.progress)
        kept = Voice(np.concatenate([self.before.semantic_codes, semantic]),
                     np.concatenate([self.before.acoustic_codes, codes]))  # fmt: skip
        self.before = _last(kept, len(semantic) + max(self.context, 2 * self.hold))
        self.codes.append(codes)
        return codes

    def _speak(self, codes: np.ndarray, hold: int) -> np.ndarray:
        """Decodes the held frames and `codes`, with as much before them; all but the last `hold` frames come out."""
        size = self.held + len(codes)
        if size == hold:
            self.held = hold
            return np.zeros(0, np.float32)
        behind = min(len(self.before.acoustic_codes) - size, max(self.context, self.hold))
        pcm = self.decoder.vocode(self.before.acoustic_codes[-(behind + size) :]).samples
        hop = self.decoder.model.hop_size
        self.held = hold
        return pcm[behind * hop : len(pcm) - hold * hop]


def _last(codes: Voice, frames: int) -> Voice:
    start = max(len(codes.semantic_codes) - frames, 0)
    return Voice(codes.semantic_codes[start:], codes.acoustic_codes[start:])


@dataclass(frozen=True)
class BlockTiming:
    """Seconds of audio that came out at once and of computing that it took."""

    audio: float
    computing: float


class Stream:
    """Live conversion: PCM blocks in, PCM blocks out. Not for use by several threads at once.

    Attributes:
        sample_rate: of what comes out, Hz.
        delay: algorithmic delay in seconds; computing comes on top.
        timings: of every block that came out.
    """

    def __init__(
        self, encoder: Encoder, decoder: Decoder, voice: Voice | None, input_rate: int, sampling: SamplingOptions,
        options: StreamOptions, progress: Progress,
    ) -> None:  # fmt: skip
        import soxr

        as_audio(np.zeros(1, np.float32), input_rate)  # refuses an impossible rate
        self.input_rate, self.sample_rate, self.delay = input_rate, decoder.model.acoustic_sample_rate, options.delay
        self.latents = LatentStream(encoder, options)
        self.speech = SpeechStream(encoder, decoder, voice, sampling, options, progress)
        self.timings: list[BlockTiming] = []
        rate = encoder.model.semantic_sample_rate
        self._resampler = soxr.ResampleStream(input_rate, rate, 1, quality="HQ") if input_rate != rate else None
        self._finished = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Adds `(N,)` samples, or `(N, channels)`; returns the 24 kHz audio `(N,)` that is ready, often none.

        Raises:
            InputError: the samples are not usable, or the stream was finished.
        """
        return self._advance(as_audio(samples, self.input_rate).samples, last=False)

    def finish(self) -> np.ndarray:
        """All that is left. The stream ends with it."""
        return self._advance(np.zeros(0, np.float32), last=True)

    def _advance(self, pcm: np.ndarray, last: bool) -> np.ndarray:
        if self._finished:
            raise InputError("The stream is finished: open another.")
        self._finished = last
        start = time.perf_counter()
        if self._resampler is not None:
            pcm = self._resampler.resample_chunk(pcm, last=last)
        blocks = self.latents.push(pcm)
        if last:
            blocks += self.latents.finish()
        sounds = [self.speech.push(block.latents) for block in blocks]
        if last:
            sounds.append(self.speech.finish())
        sound = np.concatenate(sounds) if sounds else np.zeros(0, np.float32)
        if len(sound):
            self.timings.append(BlockTiming(len(sound) / self.sample_rate, time.perf_counter() - start))
        return sound
