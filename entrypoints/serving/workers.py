"""Worker processes, one per core, and the bounded queue in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from entrypoints.serving.protocol import FRAME, TIMEOUT_S, Answer, error

# Name and meaning come from SageMaker's inference toolkit.
COUNT_VARIABLE = "SAGEMAKER_MODEL_SERVER_WORKERS"
# At 5 to 10 ms per picture, the last in the queue waits a quarter of a second.
WAITING_PER_WORKER = 32
# For slower pictures: a client that has waited this long should retry later.
WAITING_S = 5.0
# A dead worker is replaced after a pause: the first, doubled each time up to the last, until one has lived
# a while.
PAUSES_S = (0.1, 10.0)
A_WHILE_S = 30.0
STOP_TIMEOUT_S = 2.0


class Busy(Exception):
    """The queue is full or did not move."""


class StartError(Exception):
    """A worker ended before its first prediction; its standard error says why."""


class Worker(Protocol):
    """Answers one request at a time."""

    @property
    def engine(self) -> str: ...

    @property
    def alive(self) -> bool: ...

    async def answer(self, body: bytes, content_type: str, accept: str) -> Answer: ...


class Pool(ABC):
    """Workers, and the queue of waiting requests. Use it as an asynchronous context manager."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._alive = 0
        self._waiting = 0
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()

    @abstractmethod
    async def __aenter__(self) -> Pool: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @property
    def healthy(self) -> bool:
        """Whether every worker is alive and has predicted."""
        return self._alive == self.count

    @property
    def full(self) -> bool:
        """Whether a request would be refused now."""
        return self._waiting >= WAITING_PER_WORKER * self.count

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """A worker for one request, first come, first served.

        Raises:
            Busy: too many are waiting, or this one has waited for WAITING_S.
        """
        if self.full:
            raise Busy
        self._waiting += 1
        try:
            async with asyncio.timeout(WAITING_S):
                while not (worker := await self._idle.get()).alive:
                    pass
        except TimeoutError:
            raise Busy from None
        finally:
            self._waiting -= 1
        try:
            yield worker
        finally:
            self._idle.put_nowait(worker)

    def _add(self, worker: Worker) -> None:
        self._alive += 1
        self._idle.put_nowait(worker)


class Processes(Pool):
    """Worker processes; dead ones are replaced.

    Raises:
        StartError: on entering, a worker did not come up.
    """

    def __init__(self, artifact: Path, count: int) -> None:
        super().__init__(count)
        self._artifact = artifact
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Processes:
        starts = (start(self._artifact) for _ in range(self.count))
        started = await asyncio.gather(*starts, return_exceptions=True)
        workers = [worker for worker in started if isinstance(worker, WorkerProcess)]
        for problem in started:
            if isinstance(problem, BaseException):
                await asyncio.gather(*(worker.stop() for worker in workers))
                raise problem
        for worker in workers:
            self._add(worker)
            self._keepers.append(asyncio.create_task(self._keep(worker)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep(self, worker: WorkerProcess) -> None:
        pause_s, last_s = PAUSES_S
        while True:
            began = time.monotonic()
            try:
                status = await worker.process.wait()
            finally:
                await worker.stop()
            self._alive -= 1
            print(f"worker {worker.process.pid} ended with status {status}", file=sys.stderr, flush=True)
            if time.monotonic() - began > A_WHILE_S:
                pause_s = PAUSES_S[0]
            replacement = None
            while replacement is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, last_s)
                try:
                    replacement = await start(self._artifact)
                except (StartError, OSError) as problem:  # OSError: temporarily too many files or processes
                    print(f"no worker in its place: {problem}", file=sys.stderr, flush=True)
            worker = replacement
            self._add(worker)


class WorkerProcess:
    """One process of worker.py."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self.engine = ""
        self._reader = reader
        self._writer = writer

    @property
    def alive(self) -> bool:
        return self.process.returncode is None and not (self._reader.at_eof() or self._writer.is_closing())

    async def answer(self, body: bytes, content_type: str, accept: str) -> Answer:
        """The worker's answer; 504 or 503 if it took too long or died."""
        how = f"{content_type}\n{accept}".encode()
        self._writer.writelines((FRAME.pack(len(how), len(body)), how, body))
        try:
            return await self.receive()
        except (asyncio.IncompleteReadError, ConnectionError):
            status = await self.process.wait()
        except asyncio.CancelledError:  # the next request must not read this answer
            self.process.kill()
            self._writer.close()
            raise
        if status == -signal.SIGALRM:
            message = f"The answer took longer than {TIMEOUT_S} s; send fewer or smaller pictures."
            return 504, error("too_slow", message)
        return 503, error("worker_died", "The process that answered has died; send the request again.")

    async def receive(self) -> Answer:
        """Read one frame."""
        status, size = FRAME.unpack(await self._reader.readexactly(FRAME.size))
        return status, await self._reader.readexactly(size)

    async def stop(self) -> None:
        """End the process by closing its input, or by force."""
        self._writer.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def start(artifact: Path) -> WorkerProcess:
    """Start a worker on an unpacked model artifact and wait for its first prediction.

    Raises:
        StartError: it ended before.
        OSError: the system has no process or socket left.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "entrypoints.serving.worker"),
            cwd=artifact,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=theirs.fileno(),
        )
    worker = WorkerProcess(process, *await asyncio.open_unix_connection(sock=ours))
    try:
        _, engine = await worker.receive()
    except (asyncio.IncompleteReadError, ConnectionError):
        status = await process.wait()
        raise StartError(f"a worker ended with status {status} before it had predicted") from None
    except asyncio.CancelledError:
        await worker.stop()
        raise
    worker.engine = engine.decode()
    return worker


def cores() -> int:
    """The number of cores that this process may use: its affinity, limited by its control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(FileNotFoundError):  # no control groups of version 2, or no own group
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    return count
