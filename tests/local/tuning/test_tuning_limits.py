"""What ends a tuning job, and how many trials run in parallel."""

import dataclasses
import errno
import os
import re
import sqlite3
import threading
import time

import pytest

from local.home.disk import NotRecorded
from local.home.home import Home
from local.home.interruption import INTERRUPTED
from local.home.store import Store
from local.jobs import training
from local.jobs.jobs import JobService
from local.tuning.tuning import TuningService
from local.wire.errors import ServiceError
from tests.local.full_disk import MESSAGE, fill
from tests.local.tunings import control_plane, finished, prepare, request, trials


@pytest.fixture
def control(tmp_path):
    with control_plane(tmp_path / "home") as control:
        yield control


@pytest.fixture
def quick(home, store):
    """The service with trials that start at once."""
    home.object_path("s3://b").mkdir(parents=True, exist_ok=True)  # where jobs leave their outputs
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    yield TuningService(home, store, jobs)
    jobs.close()


def test_a_job_ends_after_five_failures_without_a_success(control):
    limits = {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 1}
    control.call("CreateHyperParameterTuningJob", request("import sys; sys.exit(1)", ResourceLimits=limits))
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert "No training job succeeded after 5 attempts" in record["FailureReason"]
    assert record["TrainingJobStatusCounters"]["NonRetryableError"] == 5


def test_failures_after_a_success_end_no_job(control):
    program = (
        "import pathlib, sys\nassert '-001-' in str(pathlib.Path(sys.argv[1])), 'broken'\nprint('acc=0.5')\n"
    )
    limits = {"MaxNumberOfTrainingJobs": 8, "MaxParallelTrainingJobs": 2}
    control.call("CreateHyperParameterTuningJob", request(program, ResourceLimits=limits))
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert record["TrainingJobStatusCounters"]["NonRetryableError"] == 7


def test_a_stopped_job_stops_its_trials(control):
    control.call("CreateHyperParameterTuningJob", request("import time; time.sleep(60)"))
    while len(trials(control)) < 2:
        time.sleep(0.02)
    control.call("StopHyperParameterTuningJob", {"HyperParameterTuningJobName": "h"})
    assert finished(control)["HyperParameterTuningJobStatus"] == "Stopped"
    assert {trial["TrainingJobStatus"] for trial in trials(control)} == {"Stopped"}
    assert len(trials(control)) == 2


def test_closing_stops_the_trials_and_does_not_wait_for_their_end(quick, store):
    quick.create(request("import time; time.sleep(60)"))
    while not store.list("TrainingJob"):
        time.sleep(0.02)
    began = time.monotonic()
    quick.close()
    assert time.monotonic() - began < 30
    assert {trial["FailureReason"] for trial in store.list("TrainingJob")} == {INTERRUPTED}


def test_a_stop_that_misses_a_trial_about_to_begin_stops_it_anyway(tmp_path):
    """The tuning job is stopped after the last check of its status and before the trial has a record."""
    home = Home(tmp_path / "home")
    home.object_path("s3://b").mkdir(parents=True)
    store = Store(home.database)

    class Jobs(JobService):
        def create(self, request, *start, **own):
            tuning.stop("h")
            return super().create(request, *start, **own)

    jobs = Jobs(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    tuning = TuningService(home, store, jobs)
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1}
    tuning.create(request("import time; time.sleep(60)", ResourceLimits=limits))
    tuning._threads["h"].join(30)
    assert tuning.describe("h")["HyperParameterTuningJobStatus"] == "Stopped"
    assert [trial["TrainingJobStatus"] for trial in store.list("TrainingJob")] == ["Stopped"]
    jobs.close()
    store.close()


def test_when_its_time_is_over_the_best_so_far_is_the_best(quick):
    program = (
        "import sys, time\nprint('acc=0.5', flush=True)\ntime.sleep(60 if '-002-' in sys.argv[1] else 0)\n"
    )
    # The control plane checks the service's minimum, 120 s.
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 5}
    quick.create(request(program, ResourceLimits=limits))
    quick._threads["h"].join(30)
    record = quick.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert record["TrainingJobStatusCounters"]["Completed"] == 1
    assert record["TrainingJobStatusCounters"]["Stopped"] == 1
    assert "-001-" in record["BestTrainingJob"]["TrainingJobName"]


def test_a_job_whose_time_is_over_before_its_first_trial_says_so(quick):
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 0}
    quick.create(request(ResourceLimits=limits))
    quick._threads["h"].join(30)
    record = quick.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert "MaxRuntimeInSeconds was over before one began" in record["FailureReason"]


def test_no_more_trials_run_at_once_than_there_are_cores(quick, monkeypatch, tmp_path):
    monkeypatch.setattr("local.tuning.run.os.cpu_count", lambda: 2)
    # Each trial writes how many are running, including itself.
    program = (
        "import os, pathlib, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "own = folder / f'{os.getpid()}.running'\n"
        "own.touch()\n"
        "time.sleep(0.5)\n"
        "with (folder / 'counts').open('a') as counts:\n"
        "    print(len(list(folder.glob('*.running'))), os.environ['OMP_NUM_THREADS'], file=counts)\n"
        "own.unlink()\n"
        "print('acc=0.5')\n"
    )
    limits = {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 4}
    quick.create(request(program, ResourceLimits=limits))
    quick._threads["h"].join(60)
    counts = [line.split() for line in (tmp_path / "counts").read_text().splitlines()]
    assert len(counts) == 6
    assert max(int(running) for running, _ in counts) == 2
    assert {threads for _, threads in counts} == {"1"}


def test_a_trial_that_the_service_could_not_carry_out_fails_the_job(home, store):
    """The disk is full for the second of three trials; the best of one trial is not the requested result."""

    def full(home, record, service):
        if "-002-" in record["TrainingJobName"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return prepare(home, record, service)

    home.object_path("s3://b").mkdir(parents=True)
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=full), dict)
    tuning = TuningService(home, store, jobs)
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1}
    tuning.create(request(ResourceLimits=limits))
    tuning._threads["h"].join(60)
    record = tuning.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert record["FailureReason"].startswith(f"InternalServerError: the disk that holds {home.root} is full")
    assert "make room and start again" in record["FailureReason"] and "-002-" in record["FailureReason"]
    counters = {"Completed": 1, "InProgress": 0, "RetryableError": 1, "NonRetryableError": 0, "Stopped": 0}
    assert record["TrainingJobStatusCounters"] == counters  # the third never began
    jobs.close()


def test_a_trial_that_cannot_be_recorded_ends_the_job_and_the_trials_that_run(
    home, quick, store, monkeypatch
):
    """The first trial would run for a minute."""
    create = store.create

    def full(kind, name, record):
        if "-002-" in name:
            raise NotRecorded(home.database, sqlite3.OperationalError("database or disk is full"))
        create(kind, name, record)

    monkeypatch.setattr(store, "create", full)
    began = time.monotonic()
    quick.create(request("import time; time.sleep(60)"))
    quick._threads["h"].join(60)
    assert time.monotonic() - began < 30
    record = quick.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert record["TrainingJobStatusCounters"]["Stopped"] == 1


def test_a_job_that_gets_no_thread_has_ended(quick, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        quick.create(request())
    record = quick.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert record["FailureReason"] == "InternalServerError: can't start new thread"
    quick.close()


def test_a_job_whose_end_cannot_be_recorded_has_ended_anyway(quick, store, monkeypatch, tmp_path):
    monkeypatch.setattr("local.jobs.jobs.PATIENCE_S", 0.1)
    monkeypatch.setattr("local.tuning.run.PATIENCE_S", 0.1)
    program = (
        f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path)!r}, 'go').exists(): time.sleep(0.02)"
    )
    quick.create(request(program))
    while len([job for job in store.list("TrainingJob") if "TrainingStartTime" in job]) < 2:
        time.sleep(0.02)
    fill(store)
    (tmp_path / "go").touch()
    quick._threads["h"].join(60)
    record = quick.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert re.search(MESSAGE, record["FailureReason"])
    with pytest.raises(ServiceError, match="has ended"):
        quick.stop("h")
