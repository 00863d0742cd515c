"""One tuning job at work: Optuna suggests, training jobs answer."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat

import optuna

from local.home import clock
from local.home.disk import disk_fault
from local.home.home import Home
from local.home.interruption import interrupted
from local.home.store import PATIENCE_S, Record, Store
from local.home.tags import tags_of
from local.jobs import metrics
from local.jobs.forks import starter
from local.jobs.jobs import JobService
from local.jobs.reasons import FAILURE_REASON_CHARACTERS
from local.processes.container import Start
from local.tuning import warm_start
from local.tuning.ranges import reversed_names
from local.tuning.search import Search
from local.tuning.trials import TUNING_JOB as _KEY
from local.tuning.trials import (
    best,
    final,
    index,
    objective,
    ranges,
    service_fault,
    summaries,
    training_request,
)
from local.wire.errors import ServiceError

FOLDER = "tuning-jobs"
_POLL_S = 0.5
# How often a tuning job's used time is recorded.
_NOTED_EVERY_S = 5.0


class OtherSuggestion(Exception):
    """The search suggests other values than before: Optuna's version differs, or a record was changed."""


class TuningRun:
    """A tuning job by its name, from whatever state its record is in.

    Args:
        closed: set when the service ends; a later one continues the job.
    """

    def __init__(
        self, name: str, home: Home, store: Store, jobs: JobService, closed: threading.Event
    ) -> None:
        self.name = name
        self._home = home
        self._store = store
        self._jobs = jobs
        self._closed = closed

    def carry_out(self) -> None:
        """Search until the end, unless the service ends first; whatever happens, the record says it."""
        try:
            self._search()
        except OtherSuggestion as error:
            self.fail(str(error))
        except BaseException as error:
            fault = disk_fault(error, self._home.root)
            self.fail(fault or "an error of the local service; see its log")
            if fault is None:
                raise

    def _search(self) -> None:
        record = self._store.get(_KEY, self.name)
        search = Search(record, warm_start.trials(self._store, record))
        ended = {index(trial): trial for trial in self.trials() if not interrupted(trial)}
        # Newest first, so the oldest of a trial's training jobs stays.
        begun = {index(trial): trial["TrainingJobName"] for trial in self.trials()}
        cores = os.cpu_count() or 1
        # The suggestions depend on MaxParallelTrainingJobs, not on the number of cores.
        at_once = min(
            record[f"{_KEY}Config"]["ResourceLimits"]["MaxParallelTrainingJobs"], search.size, cores
        )
        threads = cores // at_once

        def going() -> bool:
            return self._status() == "InProgress" and not search.over and not self._closed.is_set()

        def one(place: int, start: Start) -> None:
            trial = search.ask(place)
            value = None
            try:
                if place in ended:
                    value = self._recall(ended[place], trial, search)
                elif going():
                    value = self._trial(place, trial, threads, search, start, begun.get(place, ""))
            except BaseException:
                self._expire(search)  # it fails without waiting for the other trials
                raise
            finally:
                search.tell(place, value)

        any_trial = training_request(record, self.name, {})
        any_trial |= {"TrainingJobArn": record[f"{_KEY}Arn"], "_threads": threads}
        ml = self._home.folder(FOLDER, self.name) / "ml"
        with (
            self._limited(record, search),
            starter(self._home, ml, any_trial, self._jobs.environment(), going) as start,
            ThreadPoolExecutor(at_once) as pool,
        ):
            for _ in pool.map(one, range(1, search.size + 1), repeat(start)):
                pass
        if self._status() == "Stopping":
            self.end("Stopped", "")
        elif not self._closed.is_set():
            self._conclude()

    def _conclude(self) -> None:
        """End a tuning job whose search is over."""
        trials = [trial for trial in self.trials() if not interrupted(trial)]
        faults = [trial for trial in trials if service_fault(trial)]
        if faults:
            job, reason = faults[-1]["TrainingJobName"], faults[-1]["FailureReason"]
            self.end("Failed", f"{reason} (training job {job})")
        elif best(self.trials(), self._store.get(_KEY, self.name)) is not None:
            self.end("Completed", "")
        else:
            reasons = [trial.get("FailureReason", "it emitted no objective") for trial in trials]
            first = reasons[-1] if reasons else "none, MaxRuntimeInSeconds was over before one began"
            self.end("Failed", f"No training job succeeded after {len(reasons)} attempts. The first: {first}")

    @contextlib.contextmanager
    def _limited(self, record: Record, search: Search) -> Iterator[None]:
        """During the block, end the search and stop the running trials when the tuning job's time is over.

        Only the tuning job's working time counts, not the time between two services.
        """
        longest = record[f"{_KEY}Config"]["ResourceLimits"].get("MaxRuntimeInSeconds", math.inf)
        done = threading.Event()

        def watch() -> None:
            used_s, at = record.get("_used_s", 0.0), time.monotonic()
            while used_s < longest and not done.wait(min(_NOTED_EVERY_S, longest - used_s)):
                now = time.monotonic()
                used_s, at = used_s + now - at, now
                self._store.keep(_KEY, self.name, partial(dict.update, _used_s=used_s))
            if not done.is_set():
                self._expire(search)

        with ThreadPoolExecutor(1, thread_name_prefix=f"{self.name}-limit") as pool:
            watching = pool.submit(watch)
            try:
                yield
            finally:
                done.set()
                watching.result()

    def _expire(self, search: Search) -> None:
        """Start no more trials, and stop the running ones."""
        search.expired.set()
        for trial in self.trials():
            self.stop_trial(trial["TrainingJobName"])

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
        place: int,
        trial: optuna.Trial,
        threads: int,
        search: Search,
        start: Start,
        first: str,
    ) -> float | None:
        """Train once; the objective's final value, or None if there is none."""
        record = self._store.get(_KEY, self.name)
        tuned = _tuned(record, trial)
        job = f"{self.name}-{place:03}-{secrets.token_hex(4)}"
        self._jobs.create(
            # "Tags that you specify for the tuning job are also added to all training jobs that the tuning
            # job launches" (API reference, CreateHyperParameterTuningJob).
            {
                **training_request(record, job, tuned, first),
                "Tags": tags_of(self._store, record[f"{_KEY}Arn"]),
            },
            start,
            TuningJobArn=record[f"{_KEY}Arn"],
            _tuning_job=self.name,
            _tuned=tuned,
            _threads=threads,
        )
        if self._closed.is_set():
            self._jobs.interrupt(job)
        elif self._status() != "InProgress" or search.expired.is_set():  # may not have been seen
            self.stop_trial(job)
        metric = objective(record)["MetricName"]
        if search.watches:
            self._watch(job, trial, search)
        ended = self._jobs.wait(job)
        if service_fault(ended):
            self._expire(search)
        return final(ended, metric)

    def _watch(self, job: str, trial: optuna.Trial, search: Search) -> None:
        """Follow a training job's objective until it ends or the search stops it."""
        seen = 0
        while (record := self._jobs.describe(job))["TrainingJobStatus"] == "InProgress":
            for value in self._objectives(record)[seen:]:
                seen += 1
                if search.stops(trial, seen, value):
                    self.stop_trial(job)
                    return
            time.sleep(_POLL_S)

    def _objectives(self, job: Record) -> list[float]:
        """The objectives that a training job has emitted so far."""
        definitions = job["AlgorithmSpecification"]["MetricDefinitions"]
        metric = job["HyperParameters"]["_tuning_objective_metric"]
        return metrics.logged(self._jobs.log(job["TrainingJobName"]), definitions)[metric]

    def _status(self) -> str:
        status: str = self._store.get(_KEY, self.name)[f"{_KEY}Status"]
        return status

    def end(self, status: str, reason: str) -> None:
        """End the tuning job in its record; `reason` is "" for an end without a failure."""
        change = partial(mark_ended, status=status, reason=reason)
        self._store.update(_KEY, self.name, change, PATIENCE_S)

    def fail(self, fault: str) -> None:
        """Fail a tuning job for a fault of the service, whatever happens: nothing else ends it."""
        reason = f"InternalServerError: {fault}"
        self._store.keep(_KEY, self.name, partial(mark_ended, status="Failed", reason=reason))

    def trials(self) -> list[Record]:
        """Its training jobs as summaries, newest first."""
        return summaries(self._store, self._store.get(_KEY, self.name))

    def stop_trial(self, job: str) -> None:
        """Ask one of its training jobs to end."""
        with contextlib.suppress(ServiceError):  # it has ended
            self._jobs.stop(job)


def _tuned(record: Record, trial: optuna.Trial) -> dict[str, str]:
    """A trial's hyperparameters, as in its training job."""
    tuned = {key: value if isinstance(value, str) else repr(value) for key, value in trial.params.items()}
    for key in reversed_names(ranges(record)):
        tuned[key] = repr(1 - trial.params[key])
    return tuned


def mark_ended(record: Record, status: str, reason: str) -> None:
    """Give a tuning job's record its end; `reason` is "" for one without a failure."""
    record[f"{_KEY}Status"] = status
    now = clock.now(record.get("CreationTime"))
    record["LastModifiedTime"] = record["HyperParameterTuningEndTime"] = now
    if reason:
        record["FailureReason"] = reason[:FAILURE_REASON_CHARACTERS]
