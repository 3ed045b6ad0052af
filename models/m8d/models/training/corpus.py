"""The training corpus: synthetic speech of many virtual speakers with the time of every phone.

A virtual speaker is a voice of an engine at a pitch, resampled by a factor (which moves its formants). Speakers and
sentences are drawn from one seed; held-out ones are disjoint from those trained on:

- `train`: training sentences by training speakers
- `seen`: held-out sentences by training speakers
- `unseen`: held-out sentences by held-out speakers, of voices that no training speaker uses

```
corpus/index.jsonl    one utterance a line, see `Utterance`
corpus/wav/ID.wav     24 kHz, mono, 16 bit
```
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from m8d.models.training.phones import PHONE_ID
from m8d.models.training.voices import ENGINES, Speech

SAMPLE_RATE = 24000  # Hz
LEVEL = 0.06  # RMS of every utterance
PEAK = 0.95
FORTUNES = Path("/usr/share/games/fortunes")  # Debian package `fortunes`
HELD_OUT_SENTENCES = 400
SPLITS = ("train", "seen", "unseen")


@dataclass(frozen=True)
class Utterance:
    id: str
    split: str
    speaker: str
    engine: str
    text: str
    seconds: float
    phones: tuple[tuple[str, float], ...]  # name in `phones.PHONES`, end in seconds


@dataclass(frozen=True)
class Speaker:
    name: str
    engine: str
    voice: str
    pitch: float  # factor on the voice's fundamental frequency, before resampling
    formant: float  # resampling factor: above 1 is a shorter vocal tract
    rate: float  # factor on the voice's speed
    held_out: bool = False


@dataclass(frozen=True)
class Source:
    """How many virtual speakers a voice gives and how far from the voice itself they may lie (in octaves)."""

    engine: str
    voice: str
    speakers: int
    spread: float
    held_out: bool = False


ESPEAK_VARIANTS = [
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "Alex", "Andy", "Annie", "Denis",
    "Gene", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "adam", "anika", "announcer", "benjamin", "caleb",
    "ed", "edward", "grandma", "grandpa", "iven", "john", "linda", "max", "paul", "quincy", "rob", "robert",
    "shelby", "steph", "travis", "victor", "zac",
]  # fmt: skip
ESPEAK_HELD_OUT = ("m8", "belinda", "Hugo", "david")
SOURCES = (
    Source("hibari", "heart", speakers=120, spread=0.42),
    Source("flite", "slt", speakers=24, spread=0.3),
    Source("flite", "awb", speakers=16, spread=0.3),
    Source("flite", "kal16", speakers=8, spread=0.25),
    Source("flite", "rms", speakers=4, spread=0.15, held_out=True),
    *(Source("espeak", f"{'en' if i % 3 == 2 else 'en-us'}+{v}", 1, 0.1) for i, v in enumerate(ESPEAK_VARIANTS)),
    *(Source("espeak", f"en-us+{v}", 1, 0.05, held_out=True) for v in ESPEAK_HELD_OUT),
)


def draw_speakers(seed: int) -> list[Speaker]:
    """Virtual speakers of `SOURCES`; the first of each voice is the voice itself."""
    chance = random.Random(f"speakers {seed}")
    speakers = []
    for source in SOURCES:
        for number in range(source.speakers):
            formant = chance.uniform(-0.75, 0.6) * source.spread if number else 0.0
            pitch = formant + chance.uniform(-1.0, 0.7) * source.spread if number else 0.0
            rate = chance.uniform(0.9, 1.15)
            speakers.append(
                Speaker(f"{source.engine}-{source.voice}-{number}", source.engine, source.voice,
                        2 ** (pitch - formant), 2**formant, rate, source.held_out)
            )  # fmt: skip
    return speakers


def read_sentences(folder: Path = FORTUNES) -> list[str]:
    """Plain sentences of 25 to 110 characters, no digits and no abbreviations, each once, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f"No sentences at {folder}: install the Debian package `fortunes`, or pass --text.")
    found = set()
    for path in sorted(folder.iterdir()):
        if path.suffix or not path.is_file():
            continue
        for entry in path.read_text(errors="ignore").split("\n%\n"):
            plain = re.sub(r"\s+", " ", re.split(r"\n\s*--", entry)[0])
            for sentence in re.split(r"(?<=[.!?]) +", plain):
                words = sentence.split(" ")
                if 25 <= len(sentence) <= 110 and sentence[-1] in ".!?" and all(map(_is_plain, words)):
                    found.add(sentence)
    return sorted(found)


def _is_plain(word: str) -> bool:
    return re.fullmatch(r"[A-Za-z]?[a-z]*(['-][a-z]+)?[,;:.!?]?", word) is not None


def split_sentences(sentences: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Training and held-out sentences; which are held out depends on `seed` alone."""
    shuffled = random.Random(f"sentences {seed}").sample(sentences, len(sentences))
    held_out = min(HELD_OUT_SENTENCES, len(sentences) // 4)
    return shuffled[held_out:], shuffled[:held_out]


@dataclass(frozen=True)
class Plan:
    """One utterance yet to be spoken."""

    id: str
    split: str
    speaker: Speaker
    text: str


HOURS = {"hibari": 12.0, "flite": 4.5, "espeak": 3.0}  # of training speech, about
SECONDS_PER_SENTENCE = 4.0
EVALUATION = 6  # held-out sentences per held-out speaker


def plan_corpus(sentences: list[str], seed: int, scale: float = 1.0) -> Iterator[Plan]:
    """Every utterance of the corpus, engines interleaved; `scale` multiplies the hours of training speech."""
    training, held_out = split_sentences(sentences, seed)
    speakers = draw_speakers(seed)
    chance = random.Random(f"plan {seed}")
    for number, speaker in enumerate(s for s in speakers if s.held_out):
        for i in range(EVALUATION):
            text = held_out[(number * EVALUATION + i) % len(held_out)]
            yield Plan(f"unseen-{number:03}-{i}", "unseen", speaker, text)
    known = [s for s in speakers if not s.held_out]
    for number, speaker in enumerate(chance.sample(known, min(48, len(known)))):
        yield Plan(f"seen-{number:03}", "seen", speaker, held_out[-1 - number % len(held_out)])
    plans = []
    for engine, hours in HOURS.items():
        own = [s for s in known if s.engine == engine]
        count = int(hours * scale * 3600 / SECONDS_PER_SENTENCE)
        for i in range(count):
            plans.append(Plan(f"{engine}-{i:05}", "train", own[i % len(own)], chance.choice(training)))
    chance.shuffle(plans)
    yield from plans


def render(speech: Speech, formant: float) -> tuple[np.ndarray, tuple[tuple[str, float], ...]]:
    """24 kHz PCM at `LEVEL`, resampled by `formant`, with the phones' times."""
    pcm = soxr.resample(speech.pcm, speech.rate * formant, SAMPLE_RATE).astype(np.float32)
    pcm *= min(LEVEL / max(float(np.sqrt(np.mean(pcm**2))), 1e-5), PEAK / max(float(np.abs(pcm).max()), 1e-5))
    return pcm, tuple((name, round(end / formant, 4)) for name, end in speech.phones)


def make_corpus(folder: Path, text: Path = FORTUNES, seed: int = 0, scale: float = 1.0) -> None:
    """Speaks what `folder` lacks of the plan; stop and start it at any time."""
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    index = folder / "index.jsonl"
    done = {utterance.id for utterance in read_index(folder)}
    engines = {name: engine() for name, engine in ENGINES.items()}
    with index.open("a") as file:
        for plan in plan_corpus(read_sentences(text), seed, scale):
            if plan.id in done:
                continue
            speaker = plan.speaker
            rate = speaker.rate / speaker.formant
            speech = engines[speaker.engine].speak(plan.text, speaker.voice, speaker.pitch, rate)
            pcm, phones = render(speech, speaker.formant)
            unknown = {name for name, _ in phones} - PHONE_ID.keys()
            if unknown:
                raise ValueError(f"{speaker.engine} spoke phones {sorted(unknown)}: add them to phones.py.")
            soundfile.write(folder / "wav" / f"{plan.id}.wav", pcm, SAMPLE_RATE, subtype="PCM_16")
            utterance = Utterance(plan.id, plan.split, speaker.name, speaker.engine, plan.text,
                                  len(pcm) / SAMPLE_RATE, phones)  # fmt: skip
            file.write(json.dumps(dataclasses.asdict(utterance)) + "\n")
            file.flush()


def read_index(folder: Path) -> list[Utterance]:
    """Utterances spoken so far; a last line cut short by a stop is left out."""
    path = folder / "index.jsonl"
    utterances = []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            values = json.loads(line)
            values["phones"] = tuple((name, end) for name, end in values["phones"])
            utterances.append(Utterance(**values))
    return utterances
