"""The one place that starts processes. Each is on record before it runs, and dies with the service.

PR_SET_PDEATHSIG would do less: it ends a process without what that has started, follows the thread that forks
and not the service, and exists on Linux only. So a guard, a shell of one line, holds a pipe to the service.
At its end the guard becomes orphans.py, unless the service has said that nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from local.home.files import UMASK, make_file, make_folder
from local.processes import orphans
from local.processes.opt_ml import LAUNCHER, OptMl

Stream = int | IO[bytes]


class Started(subprocess.Popen[bytes]):
    """A process that leads a session of its own and is on record, until `end`."""

    record: Path
    mark: str

    def end(self, timeout_s: float) -> None:
        """SIGTERM to it and, `timeout_s` later, SIGKILL to all that is left; it may have ended by itself."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        self.forget()

    def forget(self) -> None:
        """Strike it off the record: it has ended, and its group."""
        strike_off(self.record, self.mark)


def start(
    records: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    own: OptMl | None = None,
    *,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream,
    stderr: Stream = subprocess.STDOUT,
    pass_fds: Collection[int] = (),
) -> Started:
    """Start a program, which waits in launcher.py until it is on record.

    Args:
        records: where it is recorded, `processes` of the home.
        folder: where it works.
        own: how it gets an /opt/ml; None for a program that needs none.
        pass_fds: descriptors that it keeps.

    Raises:
        OSError: there are no more processes, or the disk does not take the record.
    """
    way = [own.way, str(own.folder)] if own else ["", ""]
    mark = new_mark()
    gate, opener = os.pipe()
    with os.fdopen(opener, "wb", buffering=0) as opening:
        try:
            process = Started(
                [sys.executable, "-IS", str(LAUNCHER), str(gate), *way, *command],
                env={**environment, orphans.MARK: mark},
                cwd=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                umask=UMASK,
                pass_fds=[gate, *pass_fds],
            )
        finally:
            os.close(gate)
        try:
            process.mark = mark
            process.record = put_on_record(records, process.pid, command, mark)
        except BaseException:
            opening.close()  # it ends: it is not on record
            process.wait()
            raise
        with contextlib.suppress(BrokenPipeError):  # somebody has ended it
            opening.write(b"\n")
    return process


def new_mark() -> str:
    """A value of orphans.MARK that no other program has."""
    return secrets.token_hex(16)


def put_on_record(records: Path, pid: int, command: Sequence[str], mark: str) -> Path:
    """Record a process that this one has started and that does not run yet; the file for `strike_off`.

    Args:
        mark: its value of orphans.MARK.

    Raises:
        OSError: the disk does not take it.
    """
    began = orphans.began(pid)
    service = orphans.name_of(os.getpid())
    text = json.dumps(
        {"pid": pid, "began": began, "service": service, "command": list(command), "mark": mark}
    )
    make_folder(records)
    file = records / f"{pid}-{str(began).rpartition(' ')[2]}.json"
    try:
        make_file(file)
        file.write_text(text, encoding="utf-8")
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return file


def strike_off(record: Path, mark: str) -> None:
    """End what a program that has ended has left in sessions of its own, and forget the program."""
    orphans.end_marked([mark])
    record.unlink(missing_ok=True)


def guard(records: Path) -> subprocess.Popen[bytes]:
    """Start what ends the processes on these records that this one has started, once this one is gone.

    Raises:
        OSError: there are no more processes.
    """
    end = [sys.executable, "-I", orphans.__file__, str(records), orphans.name_of(os.getpid())]
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r nothing_left || exec "$@"', "guard", *end],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is not for it
    )


def dismiss(guarding: subprocess.Popen[bytes], records: Path) -> None:
    """End the guard, which first ends what is still on record, as if this process were gone."""
    guarding.communicate(b"" if any(records.glob("*.json")) else b"\n")
