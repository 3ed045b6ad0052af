"""Which files a run is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m8d.engines.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """All audio under `audio_dir`, or under its folder `part`; the first `max_files` of it; every n-th for a shard.

    Attributes:
        shard: (i, n) with 0 ≤ i < n: the files i, i + n, i + 2n, … of the sorted list.
    """

    audio_dir: Path
    part: str | None = None
    max_files: int | None = None
    shard: tuple[int, int] = (0, 1)

    def files(self) -> list[Path]:
        """Sorted absolute paths.

        Raises:
            InputError: there is no such folder, or no audio in it.
        """
        folder = self.audio_dir / self.part if self.part else self.audio_dir
        if not folder.is_dir():
            raise InputError(f"Audio folder {folder} does not exist. Check --audio-dir and --part.")
        suffixes = audio_suffixes()
        found = sorted(path.absolute() for path in folder.rglob("*") if path.suffix.lower() in suffixes)
        if not found:
            raise InputError(f"No audio under {folder}: expected files that libsndfile reads (WAV, FLAC, OGG, MP3, …).")
        index, count = self.shard
        return found[: self.max_files][index::count]

    def name(self, path: Path) -> str:
        """Of a file within the corpus: its path below `audio_dir` without suffix, with `/`."""
        return path.relative_to(self.audio_dir.absolute()).with_suffix("").as_posix()


def audio_suffixes() -> frozenset[str]:
    """With the dot, in lower case."""
    import soundfile

    more = ("aif", "oga", "opus", "mp3")
    return frozenset(f".{name.lower()}" for name in (*soundfile.available_formats(), *more)) - {".raw"}


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` → (i, n); raises `InputError` unless 0 ≤ i < n."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise InputError(f"--shard: received {text!r}, expected i/n with 0 <= i < n, such as 0/8.")
    return int(index), int(count)
