"""Hyperparameter tuning jobs: Optuna suggests, training jobs answer."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat

import optuna

from local.home import clock
from local.home.disk import disk_fault
from local.home.home import Home
from local.home.interruption import INTERRUPTED, interrupted
from local.home.recovery import recover, sweep
from local.home.store import PATIENCE_S, Record, Store
from local.home.tags import add_tags, tags_of, untagged
from local.jobs import metrics
from local.jobs.forks import starter
from local.jobs.jobs import JobService
from local.jobs.reasons import FAILURE_REASON_CHARACTERS
from local.processes.container import Start
from local.tuning import warm_start
from local.tuning.ranges import reversed_names
from local.tuning.request import check
from local.tuning.search import Search
from local.tuning.trials import TUNING_JOB as _KEY
from local.tuning.trials import (
    best_first,
    final,
    index,
    objective,
    ranges,
    service_fault,
    summaries,
    training_request,
)
from local.wire.errors import ServiceError, invalid
from local.wire.lists import listed, matching, page
from local.wire.operations import Operation, Request, Response

FOLDER = "tuning-jobs"
_POLL_S = 0.5
# How often a tuning job's used time is recorded.
_NOTED_EVERY_S = 5.0
# The defaults of both List operations (API reference).
_LISTED = {"SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 10}


class OtherSuggestion(Exception):
    """The search suggests other values than before: Optuna's version differs, or a record was changed."""


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
        self._threads[name] = threading.Thread(target=self._run, args=(name,), name=name)
        try:
            self._threads[name].start()
        except RuntimeError as error:  # this machine has no more threads
            del self._threads[name]
            self._fail(name, str(error))

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
        if best := _best(trials, record):
            record["BestTrainingJob"] = best
        if record.get("WarmStartConfig", {}).get("WarmStartType") == "IdenticalDataAndAlgorithm":
            for parent in warm_start.parents(self._store, record):
                trials += summaries(self._store, parent)
            if best := _best(trials, record):
                record["OverallBestTrainingJob"] = best
        return record

    def stop(self, name: str) -> Response:
        """Ask a tuning job and its running training jobs to end."""
        if self.describe(name)[f"{_KEY}Status"] not in {"InProgress", "Stopping"}:
            raise invalid(f"The tuning job {name} has ended; it cannot be stopped")

        def mark(record: Record) -> None:
            if record[f"{_KEY}Status"] == "InProgress":
                record[f"{_KEY}Status"] = "Stopping"

        self._store.keep(_KEY, name, mark)
        for trial in self._trials(name):
            self._stop_trial(trial["TrainingJobName"])
        return {}

    def _stop_trial(self, job: str) -> None:
        with contextlib.suppress(ServiceError):  # it has ended
            self._jobs.stop(job)

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
            self._end(name, "Stopped", "")
        elif status == "InProgress" and resume:
            self._left.append(name)
        elif status == "InProgress":
            self._end(name, "Stopped", INTERRUPTED)

    def _given_up(self, name: str, created: float, fault: str) -> Record:
        arn = self._home.arn("hyper-parameter-tuning-job", name)
        record = {f"{_KEY}Name": name, f"{_KEY}Arn": arn, "CreationTime": created}
        _mark_ended(record, "Failed", f"InternalServerError: {fault}")
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
            for trial in self._trials(name):
                self._jobs.interrupt(trial["TrainingJobName"])
        for thread in threads.values():
            thread.join()

    def _run(self, name: str) -> None:
        try:
            self._carry_out(name)
        except OtherSuggestion as error:
            self._fail(name, str(error))
        except BaseException as error:
            fault = disk_fault(error, self._home.root)
            self._fail(name, fault or "an error of the local service; see its log")
            if fault is None:
                raise

    def _carry_out(self, name: str) -> None:
        record = self._store.get(_KEY, name)
        search = Search(record, warm_start.trials(self._store, record))
        ended = {index(trial): trial for trial in self._trials(name) if not interrupted(trial)}
        # Newest first, so the oldest of a trial's training jobs stays.
        begun = {index(trial): trial["TrainingJobName"] for trial in self._trials(name)}
        cores = os.cpu_count() or 1
        # The suggestions depend on MaxParallelTrainingJobs, not on the number of cores.
        at_once = min(
            record[f"{_KEY}Config"]["ResourceLimits"]["MaxParallelTrainingJobs"], search.size, cores
        )
        threads = cores // at_once

        def going() -> bool:
            return self._status(name) == "InProgress" and not search.over and not self._closed.is_set()

        def one(place: int, start: Start) -> None:
            trial = search.ask(place)
            value = None
            try:
                if place in ended:
                    value = self._recall(ended[place], trial, search)
                elif going():
                    value = self._trial(name, place, trial, threads, search, start, begun.get(place, ""))
            except BaseException:
                self._expire(name, search)  # it fails without waiting for the other trials
                raise
            finally:
                search.tell(place, value)

        any_trial = training_request(record, name, {})
        any_trial |= {"TrainingJobArn": record[f"{_KEY}Arn"], "_threads": threads}
        ml = self._home.folder(FOLDER, name) / "ml"
        with (
            self._limited(record, search),
            starter(self._home, ml, any_trial, self._jobs.environment(), going) as start,
            ThreadPoolExecutor(at_once) as pool,
        ):
            for _ in pool.map(one, range(1, search.size + 1), repeat(start)):
                pass
        if self._status(name) == "Stopping":
            self._end(name, "Stopped", "")
        elif not self._closed.is_set():
            self._conclude(name)

    def _conclude(self, name: str) -> None:
        """End a tuning job whose search is over."""
        trials = [trial for trial in self._trials(name) if not interrupted(trial)]
        faults = [trial for trial in trials if service_fault(trial)]
        if faults:
            job, reason = faults[-1]["TrainingJobName"], faults[-1]["FailureReason"]
            self._end(name, "Failed", f"{reason} (training job {job})")
        elif "BestTrainingJob" in self.describe(name):
            self._end(name, "Completed", "")
        else:
            reasons = [trial.get("FailureReason", "it emitted no objective") for trial in trials]
            first = reasons[-1] if reasons else "none, MaxRuntimeInSeconds was over before one began"
            self._end(
                name, "Failed", f"No training job succeeded after {len(reasons)} attempts. The first: {first}"
            )

    @contextlib.contextmanager
    def _limited(self, record: Record, search: Search) -> Iterator[None]:
        """During the block, end the search and stop the running trials when the tuning job's time is over.

        Only the tuning job's working time counts, not the time between two services.
        """
        name = record[f"{_KEY}Name"]
        longest = record[f"{_KEY}Config"]["ResourceLimits"].get("MaxRuntimeInSeconds", math.inf)
        done = threading.Event()

        def watch() -> None:
            used_s, at = record.get("_used_s", 0.0), time.monotonic()
            while used_s < longest and not done.wait(min(_NOTED_EVERY_S, longest - used_s)):
                now = time.monotonic()
                used_s, at = used_s + now - at, now
                self._store.keep(_KEY, name, partial(dict.update, _used_s=used_s))
            if not done.is_set():
                self._expire(name, search)

        with ThreadPoolExecutor(1, thread_name_prefix=f"{name}-limit") as pool:
            watching = pool.submit(watch)
            try:
                yield
            finally:
                done.set()
                watching.result()

    def _expire(self, name: str, search: Search) -> None:
        """Start no more trials, and stop the running ones."""
        search.expired.set()
        for trial in self._trials(name):
            self._stop_trial(trial["TrainingJobName"])

    def _recall(self, ended: Record, trial: optuna.Trial, search: Search) -> float | None:
        """The final objective of the training job that an earlier service ran for this trial."""
        record = self._store.get(_KEY, ended["TuningJobName"])
        if (suggested := _tuned(record, trial)) != ended["_tuned"]:
            job, was = ended["TrainingJobName"], ended["_tuned"]
            raise OtherSuggestion(
                f"the search cannot continue: it suggested {was} for {job}, and now {suggested}"
            )
        if search.watches:
            search.recall(trial, self._objectives(ended))
        return final(ended, objective(record)["MetricName"])

    def _trial(
        self,
        name: str,
        place: int,
        trial: optuna.Trial,
        threads: int,
        search: Search,
        start: Start,
        first: str,
    ) -> float | None:
        """Train once; the objective's final value, or None if there is none."""
        record = self._store.get(_KEY, name)
        tuned = _tuned(record, trial)
        job = f"{name}-{place:03}-{secrets.token_hex(4)}"
        self._jobs.create(
            # "Tags that you specify for the tuning job are also added to all training jobs that the tuning
            # job launches" (API reference, CreateHyperParameterTuningJob).
            {
                **training_request(record, job, tuned, first),
                "Tags": tags_of(self._store, record[f"{_KEY}Arn"]),
            },
            start,
            TuningJobArn=record[f"{_KEY}Arn"],
            _tuning_job=name,
            _tuned=tuned,
            _threads=threads,
        )
        if self._closed.is_set():
            self._jobs.interrupt(job)
        elif self._status(name) != "InProgress" or search.expired.is_set():  # may not have been seen
            self._stop_trial(job)
        metric = objective(record)["MetricName"]
        if search.watches:
            self._watch(job, trial, search)
        ended = self._jobs.wait(job)
        if service_fault(ended):
            self._expire(name, search)
        return final(ended, metric)

    def _watch(self, job: str, trial: optuna.Trial, search: Search) -> None:
        """Follow a training job's objective until it ends or the search stops it."""
        seen = 0
        while (record := self._jobs.describe(job))["TrainingJobStatus"] == "InProgress":
            for value in self._objectives(record)[seen:]:
                seen += 1
                if search.stops(trial, seen, value):
                    self._stop_trial(job)
                    return
            time.sleep(_POLL_S)

    def _objectives(self, job: Record) -> list[float]:
        """The objectives that a training job has emitted so far."""
        definitions = job["AlgorithmSpecification"]["MetricDefinitions"]
        metric = job["HyperParameters"]["_tuning_objective_metric"]
        return metrics.logged(self._jobs.log(job["TrainingJobName"]), definitions)[metric]

    def _status(self, name: str) -> str:
        status: str = self._store.get(_KEY, name)[f"{_KEY}Status"]
        return status

    def _end(self, name: str, status: str, reason: str) -> None:
        change = partial(_mark_ended, status=status, reason=reason)
        self._store.update(_KEY, name, change, PATIENCE_S)

    def _fail(self, name: str, fault: str) -> None:
        """Fail a tuning job for a fault of the service, whatever happens: nothing else ends it."""
        reason = f"InternalServerError: {fault}"
        self._store.keep(_KEY, name, partial(_mark_ended, status="Failed", reason=reason))

    def _trials(self, name: str) -> list[Record]:
        return summaries(self._store, self._store.get(_KEY, name))

    def _list(self, request: Request) -> Response:
        records = [self.describe(record[f"{_KEY}Name"]) for record in self._store.list(_KEY)]
        for record in records:
            config = record.get(f"{_KEY}Config", {})
            record.update({key: config.get(key) for key in ("Strategy", "ResourceLimits")})
        return listed(records, {**_LISTED, **request}, _KEY, f"{_KEY}Summaries")

    def _list_training_jobs(self, request: Request) -> Response:
        name = request[f"{_KEY}Name"]
        self.describe(name)  # refuses an unknown name
        trials, request = self._trials(name), {**_LISTED, **request}
        if request["SortBy"] != "FinalObjectiveMetricValue":
            return listed(trials, request, "TrainingJob", "TrainingJobSummaries")
        measured = [trial for trial in trials if trial["ObjectiveStatus"] == "Succeeded"]
        first = "Maximize" if request["SortOrder"] == "Descending" else "Minimize"
        ranked = best_first(matching(measured, request, "TrainingJob"), first)
        return page(ranked, request, "TrainingJobSummaries")


def _tuned(record: Record, trial: optuna.Trial) -> dict[str, str]:
    """A trial's hyperparameters, as in its training job."""
    tuned = {key: value if isinstance(value, str) else repr(value) for key, value in trial.params.items()}
    for key in reversed_names(ranges(record)):
        tuned[key] = repr(1 - trial.params[key])
    return tuned


def _mark_ended(record: Record, status: str, reason: str) -> None:
    record[f"{_KEY}Status"] = status
    now = clock.now(record.get("CreationTime"))
    record["LastModifiedTime"] = record["HyperParameterTuningEndTime"] = now
    if reason:
        record["FailureReason"] = reason[:FAILURE_REASON_CHARACTERS]


def _best(trials: list[Record], record: Record) -> Record | None:
    """The best of the trials by a tuning job's objective, if any has one."""
    ranked = best_first(trials, objective(record)["Type"])
    return ranked[0] if ranked and ranked[0]["ObjectiveStatus"] == "Succeeded" else None
