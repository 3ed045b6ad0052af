"""One picture of a conversion: source, reference and result as log-mel spectrograms, one below the other."""

from __future__ import annotations

from pathlib import Path

from m8d.benchmarks import speech
from m8d.benchmarks.judges import RATE, levelled
from m8d.benchmarks.quality import log_mel
from m8d.engines.bundle import Bundle
from m8d.engines.session import SessionOptions
from m8d.runtime import Pipeline
from m8d.runtime.audio import replacing

HOP_SECONDS = 0.01  # of `log_mel`


def draw_conversion(bundle: Bundle, output: Path) -> None:
    """Converts the demo's clips whole and writes a PNG."""
    from matplotlib.figure import Figure

    source, reference = speech.clip("source.flac"), speech.clip("reference.flac")
    result = Pipeline(bundle, SessionOptions(provider="cpu")).convert(
        (source.samples, source.sample_rate), (reference.samples, reference.sample_rate)
    )
    figure = Figure(figsize=(8, 5), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    shown = {"source: what is said": source, "reference: the voice": reference, "result": result.audio}
    for axes, (title, audio) in zip(panels, shown.items(), strict=True):
        mel = log_mel(levelled(audio.resampled(RATE)))
        axes.imshow(mel, origin="lower", aspect="auto", extent=(0, HOP_SECONDS * mel.shape[1], 0, len(mel)), vmin=-5)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel("mel band")
    panels[-1].set_xlabel("seconds")
    with replacing(str(output)) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
