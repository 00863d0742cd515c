"""Training, processing and transform jobs: their records, and the threads that carry them out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from local.debugger.evaluation import RuleEvaluation, change_statuses, interrupted
from local.home import clock
from local.home.disk import disk_fault
from local.home.home import Home
from local.home.interruption import INTERRUPTED
from local.home.recovery import recover
from local.home.store import PATIENCE_S, Record, Store
from local.home.tags import add_tags, untagged
from local.jobs.reasons import FAILURE_REASON_CHARACTERS, failure_reason
from local.processes.container import STOP_TIMEOUT_S, Start, spawn
from local.processes.log_times import timed
from local.wire.errors import ServiceError, invalid
from local.wire.lists import listed
from local.wire.operations import Operation, Request, Response

DEFAULT_MAX_RUNTIME_S = 24 * 3600  # API reference: StoppingCondition's default, 1 day


class JobError(Exception):
    """Why a job failed, as its FailureReason says it: 'ClientError: ...' or 'AlgorithmError: ...'."""


class Program(Protocol):
    """What a job runs: a process (processes/container.py), or requests to one (transform.py)."""

    def run(self, timeout_s: float, start: Start, /) -> int | None:
        """Run; return the exit status, None past the limit. May raise JobError, OSError, ValueError."""

    def stop(self, timeout_s: float, /) -> None:
        """Ask it to end, and end it `timeout_s` later if it has not."""

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""


def _unwatched(_home: Home, _record: Record, _service: Mapping[str, str]) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def _no_phases(_record: Record, _status: str, _now: float) -> None:
    pass


@dataclass(frozen=True)
class JobKind:
    """What differs between the kinds of jobs.

    `check` refuses what cannot run here (ServiceError) and completes a new record; `prepare` makes the job's
    folder and returns its program (JobError if an input is missing); `watch` runs beside that program;
    `upload` puts the job's output into S3; `conclude` completes the record, however the job ended; `clear`
    removes what is no longer needed; `enter` records that the job enters a phase, and when.
    """

    key: str  # the prefix of its members: "TrainingJob" for TrainingJobName, ...
    resource: str  # in ARNs: "training-job"
    folder: str  # under the home folder
    period: str  # the prefix of its start and end times: "Training"
    check: Callable[[Record], None]
    prepare: Callable[[Home, Record, Mapping[str, str]], Program]
    upload: Callable[[Home, Record], None]
    conclude: Callable[[Home, Record], None]
    clear: Callable[[Home, Record], None]
    watch: Callable[[Home, Record, Mapping[str, str]], AbstractContextManager[None]] = _unwatched
    enter: Callable[[Record, str, float], None] = _no_phases
    failure: str = ""  # the file, in the job's folder, in which the program says why it failed
    uploads_when_stopped: bool = False


class JobService:
    """The Create, Describe, List and Stop operations of one kind of job."""

    def __init__(self, home: Home, store: Store, kind: JobKind, environment: Callable[[], Mapping[str, str]]):
        self._home = home
        self._store = store
        self._kind = kind
        self.environment = environment
        self._running: dict[str, tuple[threading.Thread, Program | RuleEvaluation | None]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._interrupted: set[str] = set()  # ended because the service does
        self._stop_timeout_s = STOP_TIMEOUT_S

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        key = self._kind.key
        return {
            f"Create{key}": self.create,
            f"Describe{key}": lambda request: self.describe(request[f"{key}Name"]),
            f"List{key}s": lambda request: listed(self._store.list(key), request, key, f"{key}Summaries"),
            f"Stop{key}": lambda request: self.stop(request[f"{key}Name"]),
        }

    def create(self, request: Request, start: Start = spawn, **own: object) -> Response:
        """Start a job.

        Args:
            start: starts its program.
            own: record members of the service's own; they begin with an underscore.

        Raises:
            ServiceError: the name is taken, or the job asks for something that cannot run here.
        """
        key = self._kind.key
        name = request[f"{key}Name"]
        arn = self._home.arn(self._kind.resource, name)
        now = clock.now()
        record: Record = {
            **untagged(request),
            **own,
            f"{key}Arn": arn,
            f"{key}Status": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        self._kind.check(record)
        self._kind.enter(record, "Starting", now)
        with self._lock:
            if self._closed:
                raise ServiceError("InternalFailure", "the local service is ending", 500)
            try:
                self._store.create(key, name, record)
            except KeyError:
                raise ServiceError("ResourceInUse", f"{key} names must be unique: {name!r} exists") from None
            add_tags(self._store, arn, request.get("Tags", []))
            thread = threading.Thread(target=self._run, args=(name, start), name=name)
            self._running[name] = (thread, None)
            try:
                thread.start()
            except RuntimeError as error:  # this machine has no more threads
                del self._running[name]
                self._fail(name, str(error))
        return {f"{key}Arn": arn}

    def describe(self, name: str) -> Record:
        """The job's record.

        Raises:
            ServiceError: there is none of that name.
        """
        try:
            return self._store.get(self._kind.key, name)
        except KeyError:
            raise ServiceError("ValidationException", f"Requested resource not found: {name}") from None

    def stop(self, name: str) -> Response:
        """Ask a running job to end; returns at once."""
        status = f"{self._kind.key}Status"
        if self.describe(name)[status] not in {"InProgress", "Stopping"}:
            raise ServiceError("ValidationException", f"The job {name} has ended; it cannot be stopped")

        def mark(record: Record) -> None:
            if record[status] == "InProgress":
                record[status] = "Stopping"
                self._kind.enter(record, "Stopping", clock.now())

        self._store.keep(self._kind.key, name, mark)
        with self._lock:
            program = self._running.get(name, (None, None))[1]
        if program is not None:
            threading.Thread(target=program.stop, args=(self._stop_timeout_s,), daemon=True).start()
        return {}

    def interrupt(self, name: str) -> None:
        """Ask a job to end because the service does, unless it has ended or was asked before."""
        with contextlib.suppress(ServiceError):  # it ended by itself
            if self.describe(name)[f"{self._kind.key}Status"] == "InProgress":
                self._interrupted.add(name)
            self.stop(name)

    def wait(self, name: str) -> Record:
        """Wait for a job to end and return its record."""
        with self._lock:
            thread = self._running.get(name, (None, None))[0]
        if thread is not None:
            thread.join()
        return self.describe(name)

    def log(self, name: str) -> Path:
        """The file that holds the output of a job's program."""
        return self._home.folder(self._kind.folder, name) / "log.txt"

    def recover(self) -> None:
        """Close the records of jobs that were running when the service last ended.

        Raises:
            OSError: the disk is full.
        """
        recover(self._store, self._kind.key, self._whole, self._take_up, self._given_up)

    def _whole(self, record: Record) -> Response:
        key = self._kind.key
        return listed([record], {"SortBy": "Status"}, key, key)

    def _take_up(self, name: str, record: Record) -> None:
        if record[f"{self._kind.key}Status"] in {"InProgress", "Stopping"}:
            self._end(name, "Failed", f"InternalServerError: {INTERRUPTED}")
        if changes := interrupted(record):
            self._store.keep(self._kind.key, name, partial(change_statuses, changes=changes))

    def _given_up(self, name: str, created: float, fault: str) -> Record:
        key = self._kind.key
        arn = self._home.arn(self._kind.resource, name)
        record = {f"{key}Name": name, f"{key}Arn": arn, "CreationTime": created}
        self._mark_ended(record, "Failed", f"InternalServerError: {fault}")
        return record

    def kill(self) -> None:
        """End every program at once, also one that is already ending."""
        with self._lock:
            self._stop_timeout_s = 0
            running = [program for _, program in self._running.values() if program is not None]
        for program in running:
            program.stop(0)

    def close(self) -> None:
        """End every running job and wait for the threads; steps and tuning jobs rerun interrupted ones."""
        with self._lock:
            self._closed = True
            running = dict(self._running)
        for name in running:
            self.interrupt(name)
        for thread, _ in running.values():
            thread.join()

    def _run(self, name: str, start: Start) -> None:
        try:
            rules = RuleEvaluation(self._home, self.describe(name), self.environment())
            try:
                status, reason = self._carry_out(name, start, rules)
            except (JobError, OSError, ValueError) as error:
                fault = disk_fault(error, self._home.root)
                prefix = "" if isinstance(error, JobError) else "ClientError: "
                status, reason = "Failed", f"InternalServerError: {fault}" if fault else f"{prefix}{error}"
            self._end(name, status, reason)
            self._judge(name, rules)
        except BaseException:
            self._fail(name, "an error of the local service; see its log")
            raise
        finally:
            with self._lock:
                del self._running[name]

    def _carry_out(self, name: str, start: Start, rules: RuleEvaluation) -> tuple[str, str]:
        """Run the job; return its final status and, if it failed, why."""
        record = self._enter(name, "Downloading")
        program = self._kind.prepare(self._home, record, self.environment())
        with self._lock:
            self._running[name] = (self._running[name][0], program)
        record = self._enter(name, "Training")
        if record[f"{self._kind.key}Status"] == "Stopping":
            return "Stopped", self._why_stopped(name)
        limit = record.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_S)
        rules.begin()
        with self._kind.watch(self._home, record, self.environment()), timed(self.log(name)):
            exit_status = program.run(limit, start)
        if exit_status is None or program.stopping:
            if self._kind.uploads_when_stopped:
                self._kind.upload(self._home, self._enter(name, "Uploading"))
            asked = self.describe(name)[f"{self._kind.key}Status"] == "Stopping"  # before its time was over
            if exit_status is None and not asked:
                return "Stopped", f"MaxRuntimeExceeded: {limit} s"
            return "Stopped", self._why_stopped(name)
        if exit_status != 0:
            failure = self.log(name).parent / self._kind.failure if self._kind.failure else None
            return "Failed", failure_reason(self.log(name), exit_status, failure)
        self._kind.upload(self._home, self._enter(name, "Uploading"))
        return "Completed", ""

    def _why_stopped(self, name: str) -> str:
        return INTERRUPTED if name in self._interrupted else ""

    def _enter(self, name: str, phase: str) -> Record:
        """Record that a job enters a phase, and when its time starts; return the record."""

        def change(record: Record) -> None:
            now = clock.now(record["CreationTime"])
            if record[f"{self._kind.key}Status"] == "InProgress" or phase == "Uploading":
                self._kind.enter(record, phase, now)
            record.setdefault(f"{self._kind.period}StartTime", now)

        return self._store.update(self._kind.key, name, change, PATIENCE_S)

    def _end(self, name: str, status: str, reason: str) -> None:
        """Record how a job ended; it is Failed if the disk is too full for its record or files."""
        try:
            record = self.describe(name)
            self._mark_ended(record, status, reason)
            self._kind.conclude(self._home, record)  # reads and removes files: not in a transaction
            self._kind.clear(self._home, record)
            self._store.update(self._kind.key, name, lambda stored: stored.update(record), PATIENCE_S)
        except OSError as error:
            fault = disk_fault(error, self._home.root)
            if fault is None:
                raise
            self._fail(name, fault)

    def _fail(self, name: str, fault: str) -> None:
        """Fail a job for a fault of the service, without `conclude`, which may be what failed.

        Works with a full disk, too: otherwise others would wait forever for a job without a thread.
        """
        reason = f"InternalServerError: {fault}"
        self._store.keep(self._kind.key, name, lambda record: self._mark_ended(record, "Failed", reason))

    def _judge(self, name: str, rules: RuleEvaluation) -> None:
        """Let the rules finish after the job: nothing waits for them."""
        with self._lock:
            self._running[name] = (self._running[name][0], rules)
            if self._closed:
                rules.stop()
        if changes := rules.finish():
            self._store.keep(self._kind.key, name, partial(change_statuses, changes=changes))

    def _mark_ended(self, record: Record, status: str, reason: str) -> None:
        record[f"{self._kind.key}Status"] = status
        now = clock.now(record.get("CreationTime"), record.get(f"{self._kind.period}StartTime"))
        record["LastModifiedTime"] = record[f"{self._kind.period}EndTime"] = now
        self._kind.enter(
            record, "MaxRuntimeExceeded" if reason.startswith("MaxRuntimeExceeded") else status, now
        )
        if reason:
            record["FailureReason"] = reason[:FAILURE_REASON_CHARACTERS]


def refuse_empty_words(specification: Mapping[str, Any]) -> None:
    """Refuse an empty word in the command of a job (its AppSpecification or AlgorithmSpecification).

    botocore's model allows one; CreateProcessingJob refuses it, in these words
    (https://github.com/aws/sagemaker-python-sdk/issues/3758). Assumed, because not published: that it counts
    from 0, that it says the same of ContainerEntrypoint, and that CreateTrainingJob refuses one too. A null
    does not get here: botocore's model refuses it first, in its own words.

    Raises:
        ServiceError: ValidationException that names the member and the index.
    """
    for member in ("ContainerEntrypoint", "ContainerArguments"):
        for index, word in enumerate(specification.get(member, [])):
            if word == "":
                raise invalid(
                    f"Found null or empty string in {member} at index {index}. ContainerArguments and "
                    "ContainerEntrypoint may not contain null or empty strings."
                )
