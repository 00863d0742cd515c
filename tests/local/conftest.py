"""A local service's parts: a home folder, its records, and a server with clients bound to it."""

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


def refuse(*_arguments: object) -> Any:
    raise ServiceError("ValidationError", "this test has no such service")


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A server with S3 and moto; no SageMaker operations, endpoints or functions."""
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, refuse))
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
