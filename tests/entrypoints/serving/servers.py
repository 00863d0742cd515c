"""A small artifact behind a running server."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from PIL import Image

from local.endpoints.model_server import UVICORN, ModelServer, launch
from local.home.home import Home
from local.processes.environment import base_environment
from tests.entrypoints.pictures import COLORS, picture


@contextlib.contextmanager
def served(
    artifact: Path, folder: Path, server: str = UVICORN, changes: str = "", **environment: str
) -> Iterator[tuple[ModelServer, httpx.Client]]:
    """A healthy server, with two workers, and a client of it.

    `changes` is code to put at the beginning of the artifact's modules.
    """
    changed = shutil.copytree(artifact, folder / "artifact")
    for name in ("app.py", "deployment.py"):
        (changed / name).write_text(changes + (changed / name).read_text())
    with tarfile.open(folder / "model.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(changed, ".")
    variables = base_environment({"SAGEMAKER_MODEL_SERVER_WORKERS": "2", **environment})
    running = launch(Home(folder), folder / "model.tar.gz", folder, variables, server)
    try:
        running.wait_until_healthy(threading.Event())
        with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client:
            yield running, client
    finally:
        running.stop()


def workers(server: ModelServer) -> list[psutil.Process]:
    """The worker processes of a uvicorn server."""
    return psutil.Process(server.pid).children()


def encoded(color: str = "bees", image_format: str = "JPEG", **options: object) -> bytes:
    """A small picture."""
    file = io.BytesIO()
    picture(COLORS[color], (60, 44)).save(file, image_format, **options)
    return file.getvalue()


def slow(pictures: int = 1) -> bytes:
    """JSON with pictures that take at least 0.2 s each."""
    file = io.BytesIO()
    Image.new("L", (5000, 5000)).save(file, "PNG")
    return json.dumps({"images": [base64.b64encode(file.getvalue()).decode()] * pictures}).encode()
