"""The operations of hyperparameter tuning jobs, and their records."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from functools import partial

from local.home import clock
from local.home.home import Home
from local.home.interruption import INTERRUPTED, interrupted
from local.home.recovery import recover, sweep
from local.home.store import Record, Store
from local.home.tags import add_tags, untagged
from local.jobs.jobs import JobService
from local.tuning import warm_start
from local.tuning.request import check
from local.tuning.run import FOLDER, TuningRun, mark_ended
from local.tuning.trials import TUNING_JOB as _KEY
from local.tuning.trials import (
    best,
    best_first,
    service_fault,
    summaries,
)
from local.wire.errors import ServiceError, invalid
from local.wire.lists import listed, matching, page
from local.wire.operations import Operation, Request, Response

# The defaults of both List operations (API reference).
_LISTED = {"SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 10}


class TuningService:
    """The operations of hyperparameter tuning jobs."""

    def __init__(self, home: Home, store: Store, jobs: JobService) -> None:
        self._home = home
        self._store = store
        self._jobs = jobs
        self._threads: dict[str, threading.Thread] = {}
        self._left: list[str] = []  # by an earlier service, to be continued; newest first
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            f"Create{_KEY}": self.create,
            f"Describe{_KEY}": lambda request: self.describe(request[f"{_KEY}Name"]),
            f"List{_KEY}s": self._list,
            f"Stop{_KEY}": lambda request: self.stop(request[f"{_KEY}Name"]),
            f"ListTrainingJobsFor{_KEY}": self._list_training_jobs,
        }

    def create(self, request: Request) -> Response:
        """Start a tuning job.

        Raises:
            ServiceError: the name is taken, a range is wrong, or the job requests something unsupported.
        """
        check(self._store, request)
        name = request[f"{_KEY}Name"]
        arn = self._home.arn("hyper-parameter-tuning-job", name)
        now = clock.now()
        record = {
            **untagged(request),
            f"{_KEY}Arn": arn,
            f"{_KEY}Status": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
            "_seed": secrets.randbits(31),  # for a search without RandomSeed, which may continue later
        }
        with self._lock:
            if self._closed.is_set():
                raise ServiceError("InternalFailure", "the local service is ending", 500)
            try:
                self._store.create(_KEY, name, record)
            except KeyError:
                raise ServiceError("ResourceInUse", f"{_KEY} names must be unique: {name!r} exists") from None
            add_tags(self._store, arn, request.get("Tags", []))
            self._begin(name)
        return {f"{_KEY}Arn": arn}

    def _begin(self, name: str) -> None:
        """Search in a thread, from the state in the record."""
        self._threads[name] = threading.Thread(target=self._run(name).carry_out, name=name)
        try:
            self._threads[name].start()
        except RuntimeError as error:  # this machine has no more threads
            del self._threads[name]
            self._run(name).fail(str(error))

    def _run(self, name: str) -> TuningRun:
        return TuningRun(name, self._home, self._store, self._jobs, self._closed)

    def describe(self, name: str) -> Record:
        """The job's record with its counters and its best training job so far.

        Raises:
            ServiceError: there is none of that name.
        """
        try:
            record = self._store.get(_KEY, name)
        except KeyError:
            raise ServiceError(
                "ResourceNotFound", f"Amazon SageMaker can't find a tuning job {name!r}"
            ) from None
        return self._described(record) if f"{_KEY}Config" in record else record  # set aside by `recover`

    def _described(self, record: Record) -> Record:
        trials = summaries(self._store, record)
        statuses = Counter(trial["TrainingJobStatus"] for trial in trials)
        lost = [trial for trial in trials if interrupted(trial)]  # they run again
        faults = sum(service_fault(trial) for trial in trials if not interrupted(trial))
        of_lost = Counter(trial["TrainingJobStatus"] for trial in lost)
        objectives = Counter(trial["ObjectiveStatus"] for trial in trials if not interrupted(trial))
        record["TrainingJobStatusCounters"] = {
            "Completed": statuses["Completed"],
            "InProgress": statuses["InProgress"] + statuses["Stopping"],
            "RetryableError": faults + len(lost),
            "NonRetryableError": statuses["Failed"] - faults - of_lost["Failed"],
            "Stopped": statuses["Stopped"] - of_lost["Stopped"],
        }
        record["ObjectiveStatusCounters"] = {
            status: objectives[status] for status in ("Succeeded", "Pending", "Failed")
        }
        if first := best(trials, record):
            record["BestTrainingJob"] = first
        if record.get("WarmStartConfig", {}).get("WarmStartType") == "IdenticalDataAndAlgorithm":
            for parent in warm_start.parents(self._store, record):
                trials += summaries(self._store, parent)
            if first := best(trials, record):
                record["OverallBestTrainingJob"] = first
        return record

    def stop(self, name: str) -> Response:
        """Ask a tuning job and its running training jobs to end."""
        if self.describe(name)[f"{_KEY}Status"] not in {"InProgress", "Stopping"}:
            raise invalid(f"The tuning job {name} has ended; it cannot be stopped")

        def mark(record: Record) -> None:
            if record[f"{_KEY}Status"] == "InProgress":
                record[f"{_KEY}Status"] = "Stopping"

        self._store.keep(_KEY, name, mark)
        run = self._run(name)
        for trial in run.trials():
            run.stop_trial(trial["TrainingJobName"])
        return {}

    def recover(self, resume: bool) -> None:
        """Close the tuning jobs that an earlier service left running, or prepare to continue them.

        Their training jobs are already closed. The folders of the processes that forked them are removed.

        Raises:
            OSError: the disk is full.
        """
        sweep((self._home.root / FOLDER).glob("*/ml"))
        recover(self._store, _KEY, self._whole, partial(self._take_up, resume=resume), self._given_up)

    def _whole(self, record: Record) -> Response:
        return listed([self._described(record)], _LISTED, _KEY, f"{_KEY}Summaries")

    def _take_up(self, name: str, record: Record, resume: bool) -> None:
        status = record[f"{_KEY}Status"]
        if status == "Stopping":
            self._run(name).end("Stopped", "")
        elif status == "InProgress" and resume:
            self._left.append(name)
        elif status == "InProgress":
            self._run(name).end("Stopped", INTERRUPTED)

    def _given_up(self, name: str, created: float, fault: str) -> Record:
        arn = self._home.arn("hyper-parameter-tuning-job", name)
        record = {f"{_KEY}Name": name, f"{_KEY}Arn": arn, "CreationTime": created}
        mark_ended(record, "Failed", f"InternalServerError: {fault}")
        return record

    def resume(self) -> None:
        """Continue what `recover` prepared, once the service answers.

        A new study is told the ended trials in the order of their index, so the search makes the same
        suggestions as before. A stored study (Optuna's JournalStorage) would be a second source of truth, and
        after a kill one of the two could be a trial ahead.
        """
        with self._lock:
            for name in reversed(self._left):
                self._begin(name)

    def close(self) -> None:
        """Leave the running tuning jobs to a later service, end their training jobs, wait for the threads."""
        with self._lock:
            self._closed.set()
            threads = dict(self._threads)
        for name in threads:
            for trial in self._run(name).trials():
                self._jobs.interrupt(trial["TrainingJobName"])
        for thread in threads.values():
            thread.join()

    def _list(self, request: Request) -> Response:
        records = [self.describe(record[f"{_KEY}Name"]) for record in self._store.list(_KEY)]
        for record in records:
            config = record.get(f"{_KEY}Config", {})
            record.update({key: config.get(key) for key in ("Strategy", "ResourceLimits")})
        return listed(records, {**_LISTED, **request}, _KEY, f"{_KEY}Summaries")

    def _list_training_jobs(self, request: Request) -> Response:
        name = request[f"{_KEY}Name"]
        self.describe(name)  # refuses an unknown name
        trials, request = self._run(name).trials(), {**_LISTED, **request}
        if request["SortBy"] != "FinalObjectiveMetricValue":
            return listed(trials, request, "TrainingJob", "TrainingJobSummaries")
        measured = [trial for trial in trials if trial["ObjectiveStatus"] == "Succeeded"]
        first = "Maximize" if request["SortOrder"] == "Descending" else "Minimize"
        ranked = best_first(matching(measured, request, "TrainingJob"), first)
        return page(ranked, request, "TrainingJobSummaries")
