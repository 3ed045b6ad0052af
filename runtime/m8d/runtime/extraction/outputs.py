"""Where results go: one `.npy` per file in a mirrored tree, or WebDataset shards. Whole or not at all.

T frames (50 Hz), D latent, Q quantizers, H features.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from m8d.engines.errors import InputError

LATENTS = "latents"
EXTRAS = ("codes", "acoustic_codes", "features")
FORMATS = ("npy", "tar")
# Suffix of what is being written; a stopped run leaves at most one per writer, and the next takes it over.
PART = ".part"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class OutputOptions:
    """`extras` of `EXTRAS` are kept beside the latents; a shard is closed after `shard_files` files."""

    folder: Path
    format: str = "npy"
    extras: tuple[str, ...] = ()
    shard_files: int = 1000

    def __post_init__(self) -> None:
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise InputError(f"--also: received {unknown[0]!r}, expected one of {', '.join(EXTRAS)}.")
        if self.format not in FORMATS:
            raise InputError(f"--format: received {self.format!r}, expected one of {', '.join(FORMATS)}.")

    def open(self, writer: str = "") -> Output:
        """`writer` names whoever writes at the same time as others."""
        return NpyOutput(self) if self.format == "npy" else TarOutput(self, writer)


class Output(Protocol):
    def done(self, name: str) -> bool:
        """Whether everything of this file is there."""
        ...

    def write(self, name: str, arrays: Arrays) -> None: ...

    def close(self) -> list[str]:
        """Completes what is open; returns the names that became done by it."""
        ...

    def read(self, name: str) -> Arrays:
        """What was written for a file that is done."""
        ...


class NpyOutput:
    """`FOLDER/name.npy` with latents `(T, D)` float32, as the reference's script; an extra in `FOLDER_extra/name.npy`.

    Latents are written last: where they are, all is.
    """

    def __init__(self, options: OutputOptions) -> None:
        self.options = options

    def path(self, name: str, kind: str = LATENTS) -> Path:
        folder = self.options.folder
        root = folder if kind == LATENTS else folder.with_name(f"{folder.name}_{kind}")
        return root / f"{name}.npy"

    def done(self, name: str) -> bool:
        return all(self.path(name, kind).is_file() for kind in (LATENTS, *self.options.extras))

    def write(self, name: str, arrays: Arrays) -> None:
        for kind in (*self.options.extras, LATENTS):
            path = self.path(name, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda file, kind=kind: np.save(file, arrays[kind]))

    def close(self) -> list[str]:
        return []

    def read(self, name: str) -> Arrays:
        return {kind: np.load(self.path(name, kind)) for kind in (LATENTS, *self.options.extras)}


class TarOutput:
    """`FOLDER/[writer-]000000.tar` in WebDataset's convention, with `.json` beside it: the names that are inside.

    A file is done when its shard is closed; a shard that a stopped run left open is made again.
    """

    def __init__(self, options: OutputOptions, writer: str) -> None:
        self.options, self.writer = options, f"{writer}-" if writer else ""
        options.folder.mkdir(parents=True, exist_ok=True)
        self.shards: dict[str, Path] = {}
        for index in sorted(options.folder.glob("*.json")):
            if index.with_suffix(".tar").is_file():
                self.shards |= dict.fromkeys(json.loads(index.read_text()), index.with_suffix(".tar"))
        self._open: tarfile.TarFile | None = None
        self._names: list[str] = []

    def done(self, name: str) -> bool:
        return name in self.shards

    def write(self, name: str, arrays: Arrays) -> None:
        if self._open is None:
            self._path = self._next_path()
            self._open = tarfile.open(self._path.with_suffix(PART), "w")  # noqa: SIM115 — closed by close()
        for kind in (LATENTS, *self.options.extras):
            buffer = io.BytesIO()
            np.save(buffer, arrays[kind])
            member = tarfile.TarInfo(f"{key_of(name)}.{kind}.npy")
            member.size = buffer.tell()
            buffer.seek(0)
            self._open.addfile(member, buffer)
        self._names.append(name)

    @property
    def full(self) -> bool:
        return len(self._names) >= self.options.shard_files

    def close(self) -> list[str]:
        if self._open is None:
            return []
        self._open.close()
        names, self._names, self._open = self._names, [], None
        index = json.dumps(names).encode()
        write_whole(self._path.with_suffix(".json"), lambda file: file.write(index))
        self._path.with_suffix(PART).replace(self._path)
        self.shards |= dict.fromkeys(names, self._path)
        return names

    def _next_path(self) -> Path:
        number = 0
        while (path := self.options.folder / f"{self.writer}{number:06}.tar").exists():
            number += 1
        return path

    def read(self, name: str) -> Arrays:
        arrays = {}
        with tarfile.open(self.shards[name]) as tar:
            for kind in (LATENTS, *self.options.extras):
                member = tar.extractfile(f"{key_of(name)}.{kind}.npy")
                assert member is not None
                arrays[kind] = np.load(io.BytesIO(member.read()))
        return arrays


def key_of(name: str) -> str:
    """WebDataset splits a member's name at the first dot after the last slash."""
    folder, slash, stem = name.rpartition("/")
    return f"{folder}{slash}{stem.replace('.', '_')}"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    part = path.with_name(f".{path.name}{PART}")
    with part.open("wb") as file:
        write(file)
    part.replace(path)
