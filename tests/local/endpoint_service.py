"""The parts of the local service that endpoints need, and a model to serve."""

import contextlib
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.endpoints.configs import EndpointConfigs
from local.endpoints.deployments import Deployments
from local.endpoints.endpoints import Endpoints
from local.endpoints.models import Models
from local.endpoints.registry import Registry
from local.home.home import Home
from local.home.store import Store
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
APP = """
import asyncio
import os
import time


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = dict(scope["headers"])
    status, answer = 200, b"WORD:" + body
    if body == b"fail":
        status, answer = 400, b"not a picture"
    elif body == b"die":
        print("out of luck", flush=True)
        os._exit(3)
    elif body == b"sleep":
        time.sleep(1)
    elif body == b"linger":
        await asyncio.sleep(2)
        answer = b"WORD:lingered"
    elif body == b"pid":
        answer = str(os.getpid()).encode()
    elif body.startswith(b"env:"):
        answer = os.environ.get(body[4:].decode(), "-").encode()
    elif body == b"headers":
        secret = headers.get(b"authorization", b"-")
        answer = b" ".join([headers[b"content-type"], headers[b"accept"], secret])
    sent = [(b"content-type", b"text/x"), (b"x-amzn-sagemaker-custom-attributes", b"engine=WORD")]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": answer})
"""


def pack(home: Home, key: str, **files: str) -> None:
    """Write files, app_py for app.py, as model data at s3://bucket/<key>."""
    path = home.object_path(f"s3://bucket/{key}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("_py", ".py"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


class Service:
    """The parts of the local service that endpoints need, over one home folder."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.store = Store(self.home.database)
        registry = Registry(self.home, self.store)
        models = Models(self.home, self.store, registry)
        configs = EndpointConfigs(self.home, self.store, models)
        self.deployments = Deployments(
            self.home, self.store, models, configs, lambda: {"AWS_REGION": "us-east-1"}
        )
        self.endpoints = Endpoints(self.home, self.store, configs, self.deployments)
        self.call = ControlPlane(
            registry.operations() | models.operations() | configs.operations() | self.endpoints.operations()
        ).call

    def close(self) -> None:
        self.deployments.stop()
        self.store.close()

    def config(
        self,
        name: str,
        word: str = "hello",
        app: str = APP,
        environment: dict[str, str] | None = None,
        serverless: dict[str, int] | None = None,
    ) -> None:
        pack(self.home, f"{name}.tar.gz", app_py=app.replace("WORD", word))
        container = {"ModelDataUrl": f"s3://bucket/{name}.tar.gz", "Environment": environment or {}}
        self.call("CreateModel", {"ModelName": name, "PrimaryContainer": container})
        instances = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.2xlarge"}
        hosting = {"ServerlessConfig": serverless} if serverless else instances
        variant = {"VariantName": "v", "ModelName": name, **hosting}
        self.call("CreateEndpointConfig", {"EndpointConfigName": name, "ProductionVariants": [variant]})

    def create(self, config: str) -> dict[str, Any]:
        self.call("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": config})
        return self.settled()

    def update(self, config: str) -> dict[str, Any]:
        self.call("UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": config})
        return self.settled()

    def describe(self) -> dict[str, Any]:
        return self.call("DescribeEndpoint", {"EndpointName": "e"})

    def settled(self) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            described = self.describe()
            if described["EndpointStatus"] in ("InService", "Failed"):
                return described
            time.sleep(0.05)
        raise AssertionError(f"still {described['EndpointStatus']}")

    def invoke(self, body: bytes, **headers: str) -> bytes:
        return self.endpoints.invoke("e", body, headers)[2]


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Service]:
    """A Service that is closed at the end and leaves no processes."""
    before = set(psutil.Process().children(recursive=True))
    service = Service(root)
    try:
        yield service
    finally:
        service.close()
    left = set(psutil.Process().children(recursive=True)) - before
    assert not left, left


def refused(service: Service, name: str, request: dict[str, Any]) -> tuple[str, str]:
    """The code and message of the operation's error."""
    with pytest.raises(ServiceError) as caught:
        service.call(name, request)
    return caught.value.code, caught.value.message


def gone(pid: int) -> bool:
    """Whether a process ends within a moment."""
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


@contextlib.contextmanager
def restarted(service: Service, root: Path) -> Iterator[Service]:
    """A later Service on the same home folder, which continues the earlier one's work."""
    service.deployments.stop()
    again = Service(root)
    try:
        again.deployments.resume()
        yield again
    finally:
        again.close()


def deleted(service: Service) -> bool:
    """Whether DeleteEndpoint is allowed, and the endpoint is gone within a moment."""
    service.call("DeleteEndpoint", {"EndpointName": "e"})
    deadline = time.monotonic() + 10
    while service.call("ListEndpoints", {})["Endpoints"] and time.monotonic() < deadline:
        time.sleep(0.02)
    return not service.call("ListEndpoints", {})["Endpoints"]
