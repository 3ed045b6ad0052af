"""`m8d-run extract`: the latents of a corpus."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m8d.engines.errors import InputError
from m8d.engines.flags import command

if TYPE_CHECKING:
    from m8d.engines.bundle import ModelInfo
    from m8d.engines.session import SessionOptions
    from m8d.runtime.extraction.corpus import Corpus
    from m8d.runtime.extraction.outputs import OutputOptions

SOME_FAILED = 1  # exit status


@dataclass(frozen=True)
class CorpusFlags:
    audio_dir: Annotated[Path, typer.Option(help="Folder with audio, searched with its subfolders.")]
    embedding_dir: Annotated[Path, typer.Option(help="Where latents go, as .npy in the same tree.")]
    json_dir: Annotated[Path, typer.Option(help="Where the lists of what succeeded and failed go.")]
    part: Annotated[str | None, typer.Option(help="Only this folder of the audio folder.")] = None
    max_files: Annotated[int | None, typer.Option(min=1, help="Only so many files.")] = None
    shard: Annotated[str, typer.Option(help="i/n: only every n-th file, from the i-th, for n jobs.")] = "0/1"


@dataclass(frozen=True)
class OutputFlags:
    also: Annotated[list[str] | None, typer.Option(help="Keep codes, acoustic_codes or features too; repeat.")] = None
    format: Annotated[str, typer.Option(help="npy, or tar: WebDataset shards.")] = "npy"
    shard_files: Annotated[int, typer.Option(min=1, help="Files in a tar shard.")] = 1000


@dataclass(frozen=True)
class WorkFlags:
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Bundle folder. Default: the built-in one.")] = (
        None
    )
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of a stage; 0 leaves it to the backend.")] = 0
    batch_seconds: Annotated[float, typer.Option(help="Audio in one call, padding included.")] = 30.0
    workers: Annotated[int, typer.Option(help="Threads that read and decode files ahead of the model.")] = 2
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, or local.")] = None
    ray_actors: Annotated[int, typer.Option(min=1, help="Pipelines that work at the same time on Ray.")] = 2
    ray_cpus: Annotated[float, typer.Option(min=0, help="CPUs of each.")] = 1
    ray_gpus: Annotated[float, typer.Option(min=0, help="GPUs of each.")] = 0
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False


@command
def extract(
    files: CorpusFlags,
    outputs: OutputFlags,
    work: WorkFlags,
    verify: Annotated[bool, typer.Option("--verify", help="Extract nothing: check what an earlier run wrote.")] = False,
) -> None:
    """Extract the latents of every audio file of a folder; run again to go on after a stop.

    Exit status 0: all files are done; 1: some failed, see failed_total_audio.jsonl; 2: the run could not start.
    """
    from m8d.engines.builtin import builtin_bundle
    from m8d.engines.bundle import Bundle
    from m8d.runtime.extraction.corpus import Corpus, parse_shard
    from m8d.runtime.extraction.ledger import Ledger
    from m8d.runtime.extraction.outputs import OutputOptions
    from m8d.runtime.extraction.progress import Progress
    from m8d.runtime.extraction.run import BatchOptions, pending
    from m8d.runtime.extraction.run import extract as run

    corpus = Corpus(files.audio_dir, files.part, files.max_files, parse_shard(files.shard))
    options = OutputOptions(files.embedding_dir, outputs.format, tuple(outputs.also or ()), outputs.shard_files)
    batch = BatchOptions(work.batch_seconds, work.workers)
    bundle = builtin_bundle() if work.bundle is None else Bundle.open(work.bundle)
    if verify:
        _verify(corpus, options, bundle.manifest.model)
        return
    session = _session(work.device, work.threads)
    index, count = corpus.shard
    output = options.open(f"shard-{index}-of-{count}" if count > 1 else "")
    ledger = Ledger(files.json_dir, corpus.shard)
    todo = pending(corpus, output, ledger)
    with Progress(len(todo), len(ledger.succeeded), ledger, work.quiet) as progress:
        if todo and work.ray:
            from m8d.runtime.extraction.cluster import ClusterOptions, Work, extract_on_ray

            cluster = ClusterOptions(work.ray, work.ray_actors, work.ray_cpus, work.ray_gpus)
            extract_on_ray(Work(bundle.folder, session, corpus, options, batch), todo, cluster, progress.report)
        elif todo:
            from m8d.runtime.pipeline import Pipeline

            run(Pipeline(bundle, session), corpus, todo, output, options.extras, batch, progress.report)
    if ledger.failed:
        print(f"{len(ledger.failed)} files failed, see {ledger.failure_path}", file=sys.stderr)
        sys.exit(SOME_FAILED)


def _session(device: str, threads: int) -> SessionOptions:
    from m8d.engines.session import SessionOptions

    provider, _, index = device.partition(":")
    if index and not (provider == "cuda" and index.isdecimal()):
        raise InputError(f"--device: received {device!r}, expected auto, cpu, cuda or cuda:N.")
    return SessionOptions(provider=provider, device=int(index or 0), threads=threads)


def _verify(corpus: Corpus, options: OutputOptions, model: ModelInfo) -> None:
    from m8d.runtime.extraction.verify import verify

    outcomes = verify(corpus, options, model.latent_dim, model.frame_rate)
    bad = [outcome for outcome in outcomes if outcome.reason]
    for outcome in bad:
        print(f"{outcome.path}: {outcome.reason}")
    hours = sum(outcome.seconds for outcome in outcomes) / 3600
    print(f"{len(outcomes) - len(bad)} files of {hours:.2f} h are well, {len(bad)} are not", file=sys.stderr)
    if bad:
        sys.exit(SOME_FAILED)
