"""Load on a server for minutes, and the memory that it holds meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.load import closed_loop
from benchmarks.processes import MIB, Peak, sample
from benchmarks.servers import Server

CLIENTS = 16
SAMPLE_EVERY_S = 5.0


async def soak(server: Server, requests: Sequence[bytes], minutes: float) -> dict[str, Any]:
    """The figures: requests per second, p99 and errors; Linux's proportional set size of all its processes in
    MiB, every SAMPLE_EVERY_S; and by how much its median in the last fifth is above that in the first.
    """
    work = asyncio.create_task(closed_loop(server.port, requests, CLIENTS, 60 * minutes))
    held = []
    while not (await asyncio.wait({work}, timeout=SAMPLE_EVERY_S))[0]:
        now = Peak()
        await asyncio.to_thread(sample, server.process, now)
        held.append(now.pss / MIB)
    load = await work
    fifth = max(1, len(held) // 5)
    return {
        "minutes": minutes,
        "requests_per_s": load.answered / load.seconds,
        "p99_ms": load.percentile_ms(99),
        "answered": len(load.latencies_s),
        "errors": load.failures.total(),
        "failures": dict(load.failures),
        "memory_mib": held,
        "memory_growth": median(held[-fifth:]) / median(held[:fifth]) - 1,
    }
