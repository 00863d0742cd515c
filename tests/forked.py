"""Python programs as forks of a process that has imported their libraries.

Importing the SageMaker SDK costs 5 s of CPU, torch and torchvision 6 s, boto3 0.5 s: with hundreds of
programs, that was a large part of the suite's time. Only libraries are imported in advance (preload.py). A
program finds what `python ARGUMENTS...` would give it: `__main__`, arguments, path, environment, folder and
output.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHILD = Path(__file__).resolve().with_name("fork.py")
FORKS: Any = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["preload"])  # next to this file; some library is also called "tests"
# The initial environment of the forking process. The SDK creates boto3 clients when it is imported.
PRELOADING = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "PYTHONPATH": str(CHILD.parent),
}


class Program:
    """A running program without input; the part of subprocess.Popen that the tests use."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start `python COMMAND...`: a file, -m and a module, or -c and code; then arguments."""
        self._command = list(command)
        self._streams = []
        for _ in range(2):
            descriptor, name = tempfile.mkstemp()
            os.close(descriptor)
            self._streams.append(Path(name))
        what = {
            "command": self._command,
            "folder": str(folder),
            "environment": dict(environment),
            "streams": [str(path) for path in self._streams],
        }
        self._process = FORKS.Process(target=runpy.run_path, args=(str(CHILD), what))
        with _environment(PRELOADING):  # the first one starts the forking process
            self._process.start()
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Like Popen's: None while it runs, negative for a signal."""
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended; raises subprocess.TimeoutExpired if that takes too long."""
        self._process.join(timeout_s)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._command, timeout_s)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def lines(self) -> Iterator[str]:
        """The lines of its output as they arrive, until it has ended."""
        with self._streams[0].open(encoding="utf-8") as stream:
            text, ended = "", False
            while not ended:
                ended = self.returncode is not None
                text += stream.read()
                *whole, text = text.split("\n")
                yield from whole
                time.sleep(0.01)

    def communicate(self, timeout_s: float) -> tuple[str, str]:
        """Its output and errors once it has ended; TimeoutExpired, and it is killed, after `timeout_s`."""
        try:
            self.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            self._process.join()
            raise subprocess.TimeoutExpired(self._command, timeout_s, *self._read()) from error
        output, errors = self._read()
        return output, errors

    def _read(self) -> list[str]:
        texts = [path.read_text(encoding="utf-8") for path in self._streams]
        for path in self._streams:
            path.unlink()
        return texts


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run `python COMMAND...` to the end, without input.

    Raises:
        subprocess.TimeoutExpired: it has not ended after `timeout_s`; it is killed.
    """
    program = Program(command, folder, environment)
    output, errors = program.communicate(timeout_s)
    assert program.returncode is not None
    return subprocess.CompletedProcess(list(command), program.returncode, output, errors)


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
