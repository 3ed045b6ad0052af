"""The account of a run: `success_total_audio.json` as the reference's script keeps it, and what failed and why."""

from __future__ import annotations

import json
import time
from pathlib import Path

from m8d.engines.errors import InputError
from m8d.runtime.extraction.outputs import write_whole

SUCCESS = "success_total_audio"
FAILURES = "failed_total_audio"
SAVE_SECONDS = 30.0


class Ledger:
    """Absolute paths of audio that is done, and failures of this run.

    The list is saved whole every `SAVE_SECONDS` and at the end. It may lag behind the outputs, never run ahead.
    A shard of several keeps its own, named after it: a last run over all of the corpus gathers them.
    """

    def __init__(self, folder: Path, shard: tuple[int, int] = (0, 1)) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        index, count = shard
        suffix = f".shard-{index}-of-{count}" if count > 1 else ""
        self.success_path, self.failure_path = folder / f"{SUCCESS}{suffix}.json", folder / f"{FAILURES}{suffix}.jsonl"
        self.succeeded = self._read()
        self.failed: dict[str, str] = {}
        self._failures = self.failure_path.open("w", encoding="utf-8")
        self._saved = time.monotonic()

    def _read(self) -> set[str]:
        if not self.success_path.exists():
            return set()
        try:
            paths = json.loads(self.success_path.read_text(encoding="utf-8"))
            if not isinstance(paths, list):
                raise ValueError("not a list")
        except ValueError as error:
            raise InputError(
                f"{self.success_path} is no list of paths ({error}). Remove it: what is done is found by its outputs."
            ) from error
        return set(paths)

    def add(self, paths: list[Path]) -> None:
        self.succeeded.update(map(str, paths))
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def fail(self, path: Path, reason: str) -> None:
        self.failed[str(path)] = reason
        self._failures.write(json.dumps({"audio": str(path), "reason": reason}, ensure_ascii=False) + "\n")
        self._failures.flush()

    def save(self) -> None:
        text = json.dumps(sorted(self.succeeded), indent=4).encode()
        write_whole(self.success_path, lambda file: file.write(text))
        self._saved = time.monotonic()

    def close(self) -> None:
        """Saves; a run without failures leaves no list of them."""
        self.save()
        self._failures.close()
        if not self.failed:
            self.failure_path.unlink()
