"""A program in its own process group, in place of a container."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local.home.files import make_file
from local.processes.opt_ml import OptMl
from local.processes.start import Started, start

# SageMaker sends SIGTERM and, 120 s later, SIGKILL (StopTrainingJob in the API reference).
STOP_TIMEOUT_S = 120.0


class Process(Protocol):
    """A running program that leads its own process group."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status (negative: a signal); subprocess.TimeoutExpired after `timeout` s."""

    def terminate(self) -> None:
        """Send SIGTERM to this process alone."""

    def forget(self) -> None:
        """Remove its record: it and its group have ended."""


Start = Callable[["Container"], Process]


def spawn(container: Container, pass_fds: Collection[int] = ()) -> Started:
    """Start a container's command as a child process that keeps the descriptors `pass_fds`.

    Raises:
        OSError: the program cannot be started or recorded.
    """
    make_file(container.log)
    with container.log.open("ab") as log:
        return start(
            container.records,
            container.command,
            container.environment,
            container.folder,
            container.own,
            stdout=log,
            pass_fds=pass_fds,
        )


@dataclass
class Container:
    """A program started in its own process group, with its output in one log file.

    Args:
        records: where it is recorded while it runs, `processes` of the home.
        own: how it gets its /opt/ml; None if it needs none.
        stops_children: whether SIGTERM also goes to the program's children. In a container only process 1
            gets it; when that ends, all others are killed.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    records: Path
    own: OptMl | None = None
    stops_children: bool = True
    _process: Process | None = None

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def run(self, timeout_s: float, start: Start = spawn) -> int | None:
        """Run to the end and return the exit status (negative: ended by that signal); None past the limit.

        Raises:
            OSError: the program cannot be started.
        """
        with self._lock:
            if self._stopping.is_set():
                return -signal.SIGTERM
            self._process = start(self)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            return None
        finally:
            self._signal(signal.SIGKILL)  # what the program left running
            self._process.forget()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the program to end, and end it `timeout_s` later if it has not."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is None:
            return
        if self.stops_children:
            self._signal(signal.SIGTERM)
        else:
            process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()

    @property
    def stopping(self) -> bool:
        """Whether the program was asked to end."""
        return self._stopping.is_set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
