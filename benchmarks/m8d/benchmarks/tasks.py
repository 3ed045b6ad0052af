"""What users do with a pipeline, as calls without arguments that can be timed or recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from m8d.benchmarks import speech
from m8d.runtime import Pipeline
from m8d.runtime.decoder import Decoding
from m8d.runtime.quality import schedule

TEXT = "The birch canoe slid on the smooth planks."


@dataclass(frozen=True)
class Tasks:
    """`seconds` of speech made or read with `pipeline`, in the voice of `prompt` seconds."""

    pipeline: Pipeline
    seconds: float
    prompt: float

    def encode(self) -> None:
        self.pipeline.encoder.encode(speech.source(self.seconds))

    def reconstruct(self) -> None:
        source = speech.source(self.seconds)
        self.pipeline.reconstruct(source.samples, source.sample_rate)

    def converting(self, quality: str = "default") -> Callable[[], Decoding]:
        source, voice = speech.source(self.seconds), speech.reference(self.prompt)
        sampling = self.pipeline.sampling(**schedule(quality, self.pipeline.bundle.manifest.model.num_quantizers))
        return lambda: self.pipeline.convert(
            (source.samples, source.sample_rate), (voice.samples, voice.sample_rate), sampling
        )

    def speak(self) -> None:
        voice = speech.reference(self.prompt)
        options = self.pipeline.speaking(duration=self.seconds)
        self.pipeline.speak(TEXT, (voice.samples, voice.sample_rate), speech.REFERENCE_TEXT, options)
