"""Load on an HTTP server on the loopback, from one process that itself needs little time.

Closed loop: a number of clients; each sends its next request when it has its answer. Open loop: a
number of requests per second, whether answered or not. Connections are kept alive.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar, cast

import httptools
import numpy as np
import uvloop

HOST = "127.0.0.1"
WARM_UP_S = 1.0
# A request without an answer after this time counts as hanging.
PATIENCE_S = 20.0

Result = TypeVar("Result")


def request(body: bytes, content_type: str, path: str = "/invocations") -> bytes:
    """A complete POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Load:
    """The results of the requests that were sent within `seconds`.

    `answered` counts the 200s that came within these seconds, `latencies_s` holds those of all that were sent
    within them. `failures` counts everything else: by status, or in words.
    """

    seconds: float
    answered: int = 0
    latencies_s: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        return self.failures[str(HTTPStatus.SERVICE_UNAVAILABLE.value)]

    @property
    def errors(self) -> int:
        """All but the answers and the rejections."""
        return self.failures.total() - self.rejected

    def percentile_ms(self, percent: float) -> float | None:
        """None if nothing was answered."""
        return 1e3 * float(np.percentile(self.latencies_s, percent)) if self.latencies_s else None

    def note(self, outcome: int | str, sent: float, begin: float) -> None:
        """Count a request by its status or failure, if it was sent after `begin`."""
        now = time.perf_counter()
        if outcome == HTTPStatus.OK:
            self.answered += begin <= now < begin + self.seconds
        if sent < begin:
            return
        if outcome == HTTPStatus.OK:
            self.latencies_s.append(now - sent)
        else:
            self.failures[str(outcome)] += 1


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection with one request at a time; opened again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[int] | None = None

    async def send(self, content: bytes) -> int | str:
        """The status of the answer, or why there is none, in words."""
        loop = asyncio.get_running_loop()
        try:
            if self._transport is None:
                await loop.create_connection(lambda: self, HOST, self._port)
            assert self._transport is not None
            self._answer = loop.create_future()
            timer = loop.call_later(PATIENCE_S, self._give_up)
            self._parser = httptools.HttpResponseParser(self)
            self._transport.write(content)
            try:
                return await self._answer
            finally:
                timer.cancel()
                self._answer = None
        except TimeoutError:
            return f"no answer within {PATIENCE_S:g} s"
        except OSError as error:
            return f"connection broken: {error.strerror or error}"

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _give_up(self) -> None:
        self._fail(TimeoutError())
        self.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # asyncio's callbacks
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail(error or ConnectionResetError("closed by the server"))

    # the parser's
    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Load by a number of clients, measured for `seconds` after a first WARM_UP_S."""
    load = Load(seconds)
    turns = itertools.cycle(requests)
    begin = time.perf_counter() + WARM_UP_S

    async def client() -> None:
        connection = Connection(port)
        while (sent := time.perf_counter()) < begin + seconds:
            load.note(await connection.send(next(turns)), sent, begin)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def open_loop(port: int, requests: Sequence[bytes], per_second: float, seconds: float) -> Load:
    """Load by `per_second` requests per second, over as many connections as that takes; warm-up as above."""
    load = Load(seconds)
    turns = itertools.cycle(requests)
    idle: list[Connection] = []
    first = time.perf_counter()
    begin = first + WARM_UP_S

    async def once(sent: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        load.note(await connection.send(next(turns)), sent, begin)
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number in range(int(per_second * (WARM_UP_S + seconds))):
            # Counted from when it was due: a late generator must not flatter the server.
            due = first + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(once(due))
    for connection in idle:
        connection.close()
    return load


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """asyncio.run on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
