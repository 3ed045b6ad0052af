"""Text → semantic codes → speech, in the voice and at the pace of a prompt.

V phones, P prompt frames, T target frames (50 Hz), K semantic codes, H width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from m8d.engines.bundle import Manifest
from m8d.engines.errors import InputError, check_options
from m8d.runtime.audio import Audio
from m8d.runtime.decoder import Decoder, Voice, masked_model
from m8d.runtime.decoder import total_steps as decoding_steps
from m8d.runtime.masked_decoding import Context, LayerDecoding, LayerSampling, Progress
from m8d.runtime.noise import STAGE_T2S, NoiseStream
from m8d.runtime.sampling import SamplingOptions
from m8d.runtime.sessions import StageSessions
from m8d.runtime.text.phonemes import phonemes
from m8d.runtime.text.sentences import pieces
from m8d.runtime.text.vocabulary import PhoneVocabulary

# Frames per phone, of 20 ms each; speech is near 3.5, counting word breaks and marks as phones. A prompt outside these
# bounds has long silence in it, or another text than it was said to have.
MIN_PACE, MAX_PACE = 2.0, 8.0
MAX_PIECE_FRAMES = 500  # 10 s, the longest that the reference's text to speech makes; longer text is spoken in pieces
MIN_PIECE_FRAMES = 25  # 0.5 s
MAX_STRETCH = 4  # a duration that is asked for may be this many times slower than MAX_PACE
SHORT_SECONDS = 2  # any text may be given that much
SHOWN_CHARACTERS = 40  # of a text in an error
LEAD_FRAMES = 6  # of silence before the first phone, as recordings have it; where durations say what is when
FADE_SECONDS = 0.01  # at the ends of a piece, so that joins do not click


@dataclass(frozen=True)
class SpeakingOptions:
    """What is spoken and how. Sampling is MaskGCT's by default; `SpeakingOptions.of(manifest)` has the bundle's.

    Attributes:
        language: of the text: `en`, `de`, `fr` or `ko`.
        prompt_language: of the prompt's text; None is the same.
        duration: of the whole speech in seconds, > 0; None follows the prompt's pace.
        speed: > 0; 2 halves the duration that the prompt's pace gives.
        pause: silence between pieces in seconds, ≥ 0.
        steps: of T2S decoding, ≥ 1.
        guidance: classifier-free guidance of T2S, ≥ 0; 0 is none.
        rescale: share of the guided hidden states brought back to their unguided deviation, 0 … 1.
        temperature: of sampling at the first step, > 0.
        top_k_ratio: share of the codes that can be sampled, in (0, 1].
    """

    language: str = "en"
    prompt_language: str | None = None
    duration: float | None = None
    speed: float = 1.0
    pause: float = 0.15
    steps: int = 25
    guidance: float = 2.5
    rescale: float = 0.75
    temperature: float = 0.9
    top_k_ratio: float = 0.02

    def __post_init__(self) -> None:
        rules = (
            ("duration", self.duration, self.duration is None or 0 < self.duration < np.inf, "more than 0 s"),
            ("speed", self.speed, 0.1 <= self.speed <= 10, "0.1 to 10"),
            ("pause", self.pause, 0 <= self.pause <= 10, "0 to 10 s"),
            ("steps", self.steps, self.steps >= 1, "at least 1"),
            ("guidance", self.guidance, self.guidance >= 0, "0 (none) or more"),
            ("rescale", self.rescale, 0 <= self.rescale <= 1, "0 to 1"),
            ("temperature", self.temperature, self.temperature > 0, "more than 0"),
            ("top_k_ratio", self.top_k_ratio, 0 < self.top_k_ratio <= 1, "more than 0, at most 1"),
            ("speed", self.speed, self.duration is None or self.speed == 1, "no speed where there is a duration"),
        )
        check_options("Speaking option", rules)

    @classmethod
    def of(cls, manifest: Manifest, **changes: Any) -> SpeakingOptions:
        """The bundle's defaults with `changes`; those that are None change nothing."""
        own = manifest.speaking
        sampling = {name: getattr(own, name) for name in ("steps", "guidance", "rescale", "temperature", "top_k_ratio")}
        return cls(**sampling | {name: value for name, value in changes.items() if value is not None})


@dataclass(frozen=True)
class Prompt:
    """A voice and what it says.

    Attributes:
        voice: all of the reference.
        phone_ids: `(V,)` int64, of the reference's text.
    """

    voice: Voice
    phone_ids: np.ndarray

    @property
    def measured_pace(self) -> float:
        """Frames per phone."""
        return len(self.voice.semantic_codes) / len(self.phone_ids)

    @property
    def pace(self) -> float:
        """The same, within the bounds."""
        return min(max(self.measured_pace, MIN_PACE), MAX_PACE)


@dataclass(frozen=True)
class Piece:
    """Text that is spoken in one go: its phone ids `(V,)` and length in frames."""

    text: str
    phone_ids: np.ndarray
    frames: int


@dataclass(frozen=True)
class Speech:
    """Attributes:
    audio: 24 kHz mono.
    pieces: what was spoken, one after another.
    semantic_codes: `(T,)` int64 of each piece.
    acoustic_codes: `(T, Q)` int64 of each piece.
    """

    audio: Audio
    pieces: tuple[Piece, ...]
    semantic_codes: tuple[np.ndarray, ...]
    acoustic_codes: tuple[np.ndarray, ...]


class Speaker:
    """Raises `BundleError` when the bundle has no text to speech or no phone vocabulary."""

    def __init__(self, sessions: StageSessions, decoder: Decoder) -> None:
        self.sessions, self.decoder = sessions, decoder
        self.model = sessions.bundle.manifest.model
        self.vocabulary = PhoneVocabulary.of(sessions.bundle)

    def phone_ids(self, text: str, language: str) -> np.ndarray:
        """`(V,)` int64; raises `InputError` where nothing of the text can be said."""
        ids = self.vocabulary.encode(phonemes(text, language))
        if len(ids) == 0:
            shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
            raise InputError(f"Nothing to say in the text {shown!r}: expected at least one word or number.")
        return ids

    def script(self, text: str, prompt: Prompt, options: SpeakingOptions) -> tuple[Piece, ...]:
        """Divides the text into pieces and gives each its length.

        The length is the reference's rule, prompt frames × target phones / prompt phones, with the pace kept within
        bounds. A `duration` counts the pauses; each piece gets its share of the rest by its phones.
        """
        pace = prompt.pace / options.speed
        limit = max(1, int(MAX_PIECE_FRAMES / pace))
        spoken = pieces(text, lambda part: len(self.vocabulary.encode(phonemes(part, options.language))), limit)
        if not spoken:
            spoken = [text]  # whose phones are refused with the reason
        ids = [self.phone_ids(part, options.language) for part in spoken]
        if options.duration is None:
            frames = [max(MIN_PIECE_FRAMES, int(pace * len(phones))) for phones in ids]
        else:
            frames = self._shares(options.duration, options.pause, [len(phones) for phones in ids])
        return tuple(Piece(*fields) for fields in zip(spoken, ids, frames, strict=True))

    def _shares(self, duration: float, pause: float, phones: list[int]) -> list[int]:
        total = round((duration - pause * (len(phones) - 1)) * self.model.frame_rate)
        longest = max(round(sum(phones) * MAX_PACE * MAX_STRETCH), SHORT_SECONDS * self.model.frame_rate)
        if not len(phones) <= total <= longest:
            seconds = [n / self.model.frame_rate + pause * (len(phones) - 1) for n in (len(phones), longest)]
            raise InputError(
                f"A duration of {duration:g} s does not fit {sum(phones)} phones in {len(phones)} pieces: expected "
                f"{seconds[0]:.2f} to {seconds[1]:.2f} s. Change the duration, the pauses or the text."
            )
        ends = [round(total * sum(phones[: i + 1]) / sum(phones)) for i in range(len(phones))]
        return [max(1, end - start) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def speak(
        self,
        script: tuple[Piece, ...],
        prompt: Prompt,
        options: SpeakingOptions,
        sampling: SamplingOptions,
        progress: Progress,
    ) -> Speech:
        """Each piece with the same prompt and seed, so that voice and pace stay; joined with pauses."""
        semantic, acoustic, sounds = [], [], []
        for piece in script:
            codes = self.semantic_codes(piece.phone_ids, prompt, piece.frames, options, sampling.seed, progress)
            decoding = self.decoder.decode(codes, prompt.voice, sampling, progress)
            semantic.append(codes)
            acoustic.append(decoding.acoustic_codes)
            sounds.append(decoding.audio)
        return Speech(join(sounds, options.pause), script, tuple(semantic), tuple(acoustic))

    def semantic_codes(
        self,
        phone_ids: np.ndarray,
        prompt: Prompt,
        frames: int,
        options: SpeakingOptions,
        seed: int,
        progress: Progress,
    ) -> np.ndarray:
        """T2S: `frames` semantic codes `(T,)` that say `phone_ids (V,)` as `prompt` goes on.

        The sequence is phones, prompt, target. The guidance pass sees the target alone, without phones. Where the model
        knows how long phones last, each is at the position of the frame in its middle, and the frames count from 0.
        """
        phones = np.concatenate([prompt.phone_ids, phone_ids])
        spoken = prompt.voice.semantic_codes
        rows = len(phones) + len(spoken) + frames
        if rows > self.model.max_positions:
            raise InputError(
                f"Phones, prompt and speech are too long together: received {len(phones)} + {len(spoken)} + {frames} "
                f"rows, expected at most {self.model.max_positions}. Use a shorter reference, with the text it says."
            )
        codes = self.model.semantic_codebook_size
        t = np.array([1.0 - step * (1.0 / options.steps) for step in range(options.steps)], np.float32)
        sampler = self.sessions.sampler
        sampling = LayerSampling(
            options.steps, options.guidance, options.rescale, options.temperature, options.top_k_ratio
        )
        prefix = np.concatenate([np.full(len(phones), codes + 1), spoken])[:, None]
        with sampler.active():
            fixed = self.sessions.run(
                "t2s_condition", {"phone_ids": sampler.array(phones[None]), "t": sampler.array(t)}
            )
            width = fixed["condition"].shape[-1]
            positions = np.arange(rows)
            if "durations" in fixed:
                durations = sampler.host(fixed["durations"])[0]
                before = len(prompt.phone_ids)
                heard = phone_positions(durations[:before], len(spoken))
                placed = len(spoken) + phone_positions(durations[before:], frames, LEAD_FRAMES)
                positions = np.concatenate([heard, placed, np.arange(len(spoken) + frames)])
            free = sampler.arrays.zeros((1, len(spoken) + frames, width), np.float32)
            context = Context(
                prefix=sampler.array(prefix),
                condition=sampler.arrays.concatenate([fixed["condition"], free], axis=1),
                positions=sampler.array(positions),
                free_condition=free[:, len(spoken) :],
                scales=fixed["scales"],
            )
            model = masked_model(self.sessions, "t2s", codes)
            start = np.full((frames, 1), codes, np.int64)
            noise = NoiseStream(seed, STAGE_T2S, 0)
            return LayerDecoding(model, context, start, 0, noise, sampling, sampler).run(progress)[:, 0]


def phone_positions(durations: np.ndarray, frames: int, lead: int = 0) -> np.ndarray:
    """`durations (V,)` of phones → int64 `(V,)`, the frames in their middles when all of them fill `frames` frames, but
    for a silence of `lead` frames, and of a quarter at most, before the first."""
    lead = min(lead, frames // 4)
    ends = np.cumsum(durations)
    return lead + ((ends - durations / 2) * ((frames - lead) / ends[-1])).astype(np.int64)


def total_steps(script: tuple[Piece, ...], options: SpeakingOptions, sampling: SamplingOptions) -> int:
    """How many steps `Speaker.speak` reports to its progress function in all."""
    return len(script) * (options.steps + decoding_steps(sampling))


def join(sounds: list[Audio], pause: float) -> Audio:
    """One after another with `pause` seconds of silence between them; their ends fade where they meet silence."""
    rate = sounds[0].sample_rate
    ramp = np.sin(np.linspace(0, np.pi / 2, round(FADE_SECONDS * rate), dtype=np.float32)) ** 2
    silence = np.zeros(round(pause * rate), np.float32)
    parts: list[np.ndarray] = []
    for sound in sounds:
        samples = sound.samples.copy()
        size = min(len(ramp), len(samples) // 2)
        samples[:size] *= ramp[:size]
        samples[len(samples) - size :] *= ramp[:size][::-1]
        parts += [silence, samples] if parts else [samples]
    return Audio(np.concatenate(parts), rate)
