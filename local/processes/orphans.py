"""Records of the processes that the service started, so that those that outlive it are ended.

The records are files, one per process: its pid, and when it began. Together they identify one process,
even if the pid is reused. Two programs read them: a service's guard (start.py), which ends what is left
when the service is gone, and the next service, in case the guard was killed, too.

A process that a program starts in another session is not in the program's group, and has no parent once the
program has ended. It is recognized by its environment, which has the MARK of the program unless that was
removed on purpose.

A separate program, for the guard; it imports nothing from the local service:

    python orphans.py RECORDS SERVICE     ends what this service has started
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import psutil

# A variable of every program that the service starts, inherited by its children; unique per program.
MARK = "LOCAL_SERVICE_PROCESS"
_PATIENCE_S = 5.0  # the end of a killed process and execve are quick, unless the kernel is busy
_POLL_S = 0.01


def began(pid: int) -> str | None:
    """When a process began, as exactly as the system knows it; None if the pid is unused.

    Linux counts from the machine's boot, so setting the clock changes nothing; after a reboot all values
    differ.
    """
    try:
        return f"{_machine()} {_stat(pid)[19]}"  # starttime
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    with contextlib.suppress(psutil.NoSuchProcess):  # macOS
        return repr(psutil.Process(pid).create_time())
    return None


def _stat(pid: int) -> list[str]:
    """What proc_pid_stat(5) lists of a process, from the third field: the second may hold spaces.

    Raises:
        OSError: it has ended, or this system has no such file.
    """
    line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return line.rpartition(")")[2].split()


def _machine() -> str:
    """The machine's boot id, where the system has one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # a sandbox that hides it
        return "-"


def name_of(pid: int) -> str:
    """A name that identifies this process for good."""
    return f"{pid} {began(pid)}"


def end_left(records: Path, service: str | None = None) -> list[dict[str, Any]]:
    """End the recorded processes that still run, with all their descendants, and remove their records.

    Args:
        service: the name of the service that started them; None for any (only while no service runs).

    Returns:
        The records of those that still ran.
    """
    left: list[dict[str, Any]] = []
    killed: list[psutil.Process] = []
    marks: list[str] = []
    done: list[Path] = []
    for file in sorted(records.glob("*.json")):
        try:
            record = json.loads(file.read_bytes())
            pid, this_one = record["pid"], record["service"]
        except FileNotFoundError:  # removed meanwhile
            continue
        except (ValueError, KeyError, TypeError):  # half-written: its process never ran
            pid, this_one, record = 0, None, {}
        if service not in (None, this_one):
            continue
        if pid and (now := began(pid)) and now == record.get("began"):
            killed += _kill_tree(pid)
            left.append(record)
        if mark := record.get("mark"):
            marks.append(mark)
        done.append(file)
    _wait(killed)
    end_marked(marks)
    for file in done:
        file.unlink(missing_ok=True)
    return left


def end_marked(marks: Collection[str]) -> None:
    """End every process with one of these marks in its environment, and wait until none is left."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    deadline = time.monotonic() + _PATIENCE_S
    while wanted and (found := list(_marked(wanted))) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        _wait(found)


def _marked(wanted: set[bytes]) -> Iterator[psutil.Process]:
    """All other processes that were started with one of these variables."""
    for pid in psutil.pids():
        if pid != os.getpid() and not wanted.isdisjoint(_variables(pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                # Again, because the pid may have been reused. From here on `kill` checks that itself.
                if not wanted.isdisjoint(_variables(pid)):
                    yield process


def _variables(pid: int) -> list[bytes]:
    """The variables that a process was started with; none if it has ended, or is another user's."""
    file = Path(f"/proc/{pid}/environ")
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while not (variables := file.read_bytes()) and _in_execve(pid) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return variables.split(b"\0")
    except OSError:
        if Path("/proc/self/environ").exists():
            return []
    with contextlib.suppress(psutil.Error, OSError):  # macOS
        return [f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items()]
    return []


def _in_execve(pid: int) -> bool:
    """Whether a process whose /proc/PID/environ was just empty is only about to get its variables.

    execve empties that file for a moment, in which the parent may already go on, and end. It stays empty for
    kernel threads and zombies, which have no memory, and for a program that was started without variables.

    Raises:
        OSError: it has ended.
    """
    fields = _stat(pid)
    vsize, env_start, env_end = int(fields[20]), int(fields[47]), int(fields[48])
    return vsize > 0 and (env_end == 0 or env_start != env_end)


def _kill_tree(pid: int) -> list[psutil.Process]:
    """Kill a process, its group and its descendants, also in other groups; return those that existed."""
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS, for a group of zombies
        os.killpg(pid, signal.SIGKILL)
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has changed its user
            process.kill()
    return tree


def _wait(killed: list[psutil.Process]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while any(map(_runs, killed)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    end_left(Path(sys.argv[1]), sys.argv[2])
