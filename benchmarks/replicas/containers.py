"""A container: a copy of a replica's environment, deleted with the packages that a bundle installs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 900.0
# Variables of the user's environment by which pip reaches an index, if packages come from one.
INDEX_VARIABLES = ("PIP_", "SSL_CERT", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
NOWHERE = "http://127.0.0.1:9"
# The installed packages that the result names.
SHOWN = ("torch", "torchvision", "numpy", "protobuf", "onnx", "onnxruntime", "safetensors", "smdebug", "ray")
VERSIONS = """
import importlib.metadata, platform, sys
found = ["Python " + platform.python_version()]
for name in sys.argv[1:]:
    try:
        found.append(name + " " + importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
print(", ".join(found))
"""


class CheckError(Exception):
    """A program in a replica did not do what it does on AWS; the message is one line."""


@dataclass(frozen=True)
class Container:
    """A folder for its programs' files, including log.txt, and the environment that they run in."""

    folder: Path
    environment: Path
    offline: bool  # whether a package index is out of reach

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def variables(self, extra: Mapping[str, str]) -> dict[str, str]:
        """A program's environment variables: of this process's only those by which pip reaches an index."""
        given = {
            "PATH": os.pathsep.join([str(self.python.parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": os.environ.get("HOME", str(self.folder)),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        if self.offline:
            # No index and none of the user's pip settings; any request would fail here.
            given |= {"PIP_CONFIG_FILE": os.devnull, "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
            given |= {"PIP_RETRIES": "0", "NO_PROXY": "127.0.0.1,localhost"}
        else:
            given |= {key: value for key, value in os.environ.items() if key.startswith(INDEX_VARIABLES)}
        return {**given, **extra}

    def run(self, *command: str | Path, **extra: str) -> None:
        """Run a program to its end.

        Raises:
            CheckError: it failed, or took longer than TIMEOUT_S.
        """
        log = self.folder / "log.txt"
        with log.open("ab") as output:
            process = self._start(command, output.fileno(), extra)
            try:
                code = process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise CheckError(f"{command[0]} ran for more than {TIMEOUT_S:g} s; see {log}") from None
            finally:
                end(process)
        if code != 0:
            lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
            raise CheckError(f"exit code {code}: {lines[-1][:300] if lines else 'no output'} (all in {log})")

    @contextlib.contextmanager
    def running(self, *command: str | Path, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program in the background; it and all processes that it started end with the context."""
        with (self.folder / "log.txt").open("ab") as output:
            process = self._start(command, output.fileno(), extra)
            try:
                yield process
            finally:
                end(process)

    def versions(self) -> str:
        """The packages that are installed now."""
        command = [str(self.python), "-c", VERSIONS, *SHOWN]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().strip()

    def _start(
        self, command: tuple[str | Path, ...], output: int, extra: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=self.folder,
            env=self.variables(extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def start(environment: Path, folder: Path, *, offline: bool, installs: bool) -> Container:
    """A fresh container; if it installs something, in a copy of the environment.

    The copy consists of hard links: pip replaces files and never edits them.
    """
    folder.mkdir(parents=True)
    if not installs:
        return Container(folder, environment, offline)
    copy = folder / "environment"
    shutil.copytree(environment, copy, symlinks=True, copy_function=_link)
    for script in (copy / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes().replace(str(environment).encode(), str(copy).encode())
            script.unlink()
            script.write_bytes(text)
            script.chmod(0o755)
    return Container(folder, copy, offline)


def _link(source: str, target: str) -> None:
    os.link(source, target)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all its descendants, including those with their own sessions, like Ray's."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def wait_for(what: str, ready: Iterator[bool], timeout_s: float = 180.0) -> None:
    """Wait until `ready` returns True.

    Raises:
        CheckError: it did not within `timeout_s`.
    """
    began = time.monotonic()
    for done in ready:
        if done:
            return
        if time.monotonic() - began > timeout_s:
            raise CheckError(f"{what} took longer than {timeout_s:g} s")
        time.sleep(0.5)
