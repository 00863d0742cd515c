"""The servers that serving.py measures: context managers that start one and end all that it has started."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import psutil
import yaml

from benchmarks.load import HOST
from entrypoints.contract import CUSTOM_ATTRIBUTES, JPEG, MODEL_CARD, MODEL_WEIGHTS
from local.endpoints.model_server import RAY, RAY_ENVIRONMENT, RAY_SCRATCH, UVICORN, LaunchError, launch
from local.home.home import Home
from local.processes.environment import base_environment

ROOT = Path(__file__).resolve().parents[1]

PEERS = ROOT / "benchmarks" / "peers"
CORES = os.cpu_count() or 1
READY_WITHIN_S = 120.0
POLL_INTERVAL_S = 0.02
STOP_TIMEOUT_S = 10.0


class Absent(Exception):
    """Why a server cannot be measured here."""


class NotReady(Exception):
    """A server that ended, or did not answer in time; with the end of its log."""


@dataclass(frozen=True)
class Server:
    """A server that has answered. `healthy_s`: from its start to its first healthy ping."""

    port: int
    process: psutil.Process
    healthy_s: float
    engine: str


@dataclass(frozen=True)
class Place:
    """What every server gets: the artifact, a picture to try, and where the peers' environment is."""

    archive: Path
    artifact: Path  # unpacked
    picture: bytes
    peers: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def exchange(port: int, method: str, path: str, body: bytes = b"") -> http.client.HTTPResponse | None:
    """An answer, read to its end; None where nobody listens or the connection breaks."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": JPEG} if body else {})
        response = connection.getresponse()
        response.read()
        return response
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_for(process: psutil.Process, log: Path, what: str, try_once: Callable[[], bool]) -> None:
    """Try until it is true.

    Raises:
        NotReady: the process ended, or READY_WITHIN_S passed.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while not try_once():
        ended = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        if ended or time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise NotReady(f"{'ended' if ended else 'too late'} before {what}; its log ends:\n{tail}")
        time.sleep(POLL_INTERVAL_S)


def ready(place: Place, process: psutil.Process, port: int | None, log: Path, began: float) -> Server:
    """Wait for a healthy ping, then for an answer: TorchServe's ping is healthy before its workers are.

    Without a port it is the one that uvicorn writes to the log.
    """

    def listens() -> bool:
        nonlocal port
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace")):
            port = int(found[1])
        return port is not None

    def healthy() -> bool:
        answer = exchange(port or 0, "GET", "/ping")
        return answer is not None and answer.status == HTTPStatus.OK

    engine = ""

    def answered() -> bool:
        nonlocal engine
        answer = exchange(port or 0, "POST", "/invocations", place.picture)
        if answer is None or answer.status != HTTPStatus.OK:
            return False
        engine = (answer.getheader(CUSTOM_ATTRIBUTES) or "").removeprefix("engine=")
        return True

    if port is None:
        wait_for(process, log, "it listened", listens)
    wait_for(process, log, "a healthy ping", healthy)
    healthy_s = time.perf_counter() - began
    wait_for(process, log, "an answer", answered)
    assert port is not None
    return Server(port, process, healthy_s, engine)


def end(process: psutil.Process) -> None:
    """SIGTERM to a process and, STOP_TIMEOUT_S later, SIGKILL to all that it had started."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.terminate()
    psutil.wait_procs([process], STOP_TIMEOUT_S)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    psutil.wait_procs(family, STOP_TIMEOUT_S)


@contextlib.contextmanager
def started(
    place: Place,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    port: int | None,
) -> Iterator[Server]:
    """A command, run in `folder` with nothing but PATH, HOME and `environment`, once it answers."""
    log = folder / "server.log"
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    began = time.perf_counter()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = psutil.Process(child.pid)
    try:
        yield ready(place, process, port, log, began)
    finally:
        end(process)
        child.wait()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder whose short name leaves room for those of sockets."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def ours(kind: str) -> Callable[[Place], contextlib.AbstractContextManager[Server]]:
    """The artifact as a local endpoint serves it."""

    @contextlib.contextmanager
    def start(place: Place) -> Iterator[Server]:
        with scratch() as folder:
            began = time.perf_counter()
            try:
                server = launch(Home(folder), place.archive, folder, base_environment({}), kind)
            except LaunchError as error:
                raise Absent(str(error)) from None
            try:
                yield ready(place, psutil.Process(server.pid), None, server.log, began)
            finally:
                server.stop()

    return start


@contextlib.contextmanager
def counting(place: Place) -> Iterator[Server]:
    """A server that only counts bytes: the ceiling of the load generator."""
    with scratch() as folder:
        port = free_port()
        command = [sys.executable, str(PEERS / "counting.py"), str(port)]
        with started(place, command, {}, folder, port) as server:
            yield server


def torchserve(tuned: bool) -> Callable[[Place], contextlib.AbstractContextManager[Server]]:
    """TorchServe by the SageMaker PyTorch toolkit; tuned: a worker per core with one thread each."""

    @contextlib.contextmanager
    def start(place: Place) -> Iterator[Server]:
        python = interpreter(place.peers)
        if shutil.which("java") is None:
            raise Absent("no java on PATH")
        with scratch() as folder:
            code = folder / "model" / "code"
            code.mkdir(parents=True)
            copy_model(place, folder / "model")
            shutil.copy(PEERS / "inference.py", code)
            port, *others = (free_port() for _ in range(4))
            environment = {
                "PATH": f"{python.parent}:{os.environ['PATH']}",
                "SAGEMAKER_BASE_DIR": str(folder),
                "SAGEMAKER_BIND_TO_PORT": str(port),
                "TS_INFERENCE_ADDRESS": f"http://{HOST}:{port}",
                "TS_MANAGEMENT_ADDRESS": f"http://{HOST}:{port}",
                "TS_METRICS_ADDRESS": f"http://{HOST}:{others[0]}",
                "TS_GRPC_INFERENCE_PORT": str(others[1]),
                "TS_GRPC_MANAGEMENT_PORT": str(others[2]),
                "TEMP": str(folder),
                "TMPDIR": str(folder),
            }
            if tuned:
                environment |= {"SAGEMAKER_MODEL_SERVER_WORKERS": str(CORES), "OMP_NUM_THREADS": "1"}
            command = [str(python), str(PEERS / "torchserve.py"), "ts.properties"]
            with started(place, command, environment, folder, port) as server:
                yield server

    return start


def ray_example(replicas: int) -> Callable[[Place], contextlib.AbstractContextManager[Server]]:
    """AWS's example of a deployment under Ray Serve, as it stands or with more replicas."""

    @contextlib.contextmanager
    def start(place: Place) -> Iterator[Server]:
        python = interpreter(place.peers)
        rays = tempfile.TemporaryDirectory(prefix="ray-", dir=RAY_SCRATCH, ignore_cleanup_errors=True)
        with scratch() as folder, rays as short:
            copy_model(place, folder)
            shutil.copy(PEERS / "inference.py", folder)
            shutil.copy(PEERS / "deployment.py", folder)
            application = {
                "name": "example",
                "route_prefix": "/",
                "import_path": "deployment:app",
                "deployments": [{"name": "Classifier", "num_replicas": replicas}],
            }
            config = yaml.safe_dump({"applications": [application]})
            (folder / "config.yaml").write_text(config, encoding="utf-8")
            # The same adapter as in front of ours.
            command = [str(python), str(ROOT / "local" / "endpoints" / "ray_server.py"), short]
            variables = {**RAY_ENVIRONMENT, "PYTHONPATH": str(folder)}
            with started(place, command, variables, folder, None) as server:
                yield server

    return start


def copy_model(place: Place, folder: Path) -> None:
    """The weights and the classes: what the peers need of the artifact."""
    for name in (MODEL_WEIGHTS, MODEL_CARD):
        shutil.copy(place.artifact / name, folder)


def interpreter(environment: Path) -> Path:
    """The Python of an environment.

    Raises:
        Absent: there is none.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        raise Absent(f"no environment at {environment}")
    return python


SERVERS: Mapping[str, Callable[[Place], contextlib.AbstractContextManager[Server]]] = {
    "uvicorn": ours(UVICORN),
    "ray": ours(RAY),
    "torchserve": torchserve(tuned=False),
    "torchserve-tuned": torchserve(tuned=True),
    "ray-example": ray_example(replicas=1),
    "ray-example-tuned": ray_example(replicas=CORES),
    "counting": counting,
}
