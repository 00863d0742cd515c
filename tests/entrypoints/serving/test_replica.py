from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from entrypoints.contract import JPEG, JSON
from entrypoints.serving import replica
from entrypoints.serving.replica import InProcess
from tests.entrypoints.serving.servers import encoded, slow


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
