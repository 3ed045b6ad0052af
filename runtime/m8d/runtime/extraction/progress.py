"""Progress of an extraction on the terminal, and its account."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from m8d.runtime.extraction.ledger import Ledger
from m8d.runtime.extraction.run import Outcome


class Progress:
    """A bar with rate, remaining time and audio hours; a line at the end. Enters every outcome in the ledger."""

    def __init__(self, files: int, done_before: int, ledger: Ledger, quiet: bool) -> None:
        self.ledger, self.quiet, self.done_before = ledger, quiet, done_before
        self.bar = tqdm(total=files, unit="file", disable=True if quiet else None)
        self.audio_seconds, self.files, self.start = 0.0, 0, time.monotonic()

    def report(self, outcome: Outcome) -> None:
        if outcome.reason:
            self.ledger.fail(outcome.path, outcome.reason)
        else:
            self.ledger.add([outcome.path])
            self.files += 1
            self.audio_seconds += outcome.seconds
        self.bar.update()
        self.bar.set_postfix_str(f"{self.audio_seconds / 3600:.2f} h, {self._speed():.1f} x real time", refresh=False)

    def _speed(self) -> float:
        return self.audio_seconds / max(time.monotonic() - self.start, 1e-9)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        self.ledger.close()
        if not self.quiet and kind is None:
            print(
                f"{self.files} files of {self.audio_seconds / 3600:.2f} h encoded, {self._speed():.1f} times as fast "
                f"as they play; {self.done_before} were done before", file=sys.stderr,
            )  # fmt: skip
