"""Speech engines of the training corpus: text to PCM with the end time of every phone.

None is a dependency of m8d; each is imported, loaded or run when its first sentence is spoken. Licences allow weights
trained on the output to be shipped: see `docs/model-card.md`.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import soundfile

from m8d.models.training.phones import ESPEAK, FLITE, KOKORO, PHONE_ID, SILENCE

SHORTEST_PAUSE = 0.1  # s


@dataclass(frozen=True)
class Speech:
    pcm: np.ndarray  # (N,) float32 in [-1, 1]
    rate: int  # Hz
    phones: tuple[tuple[str, float], ...]  # name in `PHONES`, end in seconds


class Flite:
    """`flite` of Debian. `pitch` scales the fundamental frequency of the statistical voices."""

    MEAN_PITCH: ClassVar = {"awb": 120, "rms": 95, "slt": 175, "kal16": 105}  # Hz

    def speak(self, text: str, voice: str, pitch: float, rate: float) -> Speech:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            settings = ["--seti", f"int_f0_target_mean={round(self.MEAN_PITCH[voice] * pitch)}",
                        "--setf", f"duration_stretch={1 / rate:.3f}"]  # fmt: skip
            command = ["flite", "-voice", voice, *settings, "-psdur", "-t", text, "-o", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            pcm, sample_rate = soundfile.read(path, dtype="float32")
        ends = [item.rsplit(":", 1) for item in done.stdout.split()]
        return Speech(pcm, sample_rate, tuple((FLITE.get(name, name), float(end)) for name, end in ends))


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _EventId),
    ]  # fmt: skip


class Espeak:
    """`libespeak-ng` of Debian with phoneme events (speak_lib.h); a voice is `language+variant`."""

    SYNCHRONOUS, PHONEME_EVENTS, PHONEME_EVENT, CHARS_AUTO = 2, 1, 7, 0
    RATE, PITCH = 1, 3  # espeak_PARAMETER
    WORDS_PER_MINUTE = 165

    @cached_property
    def library(self) -> ctypes.CDLL:
        library = ctypes.CDLL("libespeak-ng.so.1")
        self.sample_rate = library.espeak_Initialize(self.SYNCHRONOUS, 0, None, self.PHONEME_EVENTS)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self.callback = prototype(self._receive)
        library.espeak_SetSynthCallback(self.callback)
        return library

    def _receive(self, samples: ctypes.Array, count: int, events: ctypes.Array) -> int:
        if samples and count:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        number = 0
        while events[number].type:
            if events[number].type == self.PHONEME_EVENT:
                self.starts.append((events[number].audio_position / 1000, events[number].id.string.decode()))
            number += 1
        return 0

    def speak(self, text: str, voice: str, pitch: float, rate: float) -> Speech:
        self.chunks: list[np.ndarray] = []
        self.starts: list[tuple[float, str]] = []
        library = self.library
        if library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice!r}: expected LANGUAGE+VARIANT; see `espeak-ng --voices`.")
        library.espeak_SetParameter(self.RATE, round(self.WORDS_PER_MINUTE * rate), 0)
        library.espeak_SetParameter(self.PITCH, round(50 * pitch), 0)
        data = text.encode()
        library.espeak_Synth(data, len(data) + 1, 0, 0, 0, self.CHARS_AUTO, None, None)
        pcm = np.concatenate(self.chunks).astype(np.float32) / 2**15
        phones, names = [], [(0.0, "_"), *self.starts, (len(pcm) / self.sample_rate, "_")]
        for (_, name), (end, _) in pairwise(names):
            phones.append((ESPEAK.get(name.strip("',%=|"), name), end))
        return Speech(pcm, self.sample_rate, tuple(phones))


def fold_symbols(symbols: str, ends: np.ndarray) -> tuple[tuple[str, float], ...]:
    """Phones of Kokoro symbols. What a stress mark lasts belongs to the next phone, a length mark to the one before,
    and a gap between words too short for a pause to both its neighbours."""
    phones: list[tuple[str, float]] = []
    start = 0.0
    for symbol, end in zip(symbols, ends, strict=True):
        end = float(end)
        if symbol in KOKORO:
            phones.append((KOKORO[symbol], end))
        elif symbol == "ː" and phones:
            phones[-1] = (phones[-1][0], end)
        elif symbol == " " and phones and end - start < SHORTEST_PAUSE:
            phones[-1] = (phones[-1][0], (start + end) / 2)
        elif symbol not in "ˈˌ":
            phones.append((SILENCE, end))
        start = end
    return tuple(phones)


class Hibari:
    """PyPI `hibari-tts`: one American voice at 24 kHz whose F0 can be scaled before synthesis."""

    FRAME = 0.025  # s, the unit of durations
    DURATIONS = "/Clip_output_0"  # frames of each symbol (no batch axis), an inner tensor of the graph

    @cached_property
    def engine(self):
        import onnx
        import onnxruntime
        from hibari import Hibari as Engine

        engine = Engine()
        graph = onnx.load(engine.model_path)
        graph.graph.output.append(onnx.ValueInfoProto(name=self.DURATIONS))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        engine.sess = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
        return engine

    def speak(self, text: str, voice: str, pitch: float, rate: float) -> Speech:
        from hibari import dsp

        engine = self.engine
        symbols = "".join(c for c in " ".join(engine.phonemize(text)) if c in engine.vocab)
        ids = np.asarray([engine.ids(symbols)], np.int64)
        feeds = {"ids": ids, "speed": np.asarray([rate], np.float32)}
        *batched, durations = engine.sess.run(None, feeds)
        *spectra, f0 = (item[0] for item in batched)
        seed = int(ids.sum())
        pcm = dsp.synth(*spectra, f0 * pitch, np.random.default_rng(seed))
        ends = durations.cumsum() * self.FRAME
        return Speech(pcm.astype(np.float32), dsp.SR, fold_symbols(" " + symbols + " ", ends))


ENGINES = {"flite": Flite, "espeak": Espeak, "hibari": Hibari}


def unknown_phones(speech: Speech) -> set[str]:
    return {name for name, _ in speech.phones if name not in PHONE_ID}
