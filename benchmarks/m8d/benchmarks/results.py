"""One measurement as JSON: what was measured, on what, how, and its rows."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from m8d.benchmarks.machine import describe
from m8d.engines.errors import InputError
from m8d.runtime.audio import replacing

FORMAT = "m8d-benchmark"

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """`tables` are lists of rows with the same keys, by title; `figures` are the single numbers worth comparing."""

    kind: str
    settings: Row
    tables: dict[str, list[Row]]
    figures: Row
    machine: Row = dataclasses.field(default_factory=describe)
    taken: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    format: str = FORMAT

    def write(self, path: Path) -> None:
        with replacing(str(path)) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def read_result(path: Path) -> Result:
    """Raises `InputError` when `path` is not a result of these benchmarks."""
    try:
        values = json.loads(path.read_text())
        if values.get("format") != FORMAT:
            raise ValueError(f"its format is {values.get('format')!r}")
        return Result(**values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a benchmark result ({error}). Expected JSON that --output wrote.") from error
