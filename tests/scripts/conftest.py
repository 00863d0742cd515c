"""Commands as users run them, with moto on loopback."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import boto3
import numpy as np
import pytest
import requests
from botocore.client import BaseClient
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer
from PIL import Image

from tests import forked
from tests.scripts import prefixes
from tests.scripts.runtime import Runtime

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "image-classification-123456789012"
PLANE = {"region_name": "us-east-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}

OF_A_DATASET = re.compile(r"\d+ pictures of \d+ classes: |left out: ")

Completed = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[None]:
    """No credentials, profile or endpoint of this machine; variables that a command sets are restored."""
    saved = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "PIPELINE_"))]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "no-such-file")
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(autouse=True)
def closed_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All prefixes that commands send end in a slash."""
    monkeypatch.setattr(BaseClient, "_make_api_call", BaseClient._make_api_call)  # put back at the end
    prefixes.guard()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(moto_server: str) -> str:
    """The address of an empty AWS."""
    requests.post(f"{moto_server}/moto-api/reset", timeout=10).raise_for_status()
    return moto_server


@pytest.fixture
def client(url: str) -> Callable[[str], object]:
    return lambda service: boto3.client(service, endpoint_url=url, **PLANE)


@pytest.fixture(params=["sagemaker"])
def stub(request):
    """botocore's stub of a client, SageMaker's by default; all its answers must be used."""
    client = boto3.client(request.param, **PLANE)
    with Stubber(client) as stub:
        stub.client = client
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def s3(client):
    """S3 with the bucket of the shipped settings."""
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    return s3


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Completed]:
    """`python scripts/NAME ARGUMENTS...` in a folder outside the project."""

    def run(script: str, *arguments: object, **extra: str) -> Completed:
        command = [str(ROOT / "scripts" / script), *map(str, arguments)]
        return forked.run(command, tmp_path, {**os.environ, "COLUMNS": "200", **extra}, 60)

    return run


@pytest.fixture
def refused() -> Callable[..., None]:
    """Assert that a command ended with exit code 2 and one line that holds these words.

    Lines about a dataset may come before it.
    """

    def refused(completed: Completed, *words: str) -> None:
        assert completed.returncode == 2, completed.stderr
        lines = [line for line in completed.stderr.splitlines() if not OF_A_DATASET.match(line)]
        assert len(lines) == 1, completed.stderr
        assert completed.stdout == ""
        for word in words:
            assert word in lines[0]

    return refused


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A dataset of two classes with four pictures each."""
    folder = tmp_path / "pictures"
    for shade, name in enumerate(("ants", "große Bienen")):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            colour = (120 * shade, 40 * number, 10)
            Image.new("RGB", (24, 20), colour).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def runtime():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    server.requests, server.errors, server.stop = [], [], threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": url}
    yield SimpleNamespace(url=url, server=server, requests=server.requests, environment=keys)
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "große Biene.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path
