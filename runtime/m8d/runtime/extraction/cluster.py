"""The same extraction on Ray: actors that hold a pipeline, chunks of files of about the same length of audio.

A chunk whose actor is lost goes to another; what the lost one had finished is found by its outputs. Actors share the
corpus and the output folder by path, as on a cluster's shared storage.
"""

from __future__ import annotations

import heapq
import math
import socket
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m8d.engines.errors import InputError
from m8d.engines.session import SessionOptions
from m8d.runtime.extraction.corpus import Corpus
from m8d.runtime.extraction.outputs import OutputOptions
from m8d.runtime.extraction.run import BatchOptions, Outcome, Report, extract

LOCAL = "local"
CHUNKS_PER_ACTOR = 8  # more balance better, fewer waste less on padding
KNOCK_SECONDS = 5.0
ATTEMPTS = 3  # at a chunk: a file that kills its actor must not go round for ever


@dataclass(frozen=True)
class ClusterOptions:
    """`address` of a Ray cluster, or `local` to start one here; `actors` that work at the same time, each with `cpus`
    and `gpus` of its own."""

    address: str
    actors: int = 2
    cpus: float = 1
    gpus: float = 0


@dataclass(frozen=True)
class Work:
    """All that an actor needs to know."""

    bundle: Path
    session: SessionOptions
    corpus: Corpus
    output: OutputOptions
    batch: BatchOptions


class _Extractor:
    """Runs in a Ray actor."""

    def __init__(self, work: Work) -> None:
        from m8d.engines.bundle import Bundle
        from m8d.runtime.pipeline import Pipeline

        self.work, self.pipeline = work, Pipeline(Bundle.open(work.bundle), work.session)

    def extract(self, paths: list[Path]) -> list[Outcome]:
        """Outcomes of `paths`; those that an earlier actor finished are not encoded again."""
        work, outcomes = self.work, []
        output = work.output.open(uuid.uuid4().hex[:12])
        done = [path for path in paths if output.done(work.corpus.name(path))]
        outcomes += [Outcome(path) for path in done]
        todo = [path for path in paths if path not in set(done)]
        extract(self.pipeline, work.corpus, todo, output, work.output.extras, work.batch, outcomes.append)
        return outcomes


def chunks(paths: list[Path], count: int) -> list[list[Path]]:
    """`count` groups, or fewer, of about the same length of audio; a file that cannot be read counts as empty."""
    lengths = sorted(((_seconds(path), path) for path in paths), reverse=True)
    groups: list[tuple[float, int, list[Path]]] = [(0.0, i, []) for i in range(min(count, len(paths)))]
    for seconds, path in lengths:
        total, i, group = heapq.heappop(groups)
        group.append(path)
        heapq.heappush(groups, (total + seconds, i, group))
    return [group for _, _, group in sorted(groups, key=lambda item: item[1])]


def _seconds(path: Path) -> float:
    import soundfile

    try:
        return float(soundfile.info(str(path)).duration)
    except (OSError, RuntimeError):
        return 0.0


def extract_on_ray(work: Work, paths: list[Path], options: ClusterOptions, report: Report) -> None:
    """Like `extract`, on a Ray cluster.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs Ray: install it with `pip install m8d[ray]`.") from error
    try:
        if options.address == LOCAL:
            cpus = max(1, math.ceil(options.actors * options.cpus))
            ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        else:
            _knock(options.address)
            ray.init(address=options.address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--ray {options.address}: the cluster cannot be reached ({error}). Check the address."
        ) from error
    try:
        _run(ray, work, chunks(paths, CHUNKS_PER_ACTOR * options.actors), options, report)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises `OSError` when nothing listens at HOST:PORT: Ray itself would try for a minute, then end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()


def _run(ray: Any, work: Work, groups: list[list[Path]], options: ClusterOptions, report: Report) -> None:
    actor_type = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus)(_Extractor)
    queue = deque((group, 1) for group in groups)
    idle = [actor_type.remote(work) for _ in range(min(options.actors, len(groups)))]
    running: dict[Any, tuple[Any, list[Path], int]] = {}
    while queue or running:
        while queue and idle:
            actor, (group, attempt) = idle.pop(), queue.popleft()
            running[actor.extract.remote(group)] = (actor, group, attempt)
        (ready,), _ = ray.wait(list(running))
        actor, group, attempt = running.pop(ready)
        try:
            for outcome in ray.get(ready):
                report(outcome)
            idle.append(actor)
        except ray.exceptions.RayActorError as error:
            idle.append(actor_type.remote(work))
            if attempt < ATTEMPTS:
                queue.append((group, attempt + 1))
            else:
                for path in group:
                    report(Outcome(path, reason=f"Its worker was lost {ATTEMPTS} times: {error}".splitlines()[0]))
