"""Requests for transform jobs, and a model that echoes its input."""

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil

from local.endpoints.models import Models
from local.endpoints.registry import Registry
from local.home.home import Home
from local.home.store import Store
from local.jobs import transform
from local.jobs.jobs import JobService
from local.wire.operations import ControlPlane
from tests.local.endpoint_service import pack

IMAGE = "123.dkr.ecr.us-east-1.amazonaws.com/my-model:1"
# Echoes its input in brackets; answers a CSV row with its number of fields, a JSON document with {"label":
# it}.
APP = """
import asyncio
import json
import os

flaky = set()
running = most = 0


async def app(scope, receive, send):
    global running, most
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
    content_type = headers.get("content-type", "")
    status, answer = 200, b"[" + body + b"]"
    if scope["path"] == "/execution-parameters":
        answer = os.environ.get("PARAMETERS", "").encode()
        status = 200 if answer else 404
    elif content_type == "text/csv":
        answer = b"".join(b"%d\\n" % (line.count(b",") + 1) for line in body.split(b"\\n"))
    elif content_type == "application/jsonlines":
        answer = b"\\n".join(b'{"label":%s}' % line for line in body.split(b"\\n"))
    elif body == b"refuse":
        status, answer = 400, b"not a picture\\nbut a word"
    elif body == b"break":
        status, answer = 500, b"out of order"
    elif body.startswith(b"flaky") and body not in flaky:
        flaky.add(body)
        status = 503
    elif body == b"die":
        print("out of luck", flush=True)
        os._exit(3)
    elif body == b"hang":
        print("hanging", flush=True)
        await asyncio.sleep(60)
    elif body == b"late":
        await asyncio.sleep(1.5)
    elif body == b"slow":
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        answer = b"%d" % most
    elif body == b"headers":
        answer = f"{content_type} {headers.get('accept')}".encode()
    elif body == b"environment":
        answer = json.dumps({key: value for key, value in os.environ.items() if "SAGEMAKER" in key}).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": answer})
"""


@contextlib.contextmanager
def transforms(home: Home, store: Store) -> Iterator[ControlPlane]:
    """The operations on transform jobs and their models; leaves no processes."""
    before = set(psutil.Process().children(recursive=True))
    models = Models(home, store, Registry(home, store))
    service = JobService(home, store, transform.kind(models, "uvicorn"), dict)
    try:
        yield ControlPlane(models.operations() | service.operations())
    finally:
        service.close()
    left = set(psutil.Process().children(recursive=True)) - before
    assert not left, left


def create_model(control: ControlPlane, home: Home, name: str = "m", **environment: str) -> None:
    """A model whose data is APP, at s3://bucket/<name>.tar.gz."""
    pack(home, f"{name}.tar.gz", app_py=APP)
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://bucket/{name}.tar.gz", "Environment": environment}
    control.call("CreateModel", {"ModelName": name, "PrimaryContainer": container})


def transform_request(
    name: str,
    uri: str,
    data_type: str = "S3Prefix",
    source: dict[str, Any] | None = None,
    target: dict[str, Any] | None = None,
    **members: Any,
) -> dict[str, Any]:
    """A request for a job on the model m, whose results go to s3://b/out/<name>.

    Args:
        source: more of TransformInput.
        target: more of TransformOutput.
    """
    data = {"S3DataSource": {"S3DataType": data_type, "S3Uri": uri}}
    return {
        "TransformJobName": name,
        "ModelName": "m",
        "TransformInput": {"DataSource": data, **(source or {})},
        "TransformOutput": {"S3OutputPath": f"s3://b/out/{name}", **(target or {})},
        "TransformResources": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        **members,
    }
