"""The artifact as SageMaker's Ray Serve container runs it: `serve run config.yaml`, then a JPEG over HTTP."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from tests.entrypoints.pictures import COLORS, picture

START_TIMEOUT_S = 120


@pytest.fixture
def python(artifact: Path, tmp_path: Path) -> Path:
    """The Python of an environment that has Ray, and this one's packages behind its own."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    own, outer = (sysconfig.get_path("purelib", vars=v) for v in ({"base": str(environment)}, None))
    (Path(own) / "outer.pth").write_text(f"{outer}\n")
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "1"]
    probe = [*pip, "download", "--no-deps", "--dest", tmp_path / "probe", "jinja2"]
    if subprocess.run(probe, check=False).returncode:
        pytest.skip("pip reaches no package registry, which Ray would come from")
    requirements = artifact / "code" / "requirements.txt"
    # ray[serve] needs jinja2 and does not say so.
    subprocess.run([*pip, "install", "--quiet", "ray[serve]", "jinja2", "-r", requirements], check=True)
    return python


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray puts sockets here, whose paths must stay below 108 characters."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def test_serve_run(python: Path, artifact: Path, tmp_path: Path, short_folder: Path) -> None:
    served = tmp_path / "served"
    shutil.copytree(artifact, served)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (served / "config.yaml").open("a") as config:
        config.write(f"http_options:\n  host: 127.0.0.1\n  port: {port}\n")
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "ray.serve.scripts", "run", "config.yaml"],
            cwd=served,
            env={
                **os.environ,
                "HOME": str(short_folder),
                "PYTHONPATH": str(served),
                "RAY_AUTH_MODE": "disabled",
                "RAY_TMPDIR": str(short_folder),
                "RAY_USAGE_STATS_ENABLED": "0",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/ping", process, log)
        body = BytesIO()
        picture(COLORS["bees"]).save(body, "JPEG")
        headers = {"content-type": "image/jpeg", "accept": "application/json"}
        response = httpx.post(f"{url}/", content=body.getvalue(), headers=headers, timeout=30)
        assert response.status_code == 200, response.text
        assert response.json()["label"] == "bees"
        assert httpx.get(f"{url}/-/healthz").status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            # Nothing of Ray's may stay behind, however it ended.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
