from __future__ import annotations

import asyncio
import base64
import errno
import io
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from entrypoints.contract import JPEG, JSON, PNG
from entrypoints.serving import frames, replica, workers
from entrypoints.serving.replica import InProcess
from entrypoints.serving.workers import Busy, Processes, StartError, WorkerProcess
from local.model_server import ModelServer
from tests.entrypoints.serving import servers
from tests.entrypoints.serving.servers import encoded, served

PATIENCE = """\
import entrypoints.serving.workers
entrypoints.serving.workers.WAITING_S = 60.0
"""

Served = tuple[ModelServer, httpx.Client]


@pytest.fixture(scope="module")
def running(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(artifact, tmp_path_factory.mktemp("served"), changes=PATIENCE) as running:
        yield running


def slow(pictures: int = 1) -> bytes:
    """JSON with pictures that take a fifth of a second each, or longer."""
    file = io.BytesIO()
    Image.new("L", (5000, 5000)).save(file, "PNG")
    return json.dumps({"images": [base64.b64encode(file.getvalue()).decode()] * pictures}).encode()


def invoke(client: httpx.Client, body: bytes, content_type: str = JSON) -> httpx.Response:
    return client.post("/invocations", content=body, headers={"content-type": content_type})


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def busy(processes: list[psutil.Process]) -> Callable[[], bool]:
    """Whether each of so many processes has computed for a tenth of a second since this was called."""
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
            head = (
                f"POST /?gone HTTP/1.1\r\nHost: x\r\nContent-Type: {JPEG}\r\nContent-Length: 5\r\n\r\nworse"
            )
            gone.sendall(head.encode())
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


def test_a_worker_that_does_not_come_up_ends_the_start(
    artifact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(artifact, tmp_path / "artifact")
    (tmp_path / "artifact" / "model.onnx").unlink()
    (tmp_path / "artifact" / "model.int8.onnx").unlink()

    async def enter() -> None:
        async with Processes(tmp_path / "artifact", 1):
            pass

    with pytest.raises(StartError, match="ended with status 1"):
        asyncio.run(enter())
    assert "holds no model.onnx" in capfd.readouterr().err


def test_one_worker_that_does_not_come_up_ends_the_others(artifact: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(artifact, tmp_path / "artifact")
    worker = changed / "entrypoints/serving/worker.py"
    # mkdir succeeds once.
    worker.write_text(worker.read_text().replace("model = load(", "Path('one').mkdir(); model = load("))

    async def enter() -> None:
        before = set(psutil.Process().children())
        with pytest.raises(StartError):
            async with Processes(changed, 2):
                pass
        assert set(psutil.Process().children()) <= before

    asyncio.run(enter())
    assert (changed / "one").is_dir()


def test_a_system_short_of_files_does_not_end_the_replacing(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    create = asyncio.create_subprocess_exec
    shortages = iter([OSError(errno.EMFILE, "Too many open files")])

    async def fail_once(*command: Any, **options: Any) -> Any:
        for shortage in shortages:
            raise shortage
        return await create(*command, **options)

    async def kill() -> None:
        async with Processes(artifact, 1) as pool:
            monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_once)
            async with pool.worker() as worker:
                assert isinstance(worker, WorkerProcess)
                worker.process.kill()
            while pool.healthy:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(30):
                while not pool.healthy:
                    await asyncio.sleep(0.01)

    asyncio.run(kill())
    assert "no worker in its place: [Errno 24] Too many open files" in capfd.readouterr().err


def test_an_answer_that_takes_too_long_is_given_up(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(frames.TIMEOUT_VARIABLE, "1")

    async def ask() -> tuple[int, bytes]:
        async with Processes(artifact, 1) as pool:
            async with pool.worker() as worker:
                answer = await worker.answer(slow(20), JSON, JSON)
            while pool.healthy:
                await asyncio.sleep(0.01)
            async with pool.worker() as another:
                assert (await another.answer(encoded(), JPEG, JSON))[0] == 200
            assert pool.healthy
            return answer

    status, content = asyncio.run(ask())
    assert (status, json.loads(content)["code"]) == (504, "too_slow")


def test_a_request_too_large_for_memory_is_refused(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(frames.TIMEOUT_VARIABLE, "120")
    file = io.BytesIO()
    Image.new("RGBA", (10_000, 10_000)).save(file, "PNG", compress_level=1)

    async def ask() -> tuple[int, bytes]:
        async with Processes(artifact, 1) as pool, pool.worker() as worker:
            assert isinstance(worker, WorkerProcess)
            answer = await worker.answer(file.getvalue(), PNG, JSON)
            assert worker.alive
            return answer

    status, content = asyncio.run(ask())
    assert (status, json.loads(content)["code"]) == (413, "too_large")


def test_a_cancelled_request_leaves_no_answer_to_the_next(artifact: Path) -> None:
    async def ask() -> tuple[int, bytes]:
        async with Processes(artifact, 1) as pool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), pool.worker() as worker:
                    await worker.answer(slow(5), JSON, JSON)
            async with pool.worker() as another:
                return await another.answer(encoded("ants"), JPEG, JSON)

    status, content = asyncio.run(ask())
    assert (status, json.loads(content)["label"]) == (200, "ants")


def test_a_replica_predicts_in_its_own_process(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with InProcess(artifact) as pool:
            assert pool.healthy
            async with pool.worker() as worker:
                status, content = await worker.answer(encoded(), JPEG, JSON)
                assert (status, json.loads(content)["label"]) == (200, "bees")
                answering = asyncio.create_task(worker.answer(slow(), JSON, JSON))
                await asyncio.sleep(0)
                assert pool.alive
                monkeypatch.setattr(replica, "TIMEOUT_S", 0)
                assert not pool.alive
                assert (await answering)[0] == 200
                assert pool.alive

    asyncio.run(ask())


def test_the_queue_is_bounded_in_length_and_time(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WAITING_PER_WORKER", 2)
    monkeypatch.setattr(workers, "WAITING_S", 0.2)

    async def ask() -> None:
        async with InProcess(artifact) as pool, pool.worker():

            async def wait() -> None:
                async with pool.worker():
                    pass

            waiting = [asyncio.create_task(wait()) for _ in range(2)]
            await asyncio.sleep(0)
            assert pool.full
            with pytest.raises(Busy):
                await wait()
            refused = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(error) for error in refused] == [Busy, Busy]
            assert not pool.full

    asyncio.run(ask())


def test_there_are_no_more_workers_than_cores() -> None:
    assert 1 <= workers.cores() <= (os.cpu_count() or 1)
