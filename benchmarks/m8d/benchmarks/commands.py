"""m8d-run in a process of its own, with the time it took and the memory it held."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from m8d.engines.errors import M8DError

M8D_RUN = (sys.executable, "-c", "from m8d.runtime.cli import main; main()")
POLL = 0.05  # s


@dataclass(frozen=True)
class Run:
    """`peak` is the most resident memory in bytes, of the process itself without those that it starts (Linux)."""

    seconds: float
    peak: int


def m8d_run(*arguments: object) -> Run:
    """Raises `M8DError` when the command fails."""
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen([*M8D_RUN, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(POLL)
    seconds = time.perf_counter() - started
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    process.stderr.close()
    if process.returncode:
        raise M8DError(f"m8d-run {arguments[0]} failed while it was measured: {errors.strip()}")
    return Run(seconds, peak)


def peak_bytes(process: int | str) -> int:
    """Of a process, or of `self` (Linux); 0 when it is gone.

    `getrusage` would say no less than what its parent held when it started it.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
