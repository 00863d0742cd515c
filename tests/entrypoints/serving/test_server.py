"""A running server from outside, while its workers die, its clients leave and it is stopped."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from entrypoints.contract import JPEG, JSON
from local.endpoints.model_server import ModelServer
from tests.entrypoints.serving import servers
from tests.entrypoints.serving.servers import encoded, served, slow

PATIENCE = """\
import entrypoints.serving.workers
entrypoints.serving.workers.WAITING_S = 60.0
"""

Served = tuple[ModelServer, httpx.Client]


@pytest.fixture(scope="module")
def running(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(artifact, tmp_path_factory.mktemp("served"), changes=PATIENCE) as running:
        yield running


def invoke(client: httpx.Client, body: bytes, content_type: str = JSON) -> httpx.Response:
    return client.post("/invocations", content=body, headers={"content-type": content_type})


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def busy(processes: list[psutil.Process]) -> Callable[[], bool]:
    """Wait until each of these processes has computed for 0.1 s; return whether they have."""
    before = [process.cpu_times().user for process in processes]
    return lambda: all(
        process.cpu_times().user > began + 0.1 for process, began in zip(processes, before, strict=True)
    )


def any_busy(processes: list[psutil.Process]) -> Callable[[], bool]:
    each = [busy([process]) for process in processes]
    return lambda: any(one() for one in each)


def test_a_killed_worker_is_replaced(running: Served) -> None:
    server, client = running
    killed, kept = servers.workers(server)
    killed.kill()
    until(lambda: client.get("/ping").status_code == 503)
    assert invoke(client, encoded(), JPEG).json()["label"] == "bees"  # by the other one
    until(lambda: client.get("/ping").status_code == 200)
    assert kept in servers.workers(server)
    assert len(servers.workers(server)) == 2
    with ThreadPoolExecutor(4) as pool:
        statuses = pool.map(lambda _: invoke(client, encoded(), JPEG).status_code, range(8))
    assert set(statuses) == {200}


def test_the_request_of_a_worker_that_dies_is_told_so(running: Served) -> None:
    server, client = running
    until(lambda: client.get("/ping").status_code == 200)
    with ThreadPoolExecutor(1) as pool:
        answering = any_busy(servers.workers(server))
        asked = pool.submit(invoke, client, slow(20))
        until(answering)
        for process in servers.workers(server):
            process.kill()
        answer = asked.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "worker_died")
    assert answer.headers["retry-after"] == "1"
    until(lambda: client.get("/ping").status_code == 200)


def test_who_has_gone_is_not_predicted_for(running: Served) -> None:
    server, client = running
    until(lambda: client.get("/ping").status_code == 200)
    body = slow(5)
    with ThreadPoolExecutor(2) as pool:
        answering = busy(servers.workers(server))
        asked = [pool.submit(invoke, client, body) for _ in range(2)]
        until(answering)
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            head = f"POST /?gone HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JPEG}\r\nContent-Length: 5"
            gone.sendall(f"{head}\r\n\r\nworse".encode())
        assert {request.result().status_code for request in asked} == {200}
    until(lambda: '"status": 499, "bytes": 5,' in server.log.read_text())


def test_the_log_says_what_was_asked_and_nothing_of_the_picture(running: Served) -> None:
    server, client = running

    def lines() -> list[str]:
        return [line for line in server.log.read_text().splitlines() if line.startswith("{")]

    until(lambda: client.get("/ping").status_code == 200)
    client.get("/ping")
    before = len(lines())
    client.get("/nowhere%0Aelse")
    body = encoded()
    invoke(client, body, JPEG)
    until(lambda: len(lines()) >= before + 2)  # a line comes after its answer
    missing, invocation = (json.loads(line) for line in lines()[before:])
    assert missing["path"] == "/nowhere\nelse"
    assert invocation.pop("ms") > 0
    assert invocation == {
        "method": "POST",
        "path": "/invocations",
        "status": 200,
        "bytes": len(body),
        "engine": missing["engine"] or invocation["engine"],
    }


def test_sigterm_lets_requests_end(artifact: Path, tmp_path: Path) -> None:
    with served(artifact, tmp_path) as (server, client), ThreadPoolExecutor(1) as pool:
        processes = servers.workers(server)
        answering = any_busy(processes)
        asked = pool.submit(invoke, client, slow(5))
        until(answering)
        os.killpg(server.pid, 15)
        assert asked.result().status_code == 200
        server.wait(10)
        assert server.exit_status is not None
        assert psutil.wait_procs(processes, timeout=5)[1] == []


def test_kill_leaves_no_orphans(artifact: Path, tmp_path: Path) -> None:
    with served(artifact, tmp_path) as (server, _):
        processes = servers.workers(server)
        os.kill(server.pid, 9)
        assert psutil.wait_procs(processes, timeout=5)[1] == []
