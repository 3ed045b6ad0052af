"""What a bundle does to speech, judged: reconstruction, conversion and text to speech, beside controls.

The controls show that the judges judge: originals are the best that can be had, a shuffled pairing and noise the worst.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from m8d.benchmarks.judges import RATE, Judges, word_error_rate
from m8d.benchmarks.results import Result, Row
from m8d.engines.bundle import Bundle
from m8d.engines.errors import InputError
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline
from m8d.runtime.audio import Audio
from m8d.runtime.quality import schedule

NOISE_LEVEL = 0.06
MEL_BINS = 40
INDEX = "index.jsonl"


@dataclass(frozen=True)
class Clip:
    audio: Audio
    text: str
    speaker: str

    @property
    def pcm(self) -> np.ndarray:
        """At the judges' rate."""
        return self.audio.resampled(RATE)


def read_clips(folder: Path, split: str, count: int) -> list[Clip]:
    """The first `count` clips of a split, speakers taking turns.

    `folder` is as `python -m m8d.models.training corpus` or `make_recordings` makes it: `index.jsonl` with `id`,
    `split`, `speaker`, `text` on each line, and `wav/ID.wav`.

    Raises:
        InputError: there is no such folder or split, or it has one speaker only.
    """
    if not (folder / INDEX).is_file():
        raise InputError(f"{folder} holds no {INDEX}: expected a folder of `python -m m8d.models.training corpus`.")
    lines = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]
    by_speaker: dict[str, list[dict]] = {}
    for line in lines:
        if line["split"] == split:
            by_speaker.setdefault(line["speaker"], []).append(line)
    if len(by_speaker) < 2:
        raise InputError(f"{folder}: split {split!r} has {len(by_speaker)} speakers, expected at least 2.")
    turns = [line for group in zip(*_padded(list(by_speaker.values())), strict=True) for line in group if line]
    clips = []
    for line in turns[:count]:
        samples, rate = soundfile.read(folder / "wav" / f"{line['id']}.wav", dtype="float32")
        clips.append(Clip(Audio(samples, rate), line["text"], line["speaker"]))
    return clips


def _padded(groups: list[list]) -> list[list]:
    longest = max(map(len, groups))
    return [group + [None] * (longest - len(group)) for group in groups]


@dataclass(frozen=True)
class Made:
    """Audio that a system made of a clip; `reference` is the voice it was to have, `aligned` whether it is a copy in
    time."""

    clip: Clip
    audio: Audio
    reference: Clip
    aligned: bool

    @property
    def pcm(self) -> np.ndarray:
        return self.audio.resampled(RATE)


def quality(bundles: list[Bundle], folder: Path, split: str, count: int, qualities: tuple[str, ...], judges: Judges,
            threads: int = 0) -> Result:  # fmt: skip
    """One row per system; every conversion takes the voice of the next clip by another speaker."""
    clips = read_clips(folder, split, count)
    references = [_other_voice(clips, i) for i in range(len(clips))]
    rows = [_judged(name, list(made), judges, None) for name, made in _controls(clips, references)]
    for bundle in bundles:
        pipeline = Pipeline(bundle, SessionOptions(provider="cpu", threads=threads))
        rows += [
            _judged(f"{bundle.manifest.name}: {name}", [make(c, r) for c, r in zip(clips, references, strict=True)],
                    judges, pipeline)
            for name, make in _systems(pipeline, qualities)
        ]  # fmt: skip
    settings = {"split": split, "clips": len(clips), "speakers": len({clip.speaker for clip in clips}),
                "threads": threads}  # fmt: skip
    figures = {f"{row['system']}, WER": row["WER"] for row in rows}
    return Result("quality", settings, {"Systems": rows}, figures)


def _other_voice(clips: list[Clip], i: int) -> Clip:
    following = clips[i + 1 :] + clips[:i]
    return next(clip for clip in following if clip.speaker != clips[i].speaker)


def _controls(clips: list[Clip], references: list[Clip]) -> Iterator[tuple[str, Iterator[Made]]]:
    chance = np.random.default_rng(0)
    pairs = list(zip(clips, references, strict=True))
    yield "originals", (Made(clip, clip.audio, reference, True) for clip, reference in pairs)
    yield "shuffled: the reference itself", (Made(clip, reference.audio, reference, False) for clip, reference in pairs)
    yield (
        "noise",
        (
            Made(clip, Audio(_noise(chance, len(clip.audio.samples)), clip.audio.sample_rate), reference, True)
            for clip, reference in pairs
        ),
    )


def _noise(chance: np.random.Generator, size: int) -> np.ndarray:
    return (NOISE_LEVEL * chance.standard_normal(size)).astype(np.float32)


def _systems(pipeline: Pipeline, qualities: tuple[str, ...]) -> Iterator[tuple[str, Callable[[Clip, Clip], Made]]]:
    layers = pipeline.bundle.manifest.model.num_quantizers

    def codec(clip: Clip, reference: Clip) -> Made:
        return Made(clip, pipeline.decoder.vocode(pipeline.encoder.acoustic_codes(clip.audio)), reference, True)

    def reconstruct(clip: Clip, reference: Clip) -> Made:
        made = pipeline.reconstruct(clip.audio.samples, clip.audio.sample_rate)
        return Made(clip, made.audio, reference, True)

    def converting(name: str) -> Callable[[Clip, Clip], Made]:
        sampling = pipeline.sampling(**schedule(name, layers))

        def convert(clip: Clip, reference: Clip) -> Made:
            source, voice = ((c.audio.samples, c.audio.sample_rate) for c in (clip, reference))
            return Made(clip, pipeline.convert(source, voice, sampling).audio, reference, True)

        return convert

    def speak(clip: Clip, reference: Clip) -> Made:
        spoken = pipeline.speak(clip.text, (reference.audio.samples, reference.audio.sample_rate), reference.text)
        return Made(clip, spoken.audio, reference, False)

    yield "codec alone", codec
    yield "reconstruct", reconstruct
    for name in qualities:
        yield f"convert, {name}", converting(name)
    if pipeline.bundle.speaks:
        yield "tts", speak


def _judged(system: str, made: list[Made], judges: Judges, pipeline: Pipeline | None) -> Row:
    heard = [judges.words(m.pcm) for m in made]
    voices = [(judges.voice(m.pcm), judges.voice(m.clip.pcm), judges.voice(m.reference.pcm)) for m in made]
    to_source, to_reference = (float(np.mean([v[0] @ v[k] for v in voices])) for k in (1, 2))
    aligned = [m for m in made if m.aligned]
    return {
        "system": system,
        "WER": word_error_rate([m.clip.text for m in made], heard),
        "similarity to source": to_source,
        "similarity to reference": to_reference,
        "closer to reference": to_reference - to_source,
        "DNSMOS": float(np.mean([judges.mos(m.pcm) for m in made])),
        "PESQ": _mean(judges.pesq(m.clip.pcm, m.pcm) for m in aligned),
        "STOI": _mean(judges.stoi(m.clip.pcm, m.pcm) for m in aligned),
        "mel distance": _mean(mel_distance(m.clip.pcm, m.pcm) for m in aligned),
        "latent distance": _mean(latent_distance(pipeline, m) for m in aligned) if pipeline else None,
    }


def _mean(values: Iterator[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def mel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean |Δ| of log-mels over 25 ms windows, in nepers."""
    size = min(len(first), len(second))
    return float(np.abs(log_mel(first[:size]) - log_mel(second[:size])).mean())


def log_mel(pcm: np.ndarray) -> np.ndarray:
    """`(40, frames)` at 100 Hz, in nepers, of PCM at `RATE`."""
    import librosa

    mel = librosa.feature.melspectrogram(y=pcm, sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=MEL_BINS)
    return np.log(np.maximum(mel, 1e-6)) / 2


def latent_distance(pipeline: Pipeline, made: Made) -> float:
    """Distance of the latents of what was made to those of its source, over the deviation of the source's."""
    wanted, got = (pipeline.encoder.encode(audio).latents for audio in (made.clip.audio, made.audio))
    size = min(len(wanted), len(got))
    return float(np.sqrt(np.mean((wanted[:size] - got[:size]) ** 2)) / wanted.std())
