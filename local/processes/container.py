"""One job process with the /opt/ml contract, without a container.

A job's folder `<job>/ml` stands for /opt/ml: that prefix is replaced in its arguments, environment and
configuration files, so programs that take every path from these run unchanged.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local.home.files import UMASK, make_file, make_folder
from local.wire.errors import invalid

OPT_ML = "/opt/ml"
# SageMaker sends SIGTERM and, 120 s later, SIGKILL (StopTrainingJob in the API reference).
STOP_TIMEOUT_S = 120.0


def rewritten(value: Any, ml: Path) -> Any:
    """A string, list or dict with the prefix /opt/ml replaced by the folder `ml` in every string."""
    if isinstance(value, str):
        return value.replace(OPT_ML, str(ml)) if OPT_ML in value else value
    if isinstance(value, list):
        return [rewritten(item, ml) for item in value]
    if isinstance(value, dict):
        return {key: rewritten(item, ml) for key, item in value.items()}
    return value


def refuse_empty_words(specification: Mapping[str, Any]) -> None:
    """Refuse an empty word in the command of a job (its AppSpecification or AlgorithmSpecification).

    botocore's model allows one; CreateProcessingJob refuses it, in these words
    (https://github.com/aws/sagemaker-python-sdk/issues/3758). Not published, and so assumed: that it counts
    from 0, that it says the same of ContainerEntrypoint, and that CreateTrainingJob refuses one too. A null
    does not come here: botocore's model refuses it first, in its own words.

    Raises:
        ServiceError: ValidationException that names the member and the index.
    """
    for member in ("ContainerEntrypoint", "ContainerArguments"):
        for index, word in enumerate(specification.get(member, [])):
            if word == "":
                raise invalid(
                    f"Found null or empty string in {member} at index {index}. ContainerArguments and "
                    "ContainerEntrypoint may not contain null or empty strings."
                )


def write_json(path: Path, value: Any) -> None:
    """Write one configuration file, making its folder."""
    make_folder(path.parent)
    make_file(path)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def base_environment(service: Mapping[str, str]) -> dict[str, str]:
    """The environment that every job starts from: this interpreter first on PATH, the service's own
    variables (endpoint, region, credentials), and pip kept from changing the environment.
    """
    kept = {
        name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ") if name in os.environ
    }
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "PIP_NO_INDEX": "1",  # a requirement that is missing here fails the job by name ...
        "PIP_CONFIG_FILE": os.devnull,  # ... whatever the person's own pip is told
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **service,
    }


class Process(Protocol):
    """A running program that leads a process group of its own."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit status (negative: ended by that signal); subprocess.TimeoutExpired after `timeout` s."""


Start = Callable[["Container"], Process]


def spawn(container: Container, pass_fds: Collection[int] = ()) -> subprocess.Popen[bytes]:
    """Start a container's command as a child of this process that keeps the descriptors `pass_fds`.

    Raises:
        OSError: the program cannot be started.
    """
    make_file(container.log)
    with container.log.open("ab") as log:
        return subprocess.Popen(
            container.command,
            env=dict(container.environment),
            cwd=container.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=UMASK,
            pass_fds=pass_fds,
        )


@dataclass
class Container:
    """A program started in a process group of its own, its output in one log file."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
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

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the program to end, and end it `timeout_s` later if it has not."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the program to end."""
        return self._stopping.is_set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def last_lines(log: Path, limit: int = 1024) -> str:
    """The end of a log, at most `limit` characters, cut at a line's beginning where there is one."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4 * limit))
        text = file.read().decode("utf-8", "replace").strip()
    if len(text) <= limit:
        return text
    text = text[-limit:]
    return text.partition("\n")[2] or text
