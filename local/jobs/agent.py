"""Sends a transform job's records to its model; the developer guide calls it the agent."""

from __future__ import annotations

import contextlib
import gzip
import threading
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from local.endpoints.model_server import LaunchError, ModelServer
from local.home.files import make_file, make_folder
from local.home.home import Home
from local.home.store import Record
from local.jobs.jobs import JobError
from local.jobs.model_client import STRATEGIES, ModelClient
from local.jobs.records import Batch, Refused, batches, data_processing
from local.jobs.sources import Source
from local.processes.container import Start
from local.s3.objects import Objects
from local.s3.transfer import upload
from local.wire.errors import ServiceError

LOG = "log.txt"
BYTES_IN_MB = 1 << 20  # as the SDK's own local mode counts (sagemaker/core/local/data.py)

# Work on an object: a batch of it, the reason why no more come, or None at its end.
Part = tuple[Source, Batch | Refused | None]


class Agent:
    """The work of one transform job; `run` once.

    Args:
        launch: starts the model's server.
        folder: the job's, for its log, and for results until they are complete.
    """

    def __init__(
        self,
        home: Home,
        job: Record,
        sources: Sequence[Source],
        launch: Callable[[], ModelServer],
        folder: Path,
    ) -> None:
        self._home = home
        self._job = job
        self._sources = sources
        self._launch = launch
        self._log = folder / LOG
        self._results = folder / "results"
        self._begun = folder / "begun"  # the result of the current object
        self._processing = data_processing(job)
        self._server: ModelServer | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        make_file(self._log)

    @property
    def stopping(self) -> bool:
        """Whether the job was asked to end."""
        return self._stopping.is_set()

    def run(self, _timeout_s: float, _start: Start, /) -> int:
        """Transform every object that can be transformed, and put the results into S3.

        A transform job has no time limit, and only one way to start its server.

        Returns:
            0: everything is done, or the job was stopped and its results are discarded (API reference,
            StopTransformJob).

        Raises:
            JobError: the model cannot be served, or an object cannot be transformed.
            OSError: the disk is full, or there are no more processes.
        """
        try:
            server = self._launched()
            if server is None:
                return 0
            server.wait_until_healthy(self._stopping)
            refused = self._transform(ModelClient(self._job, server, self._stopping))
            dead = server.how_it_ended if server.exit_status is not None else None
        except LaunchError as error:
            if self.stopping:
                return 0
            raise JobError(f"AlgorithmError: {error}") from None
        finally:
            self._end_server()
        if self.stopping:
            return 0
        upload(self._home, [(self._results, self._job["TransformOutput"]["S3OutputPath"])])
        if dead is not None:
            raise JobError(f"AlgorithmError: {dead}")
        if refused:
            source, first = next(iter(refused.items()))
            raise JobError(
                f"{first.side}: See job logs for more information: {len(refused)} of {len(self._sources)}"
                f" objects failed, {source} first: {first.headline} (log: {self._log})"
            )
        return 0

    def stop(self, _timeout_s: float = 0, /) -> None:
        """End the model's server, and so the requests that wait for it."""
        self._stopping.set()
        self._end_server()

    def _launched(self) -> ModelServer | None:
        """The model's server; None if the job is to stop."""
        if self._stopping.is_set():
            return None
        server = self._launch()
        with self._lock:
            self._server = server
        if self.stopping:  # it may have been set before the server existed
            self._end_server()
            return None
        return server

    def _end_server(self) -> None:
        with self._lock:  # until it has ended: the second caller then removes its folder
            server, self._server = self._server, None
            if server is not None:
                server.stop()

    def _transform(self, client: ModelClient) -> dict[Source, Refused]:
        """Write the results into the job's folder; return why objects have none."""
        settings = client.settings()
        self._say(", ".join(f"{name}={value}" for name, value in settings.items()))
        single = settings["BatchStrategy"] == STRATEGIES["SingleRecord"]
        limit_bytes = settings["MaxPayloadInMB"] * BYTES_IN_MB
        refused: dict[Source, Refused] = {}
        parts = self._parts(client, single, limit_bytes, refused)
        at_once = settings["MaxConcurrentTransforms"]
        done = 0
        with ThreadPoolExecutor(at_once, thread_name_prefix="transform") as threads:
            for (source, part), answer in in_order(threads, partial(_answer, client), parts, at_once):
                if source in refused:
                    continue
                try:
                    self._keep(source, part, answer.result())
                    if part is None:
                        done += 1
                        self._say(f"{source}: done, {done} of {len(self._sources)} objects")
                except Refused as error:
                    refused[source] = error
                    self._begun.unlink(missing_ok=True)
                    self._explain(source, error)
        return refused

    def _parts(
        self, client: ModelClient, single: bool, limit_bytes: int, refused: Collection[Source]
    ) -> Iterator[Part]:
        """The work, object by object."""
        split = self._job["TransformInput"].get("SplitType", "None") == "Line"
        sent = self._processing.sent if self._processing else bytes
        for source in self._sources:
            try:
                with self._opened(source) as content:
                    for batch in batches(content, split, single, limit_bytes, sent):
                        if source in refused or client.ended:
                            break
                        yield source, batch
            except Refused as error:
                yield source, error
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                yield source, Refused("ClientError", f"the object is not a complete gzip file: {error}")
            if client.ended:
                return
            yield source, None

    @contextlib.contextmanager
    def _opened(self, source: Source) -> Iterator[BinaryIO]:
        try:
            _, file = Objects(self._home.s3).open(source.bucket, source.key)
        except ServiceError as error:  # it was deleted meanwhile
            raise Refused("ClientError", error.message) from None
        assert file is not None  # a folder marker is not a source
        with file:
            if self._job["TransformInput"].get("CompressionType", "None") == "Gzip":
                with gzip.open(file) as content:
                    yield cast(BinaryIO, content)
            else:
                yield file

    def _keep(self, source: Source, batch: Batch | Refused | None, answer: bytes) -> None:
        """Add an answer to an object's result; at the object's end, finish the result."""
        make_file(self._begun)
        if not isinstance(batch, Batch):
            result = self._results / f"{source.name}.out"
            make_folder(result.parent)
            self._begun.replace(result)
            return
        answers = self._processing.kept(batch.records, answer) if self._processing else [answer]
        by_lines = self._job["TransformOutput"].get("AssembleWith", "None") == "Line"
        with self._begun.open("ab") as file:
            for each in answers:
                # API reference: "To add a newline character at the end of every transformed record, specify
                # Line". Assumed, not published: a record that ends in a newline gets no second one.
                file.write(each if not by_lines or each.endswith(b"\n") else each + b"\n")

    def _explain(self, source: Source, error: Refused) -> None:
        lines = [error.headline]
        if error.message:
            lines += ["", "Message:", *error.message.splitlines()]
        self._say(*(f"{source}: {line}" for line in lines))

    def _say(self, *lines: str) -> None:
        """Add lines to the job's log; the model's server also writes to it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        with self._log.open("a", encoding="utf-8") as log:
            log.write("".join(f"{now}:[sagemaker logs]: {line}\n" for line in lines))


def _answer(client: ModelClient, part: Part) -> bytes:
    """The model's answer to a batch; nothing at the end of an object.

    Raises:
        Refused: the model refuses the batch, or there is none.
    """
    batch = part[1]
    if isinstance(batch, Refused):
        raise batch
    return b"" if batch is None else client.answer(batch.payload)


def in_order(
    threads: ThreadPoolExecutor, work: Callable[[Part], bytes], parts: Iterable[Part], limit: int
) -> Iterator[tuple[Part, Future[bytes]]]:
    """Work on parts in threads, `limit` at a time; yields each part, in order, with its result."""
    waiting: deque[tuple[Part, Future[bytes]]] = deque()
    for part in parts:
        waiting.append((part, threads.submit(work, part)))
        if len(waiting) == limit:
            yield waiting.popleft()
    yield from waiting
