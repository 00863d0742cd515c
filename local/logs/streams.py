"""The log groups and streams, with SageMaker's and Lambda's names, and the files behind them.

Names: developer guide, "Log groups and streams that Amazon SageMaker AI sends to CloudWatch Logs".
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.endpoints.configs import CONFIGS
from local.endpoints.deployments import ENDPOINTS
from local.functions.functions import FUNCTIONS, LOG, LOG_GROUPS, log_stream
from local.home.home import Home
from local.home.store import Record, Store
from local.jobs import processing, training, transform
from local.processes.log_times import mark, marks


@dataclass(frozen=True)
class _Jobs:
    """A kind of job, as in JobKind, and the second part of its streams' names."""

    key: str
    period: str
    folder: str
    by_host: bool = True  # else by instance


# One row for each kind of job, by its group.
JOBS = {
    "/aws/sagemaker/ProcessingJobs": _Jobs("ProcessingJob", "Processing", processing.FOLDER),
    "/aws/sagemaker/TrainingJobs": _Jobs("TrainingJob", "Training", training.FOLDER),
    "/aws/sagemaker/TransformJobs": _Jobs("TransformJob", "Transform", transform.FOLDER, by_host=False),
}
_ENDPOINTS = "/aws/sagemaker/Endpoints/"


@dataclass(frozen=True)
class Event:
    """A line of a log; `offset` and `end` are its position in the file, in bytes."""

    stream: str
    timestamp: int  # Unix milliseconds
    offset: int
    end: int
    message: str

    @property
    def id(self) -> str:
        """Sorts like the events; 56 digits, like CloudWatch's."""
        digest = int.from_bytes(hashlib.sha256(self.stream.encode()).digest()[:6])
        return f"{self.timestamp:014}{digest:020}{self.offset:022}"


@dataclass(frozen=True)
class Stream:
    """A log stream: its file, and whether the file is complete."""

    group: str
    name: str
    log: Path
    ended: bool = False

    def times(self) -> list[tuple[int, int]]:
        """Points in time (Unix milliseconds) and the log's size then."""
        mark(self.log)
        return marks(self.log)

    def events(self, start: int = 0) -> Iterator[Event]:
        """The complete, non-empty lines from an offset on."""
        times = self.times()
        sizes = [size for _, size in times]
        end = sizes[-1] if sizes else 0
        with self.log.open("rb") as file:
            file.seek(start)
            while (offset := file.tell()) < end:
                line = file.readline()
                behind = offset + len(line)
                if behind > end or not (line.endswith(b"\n") or self.ended):
                    return
                message = line.removesuffix(b"\n").decode("utf-8", "replace")
                if message:
                    timestamp = times[bisect.bisect_left(sizes, behind)][0]
                    yield Event(self.name, timestamp, offset, behind, message)


class Streams:
    """All streams of a home."""

    def __init__(self, home: Home, store: Store) -> None:
        self._home = home
        self._store = store

    def groups(self) -> list[str]:
        """The names of the existing groups."""
        names = [group for group in JOBS if next(self.of(group), None)]
        names += [f"{_ENDPOINTS}{record['EndpointName']}" for record in self._store.list(ENDPOINTS)]
        names += [f"{LOG_GROUPS}{record['FunctionName']}" for record in self._store.list(FUNCTIONS)]
        return sorted(name for name in names if next(self.of(name), None))

    def of(self, group: str, prefix: str = "") -> Iterator[Stream]:
        """The streams of a group whose names begin with `prefix`; none if the group does not exist."""
        if group in JOBS:
            found = self._of_jobs(group, JOBS[group], prefix.partition("/")[0])
        elif group.startswith(_ENDPOINTS):
            found = self._of_endpoint(group)
        else:
            found = self._of_function(group)
        return (stream for stream in found if stream.name.startswith(prefix) and stream.log.exists())

    def _of_jobs(self, group: str, kind: _Jobs, prefix: str) -> Iterator[Stream]:
        for record in self._store.list(kind.key, prefix):
            job, started = record[f"{kind.key}Name"], record.get(f"{kind.period}StartTime")
            if started is not None:
                ended = record[f"{kind.key}Status"] not in ("InProgress", "Stopping")
                log = self._home.folder(kind.folder, job) / "log.txt"
                host = "algo-1" if kind.by_host else _instance(job)
                yield Stream(group, f"{job}/{host}-{int(started)}", log, ended)

    def _of_endpoint(self, group: str) -> Iterator[Stream]:
        """A stream for each of the endpoint's configurations, past ones too, that still exist."""
        endpoint = group.removeprefix(_ENDPOINTS)
        if "/" in endpoint or not endpoint:
            return
        for config in self._store.list(CONFIGS):
            name = config["EndpointConfigName"]
            variant: Record = config["ProductionVariants"][0]
            log = self._home.folder(ENDPOINTS, endpoint) / name / "server.log"
            yield Stream(group, f"{variant['VariantName']}/{_instance(f'{endpoint}/{name}')}", log)

    def _of_function(self, group: str) -> Iterator[Stream]:
        name = group.removeprefix(LOG_GROUPS)
        if group.startswith(LOG_GROUPS) and name and "/" not in name:
            log = self._home.folder(FUNCTIONS, name) / LOG
            mark(log)
            yield Stream(group, log_stream(name, log), log)


def _instance(of: str) -> str:
    """An id like an EC2 instance's, always the same for the same input."""
    return f"i-{hashlib.sha256(of.encode()).hexdigest()[:17]}"
