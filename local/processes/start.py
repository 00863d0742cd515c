"""The only place that starts processes. Each is recorded before it runs, and dies with the service.

PR_SET_PDEATHSIG is not enough: it ends a process without its children, follows the forking thread and not
the service, and exists only on Linux. So a guard, a one-line shell, holds a pipe to the service. When that
closes, the guard becomes orphans.py, unless the service has said that nothing is left.
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
    """A recorded process that leads its own session, until `end`."""

    record: Path
    mark: str

    def end(self, timeout_s: float) -> None:
        """Send SIGTERM and, `timeout_s` later, SIGKILL to all that is left; it may have ended already."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        self.forget()

    def forget(self) -> None:
        """Remove its record: it and its group have ended."""
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
    """Start a program, which waits in launcher.py until it is recorded.

    Args:
        records: where it is recorded, `processes` of the home.
        folder: its working directory.
        own: how it reaches its /opt/ml; None if it needs none.
        pass_fds: descriptors that it keeps.

    Raises:
        OSError: no more processes can be started, or the disk is too full for the record.
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
            opening.close()  # it ends, because it is not recorded
            process.wait()
            raise
        with contextlib.suppress(BrokenPipeError):  # it was ended meanwhile
            opening.write(b"\n")
    return process


def new_mark() -> str:
    """A unique value of orphans.MARK."""
    return secrets.token_hex(16)


def put_on_record(records: Path, pid: int, command: Sequence[str], mark: str) -> Path:
    """Record a process that was started and waits to run; return the file for `strike_off`.

    Args:
        mark: its value of orphans.MARK.

    Raises:
        OSError: the disk is full.
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
    """End what an ended program left in other sessions, and remove the program's record."""
    orphans.end_marked([mark])
    record.unlink(missing_ok=True)


def guard(records: Path) -> subprocess.Popen[bytes]:
    """Start the guard, which ends the recorded processes of this service once this service is gone.

    Raises:
        OSError: no more processes can be started.
    """
    end = [sys.executable, "-I", orphans.__file__, str(records), orphans.name_of(os.getpid())]
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read -r nothing_left || exec "$@"', "guard", *end],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C in a terminal does not reach it
    )


def dismiss(guarding: subprocess.Popen[bytes], records: Path) -> None:
    """End the guard, which first ends what is still recorded, as if this process were gone."""
    guarding.communicate(b"" if any(records.glob("*.json")) else b"\n")
