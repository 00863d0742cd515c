"""The process behind an endpoint or a transform job: a model archive's app.py, served on the loopback.

Like a container it has an /opt/ml of its own, with the model at /opt/ml/model (processes/opt_ml.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import urllib3

from entrypoints.archives import extract
from local.home.files import close_tree_to_others, make_file, make_folder
from local.home.home import Home
from local.processes.files import last_lines
from local.processes.launcher import OPT_ML
from local.processes.log_times import timed
from local.processes.opt_ml import OptMl, opt_ml
from local.processes.start import Started, start

# A container must answer GET /ping within 4 minutes of its start, each answer within 2 seconds
# (developer guide, "Use your own inference code with hosting services").
HEALTHY_WITHIN_S = 240.0
PING_TIMEOUT_S = 2.0
POLL_INTERVAL_S = 0.1
# The same page: an invocation has 60 seconds.
INVOCATION_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
# Connections kept open: as many as a transform job may use at a time (with MaxPayloadInMB 1, 100).
MOST_CONNECTIONS = 100
# The headers of a request that reach the container, and of its answer that reach the client, besides
# X-Amzn-SageMaker-* (API reference, InvokeEndpoint).
REQUEST_HEADERS = ("content-type", "accept")
RESPONSE_HEADERS = ("content-type",)
APP = "app.py"
# How deep a model's folders may be: they are removed recursively, with an open file in each.
DEEPEST_FOLDER = 100
# Errors in unpacking that are the machine's fault, not the archive's.
MACHINE_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES,
    errno.ENOMEM, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
# What serves an artifact: uvicorn with the artifact's worker processes, or Ray Serve as in SageMaker's
# container, in a separate environment.
UVICORN, RAY = SERVERS = ("uvicorn", "ray")
RAY_VENV = Path(__file__).parents[2] / ".venv-ray"
COMMANDS: dict[str, tuple[str | Path, ...]] = {
    # -P: the artifact does not import from this folder.
    UVICORN: (sys.executable, "-P", Path(__file__).with_name("uvicorn_server.py")),
    RAY: (RAY_VENV / "bin" / "python", "-P", Path(__file__).with_name("ray_server.py")),
}
# Ray puts sockets there. Their paths must stay below 108 characters; a home's may be longer.
RAY_SCRATCH = Path("/tmp")
RAY_ENVIRONMENT = {
    # Ray's own ports listen on every interface, and run programs for any caller that has the token.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class LaunchError(Exception):
    """Why a model cannot be served: one paragraph that names what is missing or ends with the log."""


class MachineError(LaunchError):
    """The same, but not the model's fault: this machine lacks disk space, memory or processes."""


class Unanswered(Exception):
    """A request that the server did not answer."""


class ModelServer:
    """One running server. Made by `launch`; ended by `stop`."""

    def __init__(self, process: Started, folders: Collection[Path], log: Path, log_start: int) -> None:
        self._process = process
        self._folders = folders
        self.log = log
        self._log_start = log_start
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._in_flight = 0
        self._lock = threading.Lock()
        self._times = contextlib.ExitStack()
        self._times.enter_context(timed(log))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status of the process, None while it runs."""
        return self._process.poll()

    @property
    def how_it_ended(self) -> str:
        """How the process ended, with its last output."""
        return f"the model server exited with status {self.exit_status}: {last_lines(self.log, 800)}"

    @property
    def port(self) -> int | None:
        """Its port on the loopback; None before it answers."""
        return self._pool.port if self._pool else None

    def wait_until_healthy(self, stopping: threading.Event) -> None:
        """Wait until GET /ping answers 200, or until `stopping` is set.

        Raises:
            LaunchError: the process ended, or was not healthy in time.
        """
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while not stopping.is_set():
            if self.exit_status is not None:
                raise LaunchError(self.how_it_ended)
            if self._pings():
                return
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"the model server did not answer GET /ping with 200 within {HEALTHY_WITHIN_S:g} s: "
                    + last_lines(self.log, 800)
                )
            stopping.wait(POLL_INTERVAL_S)

    def _pings(self) -> bool:
        if self._pool is None:
            self._pool = self._connect()
        if self._pool is None:
            return False
        try:
            return self._pool.request("GET", "/ping", timeout=PING_TIMEOUT_S, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _connect(self) -> urllib3.HTTPConnectionPool | None:
        """Connections to the port that uvicorn reports; None until it does."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            port = re.search(rb"Uvicorn running on http://127\.0\.0\.1:(\d+)", log.read())
        return port and urllib3.HTTPConnectionPool("127.0.0.1", int(port[1]), maxsize=MOST_CONNECTIONS)

    def invoke(
        self, body: bytes, headers: Mapping[str, str], timeout_s: float | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer to POST /invocations: status, headers (names in lower case), body.

        Args:
            headers: the client's; the server gets those that SageMaker passes on.
            timeout_s: how long to wait; default INVOCATION_TIMEOUT_S.

        Raises:
            Unanswered: no answer within that time, or the connection broke.
        """
        return self._ask("POST", "/invocations", body, _passed(headers, REQUEST_HEADERS), timeout_s)

    def execution_parameters(self) -> tuple[int, dict[str, str], bytes]:
        """The answer to GET /execution-parameters, which transform jobs ask for.

        Raises:
            Unanswered: as `invoke`.
        """
        return self._ask("GET", "/execution-parameters")

    def page(self) -> tuple[int, dict[str, str], bytes]:
        """The answer to GET /, for browsers: status, headers (names in lower case), body.

        Raises:
            Unanswered: as `invoke`.
        """
        return self._ask("GET", "/")

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        if self._pool is None:
            raise Unanswered("the model server is not up")
        timeout_s = INVOCATION_TIMEOUT_S if timeout_s is None else timeout_s
        try:
            with self._counted():
                answer = self._pool.request(
                    method,
                    path,
                    body=body,
                    headers=headers,
                    timeout=timeout_s,
                    retries=False,
                )
        except urllib3.exceptions.TimeoutError:
            raise Unanswered(f"no answer within {timeout_s:g} s") from None
        except urllib3.exceptions.HTTPError as error:
            raise Unanswered(f"the connection broke: {error}") from None
        return answer.status, _passed(answer.headers, RESPONSE_HEADERS), answer.data

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def drain(self, stopping: threading.Event) -> None:
        """Wait until every request is answered, or until `stopping` is set; the caller sends no new ones."""
        while self._in_flight and not stopping.wait(POLL_INTERVAL_S):
            pass

    def wait(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for the process to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def stop(self) -> None:
        """End the process and what it started, and remove its unpacked model; the log stays."""
        if self._pool is not None:
            self._pool.close()
        self._process.end(STOP_TIMEOUT_S)
        self._times.close()
        for folder in self._folders:
            shutil.rmtree(folder)


def require(server: str) -> None:
    """Refuse a server from SERVERS that is not installed.

    Raises:
        LaunchError: how to install it, in one line.
    """
    if server == RAY and not (RAY_VENV / "complete").is_file():
        raise LaunchError(
            "Ray Serve is not installed; `make ray` installs it into .venv-ray (a minute, 0.6 GB)"
        )


def launch(
    home: Home,
    archive: Path,
    folder: Path,
    environment: Mapping[str, str],
    server: str = UVICORN,
    log_name: str = "server.log",
) -> ModelServer:
    """Unpack a model archive under `folder`, as /opt/ml/model, and serve it; its log is there, too.

    Args:
        server: one of SERVERS.

    Raises:
        LaunchError: the archive is missing, damaged, unsafe, or has no app.py at its root; `server` is
            not installed.
        MachineError: the server could write into the machine's own /opt/ml.
        OSError: the disk is full, or there are no more processes.
    """
    require(server)
    make_folder(folder)
    # A unique name: an update may serve the same configuration again beside the old server.
    ml = Path(tempfile.mkdtemp(prefix="ml-", dir=folder))
    model, log_path, folders = ml / "model", folder / log_name, [ml]
    try:
        own = _opt_ml(ml)
        command = [str(word) for word in COMMANDS[server]]
        if server == RAY:
            folders.append(Path(tempfile.mkdtemp(prefix=_ray_prefix(home), dir=RAY_SCRATCH)))
            command.append(str(folders[-1]))
        make_folder(model)
        _unpack(archive, model)
        make_file(log_path)
        with own.begin(log_path).open("ab") as log:
            log_start = log.tell()
            process = start(
                home.processes,
                command,
                {
                    **RAY_ENVIRONMENT,
                    **own.inside(dict(environment)),
                    "PYTHONPATH": own.inside(f"{OPT_ML}/model"),
                },
                model,
                own,
                stdout=log,
            )
    except BaseException:
        for made in folders:
            shutil.rmtree(made)
        raise
    return ModelServer(process, folders, log_path, log_start)


def ray_folders(home: Home) -> list[Path]:
    """The folders of this home's Ray servers in RAY_SCRATCH, which all homes and users share."""
    found = RAY_SCRATCH.glob(f"{_ray_prefix(home)}*")
    return [path for path in found if path.lstat().st_uid == os.getuid()]


def _ray_prefix(home: Home) -> str:
    return f"ray-{hashlib.sha256(os.fsencode(home.root.resolve())).hexdigest()[:8]}-"


def _opt_ml(folder: Path) -> OptMl:
    try:
        return opt_ml(folder)
    except ValueError as error:
        raise MachineError(str(error)) from None


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack model data, a .tar.gz archive (API reference, ContainerDefinition), and verify its end."""
    if not archive.is_file():
        raise LaunchError("the model data does not exist")
    try:
        extract(archive, folder, partial(_check, folder))
        close_tree_to_others(folder)
    except Exception as error:  # for a damaged header tarfile raises KeyError, ValueError, RecursionError ...
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in MACHINE_ERRORS):
            raise
        raise LaunchError(
            "the model data cannot be unpacked: it is damaged or not a safe .tar.gz archive; put a whole one "
            f"there and deploy it again: {type(error).__name__}: {error}"
        ) from error
    if not (folder / APP).is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise LaunchError(f"the model data has no {APP} with an ASGI `app` at its root, only: {found}")


def _check(folder: Path, member: tarfile.TarInfo) -> None:
    """Refuse a member that is too deep, or too large for the disk."""
    if member.name.count("/") > DEEPEST_FOLDER:
        raise tarfile.ReadError(f"{member.name[:60]!r}... is more than {DEEPEST_FOLDER} folders deep")
    if member.isreg() and member.size > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), member.name)


def _passed(headers: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in headers.items()
        if name.lower() in names or name.lower().startswith("x-amzn-sagemaker-")
    }
