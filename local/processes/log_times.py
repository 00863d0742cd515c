"""When the lines of a log were written: a file beside it tells, for programs write their logs by themselves.

Each line of that file is a point in time (Unix milliseconds) and the size that the log had then. A line of
the log was written by the first point at which the log held it all, and after the one before.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from local.home.files import make_file
from local.processes.sidecar import sidecar

_POLL_S = 0.5
_LOCK = threading.Lock()


@contextlib.contextmanager
def timed(log: Path) -> Iterator[None]:
    """Note the times of a log's lines, to half a second, until the block ends."""
    with sidecar("log-times", partial(_follow, log), (OSError,), f"the times of {log} are not all known"):
        yield


def _follow(log: Path, ended: threading.Event) -> None:
    over = False
    while not over:
        over = ended.wait(_POLL_S)
        mark(log)


def mark(log: Path) -> None:
    """Note how long a log is, and when that was last written to it; nothing if nothing has come."""
    with _LOCK:
        try:
            found = log.stat()
        except FileNotFoundError:
            return
        before = marks(log)[-1:] or [(0, 0)]
        if found.st_size > before[0][1]:
            times = times_of(log)
            make_file(times)
            with times.open("a") as file:
                file.write(f"{max(found.st_mtime_ns // 1_000_000, before[0][0])} {found.st_size}\n")


def marks(log: Path) -> list[tuple[int, int]]:
    """What is noted of a log: points in time and the sizes then, both growing."""
    times = times_of(log)
    if not times.exists():
        return []
    pairs = (line.split() for line in times.read_text().splitlines())
    return [(int(time), int(size)) for time, size in pairs]


def times_of(log: Path) -> Path:
    """The file beside a log that has its times."""
    return log.with_suffix(".times")
