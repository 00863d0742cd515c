"""A local service's parts: a home folder, its records, and a server with clients bound to it."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local.control import ControlPlane, ServiceError
from local.home import Home
from local.s3 import S3
from local.server import Server, application
from local.store import Store

Client = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.database)
    yield store
    store.close()


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the smdebug trials of some small trainings, by their names in trainings.py."""
    folder = tmp_path_factory.mktemp("trials")
    program = Path(__file__).with_name("trainings.py")
    environment = {**os.environ, "SMDEBUG_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, program, folder], env=environment, check=True, timeout=120)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., str]:
    """bundle(program, ...) is the path of a sourcedir.tar.gz with package/go.py and further files."""

    def bundle(program: str, **others: str) -> str:
        folder, archive = tmp_path / "code", tmp_path / "sourcedir.tar.gz"
        for name, text in {"package/go.py": program, **others}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, ".")
        return str(archive)

    return bundle


def refuse(*_arguments: object) -> Any:
    raise ServiceError("ValidationError", "this test has no such service")


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A server with S3 and moto; no SageMaker operations, endpoints or functions."""
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, refuse, refuse))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Client:
    """client("s3") is boto3's client of the running server."""
    return clients(server.url)


def clients(url: str) -> Client:
    def client(service: str, **config: object) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32, **config),
        )

    return client
