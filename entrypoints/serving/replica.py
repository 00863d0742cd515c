"""A Ray Serve replica's pool: one thread of its own process, with the same bounded queue."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from entrypoints.serving import worker
from entrypoints.serving.protocol import TIMEOUT_S, Answer
from entrypoints.serving.workers import Pool


class InProcess(Pool):
    """One thread of this process. A Ray Serve replica is the worker: Ray replaces dead ones."""

    def __init__(self, artifact: Path) -> None:
        super().__init__(count=1)
        self._artifact = artifact
        self._thread = ThreadPoolExecutor(1)
        self._began: float | None = None

    async def __aenter__(self) -> InProcess:
        self._model = worker.load(self._artifact)
        self._add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._thread.shutdown()

    @property
    def engine(self) -> str:
        return self._model.engine

    @property
    def alive(self) -> bool:
        """Whether no request has exceeded a worker process's time limit."""
        return self._began is None or time.monotonic() - self._began < TIMEOUT_S

    async def answer(self, body: bytes, content_type: str, accept: str) -> Answer:
        """The model's answer, predicted in the thread."""
        loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        try:
            arguments = (self._model, body, content_type, accept)
            return await loop.run_in_executor(self._thread, worker.answer, *arguments)
        finally:
            self._began = None
