"""When the lines of a log were written: kept in a file beside the log, which the program itself writes.

Each line of that file is a point in time (Unix milliseconds) and the log's size then. A line of the log was
written between the last point without the complete line and the first point with it.
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
    """Record the times of a log's lines, to half a second, until the block ends."""
    with sidecar("log-times", partial(_follow, log), (OSError,), f"some times of {log} are unknown"):
        yield


def _follow(log: Path, ended: threading.Event) -> None:
    over = False
    while not over:
        over = ended.wait(_POLL_S)
        mark(log)


def mark(log: Path) -> None:
    """Record a log's size and the time of its last change, if it has grown."""
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
    """The records of a log: points in time and the sizes then, both ascending."""
    times = times_of(log)
    if not times.exists():
        return []
    pairs = (line.split() for line in times.read_text().splitlines())
    return [(int(time), int(size)) for time, size in pairs]


def times_of(log: Path) -> Path:
    """The file beside a log with its times."""
    return log.with_suffix(".times")
