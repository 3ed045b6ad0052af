"""`m8d-run encode`, `decode` and `interpolate`: audio to latents, latents to audio, and between two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command
from m8d.runtime.commands.options import RunFlags, SamplingFlags
from m8d.runtime.commands.voice import VoiceFlags

if TYPE_CHECKING:
    import numpy as np

    from m8d.runtime.pipeline import Pipeline


@command
def encode(
    audio: Annotated[str, typer.Argument(help="Audio file, or - for stdin.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Latents (T, 8) as .npy, or - for stdout.")],
    run: RunFlags,
    features: Annotated[str | None, typer.Option(help="Also write the features (T, 1024) as .npy.")] = None,
    codes: Annotated[str | None, typer.Option(help="Also write the semantic codes (T,) as .npy.")] = None,
    acoustic_codes: Annotated[str | None, typer.Option(help="Also write the acoustic codes (T, Q) as .npy.")] = None,
) -> None:
    """Encode AUDIO to 8-D latents at 50 Hz."""
    from m8d.runtime.audio import load_audio, save_array
    from m8d.runtime.commands.job import Job

    job = Job(run, output, features, codes, acoustic_codes)
    spoken = load_audio(audio)
    pipeline = job.pipeline
    encoding = pipeline.encode_audio(spoken, with_features=features is not None)
    arrays = {output: encoding.latents}
    if features and encoding.features is not None:
        arrays[features] = encoding.features
    if codes:
        arrays[codes] = pipeline.encoder.semantic_codes(encoding.latents)
    if acoustic_codes:
        arrays[acoustic_codes] = pipeline.acoustic_codes(spoken)
    for path, array in arrays.items():
        save_array(path, array)
    job.finish(list(arrays), spoken.seconds, frames=len(encoding.latents))


@command
def decode(
    latents: Annotated[str, typer.Argument(help="Latents (T, 8) as .npy.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Audio file to write, or - for WAV on stdout.")],
    run: RunFlags,
    sampling: SamplingFlags,
    speaker: VoiceFlags,
) -> None:
    """Decode LATENTS to 24 kHz speech, in the voice that is given, if one is."""
    from m8d.runtime.audio import save_audio
    from m8d.runtime.commands.job import Job

    job = Job(run, output)
    options = sampling.options(job.pipeline)
    array, voice = load_latents(latents), speaker.load(job.pipeline)
    with job.progress(options, len(array) / job.pipeline.bundle.manifest.model.frame_rate) as progress:
        result = job.pipeline.decode(array, voice, options, progress)
    save_audio(output, result.audio)
    job.finish([output], result.audio.seconds, frames=len(result.acoustic_codes))


@command
def interpolate(
    first: Annotated[str, typer.Argument(help="Audio file, or latents as .npy: share 0.")],
    second: Annotated[str, typer.Argument(help="Audio file, or latents as .npy: share 1.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for interp_000.wav … interp_100.wav.")],
    run: RunFlags,
    sampling: SamplingFlags,
    speaker: VoiceFlags,
    steps: Annotated[int, typer.Option("--steps", "-n", help="How many points, both ends included.")] = 5,
) -> None:
    """Decode points on the line between two latents, cut to the shorter; files are named by per cent of SECOND."""
    from m8d.runtime.audio import save_audio
    from m8d.runtime.commands.job import Job

    job = Job(run)
    options = sampling.options(job.pipeline)
    start, end = (_latents_of(job.pipeline, path) for path in (first, second))
    voice = speaker.load(job.pipeline)
    points = list(job.pipeline.interpolate(start, end, steps))
    output_dir.mkdir(parents=True, exist_ok=True)
    wrote, seconds = [], 0.0
    for share, array in points:
        with job.progress(options, len(array) / job.pipeline.bundle.manifest.model.frame_rate) as progress:
            audio = job.pipeline.decode(array, voice, options, progress).audio
        wrote.append(str(output_dir / f"interp_{round(100 * share):03d}.wav"))
        save_audio(wrote[-1], audio)
        seconds += audio.seconds
    job.finish(wrote, seconds)


def load_latents(path: str) -> np.ndarray:
    import numpy as np

    if not Path(path).is_file():
        raise InputError(f"Latents file {path} does not exist. Make one with `m8d-run encode`.")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"Cannot read {path} as a .npy array ({error}). Make one with `m8d-run encode`.") from error


def _latents_of(pipeline: Pipeline, path: str) -> np.ndarray:
    from m8d.runtime.audio import load_audio

    return load_latents(path) if path.endswith(".npy") else pipeline.encode_audio(load_audio(path)).latents
