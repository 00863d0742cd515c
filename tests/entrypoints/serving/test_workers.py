from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from entrypoints.contract import JPEG, JSON, PNG
from entrypoints.serving import protocol, workers
from entrypoints.serving.replica import InProcess
from entrypoints.serving.workers import Busy, Processes, StartError, WorkerProcess
from tests.entrypoints.serving.servers import encoded, slow


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
    monkeypatch.setenv(protocol.TIMEOUT_VARIABLE, "1")

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
    monkeypatch.setenv(protocol.TIMEOUT_VARIABLE, "120")
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


@pytest.mark.parametrize(
    ("cpu_max", "count"),
    [
        (None, 5),  # no control group of version 2
        ("max 100000", 5),
        ("600000 100000", 5),
        ("300000 100000", 3),
        ("250000 100000", 3),
        ("50000 100000", 1),
    ],
)
def test_there_are_as_many_workers_as_cores_that_this_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu_max: str | None, count: int
) -> None:
    if cpu_max is not None:
        (tmp_path / "cpu.max").write_text(f"{cpu_max}\n")
    monkeypatch.setattr(workers, "Path", lambda path: tmp_path / Path(path).name)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 7})
    assert workers.cores() == count


def test_a_system_that_binds_no_process_to_cores_lets_it_use_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "Path", lambda path: tmp_path / Path(path).name)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert workers.cores() == 64
