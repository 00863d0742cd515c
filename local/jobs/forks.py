"""Training jobs as forks of one process that has done their common work before the training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from local.home.home import Home
from local.home.store import Record
from local.jobs import training
from local.jobs.jobs import JobError
from local.processes.container import Container, Process, Start, spawn
from local.processes.opt_ml import LAUNCHER
from local.processes.orphans import MARK
from local.processes.start import new_mark, put_on_record, strike_off

_ZYGOTE = Path(__file__).with_name("zygote.py")
_MESSAGE_BYTES = 1024  # pids and exit statuses
_POLL_S = 0.5


@contextlib.contextmanager
def starter(
    home: Home, ml: Path, record: Record, service: Mapping[str, str], going: Callable[[], bool]
) -> Iterator[Start]:
    """Starts training jobs that differ only in their hyperparameters; all forks have ended when it closes.

    Args:
        home: records what is started.
        ml: the folder of a job that represents them all; it is removed, the log beside it stays.
        record: the record of that job.
        service: the variables that lead to the local service.
        going: whether to keep waiting until they can be forked.
    """
    try:
        job = None
        if _forkable(record):
            training.check_code(home, record)
            job = training.configure(home, ml, record, {}, service)
    except (JobError, ValueError):  # unsafe code, or no /opt/ml for jobs here: each job reports the reason
        job = None
    if job is None:
        yield spawn
        return
    with Forks(job) as forks:
        while going() and not forks.settled(_POLL_S):
            pass
        yield forks.start


def _forkable(record: Record) -> bool:
    """Whether a job runs a Python program through the toolkit, on a system with safe forks."""
    program = record["HyperParameters"].get("sagemaker_program", "").strip('"')
    entrypoint = record["AlgorithmSpecification"].get("ContainerEntrypoint")
    # The documentation of multiprocessing calls forks unsafe on macOS; Windows has none.
    return sys.platform == "linux" and program.endswith(".py") and not entrypoint


class Fork:
    """A fork of the zygote, with the interface of Process."""

    record: Path | None = None

    mark = ""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status = 0
        self._ended = threading.Event()

    def end(self, status: int) -> None:
        """Report that it has ended."""
        self._status = status
        self._ended.set()

    def terminate(self) -> None:
        """The effect of SIGTERM on the toolkit: it ends, and its program is killed without a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """Remove its record: it and its group have ended."""
        if self.record is not None:
            strike_off(self.record, self.mark)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; subprocess.TimeoutExpired after `timeout` seconds."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        return self._status


class Forks:
    """Starts jobs that differ only in their tuned hyperparameters.

    Use it as a context manager: leaving it ends every process.

    Args:
        job: represents them all; the zygote unpacks the code in its folder and writes to its log.
    """

    def __init__(self, job: Container) -> None:
        self._folder = job.folder
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", str(_ZYGOTE), str(LAUNCHER), str(theirs.fileno())]
        self._own = job.own is not None and not job.own.obstacle
        self._records = job.records
        with theirs:
            self._zygote = spawn(dataclasses.replace(job, command=command), pass_fds=[theirs.fileno()])
        self._lock = threading.Lock()
        self._running: dict[int, Fork] = {}
        self._begun: queue.SimpleQueue[Fork | None] = queue.SimpleQueue()
        self._settled = threading.Event()
        self._usable = False
        self._reader = threading.Thread(target=self._read, name="forks")
        self._reader.start()

    def settled(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; return whether it is known if jobs can be forked."""
        return self._settled.wait(timeout_s)

    def start(self, job: Container) -> Process:
        """Start a job as a fork or, with the reason in its log, by its own command.

        Raises:
            OSError: its own command cannot be started or recorded.
        """
        mark = new_mark()
        request = {
            "variables": {**job.environment, MARK: mark},
            "folder": str(job.folder),
            "own": self._own,
            "log": str(job.log),
        }
        with self._lock:
            if fork := self._forked(request):
                self._put_on_record(fork, job, mark)
                return fork
        return spawn(job)

    def _forked(self, request: Record) -> Fork | None:
        """A fork that waits until it is recorded; None if the zygote can make none any more."""
        with contextlib.suppress(OSError):  # the zygote has just ended
            if self._usable:
                self._channel.send(json.dumps(request).encode())
                return self._begun.get()
        return None

    def _put_on_record(self, fork: Fork, job: Container, mark: str) -> None:
        try:
            fork.mark = mark
            fork.record = put_on_record(self._records, fork.pid, job.command, mark)
        finally:
            with contextlib.suppress(OSError):  # the zygote has just ended, and the fork with it
                self._channel.send(json.dumps({"runs": fork.record is not None}).encode())

    def close(self) -> None:
        """End the zygote and its forks, and remove its folder; the log stays."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._zygote.pid, signal.SIGKILL)
        self._zygote.wait()
        self._zygote.forget()
        self._reader.join()
        self._channel.close()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self._channel.recv(_MESSAGE_BYTES):
                message = json.loads(data)
                if not message:
                    self._usable = True
                    self._settled.set()
                elif "status" in message:
                    self._running.pop(message["pid"]).end(message["status"])
                else:
                    fork = self._running[message["pid"]] = Fork(message["pid"])
                    self._begun.put(fork)
        self._usable = False
        for fork in self._running.values():  # nothing else will report their end
            with contextlib.suppress(ProcessLookupError):
                os.killpg(fork.pid, signal.SIGKILL)
            fork.end(-signal.SIGKILL)
        self._begun.put(None)
        self._settled.set()
