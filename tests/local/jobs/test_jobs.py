"""Behavior shared by training and processing jobs, with real processes."""

import dataclasses
import errno
import os
import re
import threading
import time

import pytest

from local.home.store import Store
from local.jobs import training
from local.jobs.jobs import JobService
from local.wire.errors import ServiceError
from tests.local.full_disk import MESSAGE, fill, make_room
from tests.local.job_requests import (
    finished,
    processing_request,
    put,
    training_request,
)


def test_a_name_is_taken_once(control, home):
    put(home, "s3://b/in/a.txt", "x")
    control.call("CreateProcessingJob", processing_request("pass"))
    with pytest.raises(ServiceError, match="unique"):
        control.call("CreateProcessingJob", processing_request("pass"))


def test_jobs_are_listed_newest_first_in_pages(control, home):
    put(home, "s3://b/in/x.txt", "w")
    for name in ("one", "two", "three"):
        control.call("CreateTrainingJob", training_request("pass", TrainingJobName=name))
        finished(control, "TrainingJob", name)
    first = control.call("ListTrainingJobs", {"MaxResults": 2})
    assert [job["TrainingJobName"] for job in first["TrainingJobSummaries"]] == ["three", "two"]
    second = control.call("ListTrainingJobs", {"MaxResults": 2, "NextToken": first["NextToken"]})
    assert [job["TrainingJobName"] for job in second["TrainingJobSummaries"]] == ["one"]
    assert "NextToken" not in second
    found = control.call("ListTrainingJobs", {"NameContains": "w"})
    assert [job["TrainingJobName"] for job in found["TrainingJobSummaries"]] == ["two"]


@pytest.mark.parametrize("token", ["next", "-1", "²"])
def test_a_page_that_no_page_led_to_is_refused(control, token):
    with pytest.raises(ServiceError, match="NextToken") as caught:
        control.call("ListTrainingJobs", {"NextToken": token})
    assert caught.value.code == "ValidationException"


def test_jobs_are_listed_by_their_last_change(control, home):
    put(home, "s3://b/in/x.txt", "w")
    control.call("CreateTrainingJob", training_request("pass"))
    changed = finished(control, "TrainingJob", "t")["LastModifiedTime"]
    for limits, count in (
        ({"LastModifiedTimeAfter": changed - 1, "LastModifiedTimeBefore": changed + 1}, 1),
        ({"LastModifiedTimeAfter": changed + 1}, 0),
        ({"LastModifiedTimeBefore": changed - 1}, 0),
    ):
        assert len(control.call("ListTrainingJobs", limits)["TrainingJobSummaries"]) == count


@pytest.mark.parametrize("part", ["prepare", "upload", "conclude"])
def test_a_full_disk_fails_the_job_and_says_so(home, store, part):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/x")

    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, dataclasses.replace(training.KIND, **{part: full}), dict)
    service.create(training_request("pass"))
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert record["FailureReason"] == (
        f"InternalServerError: the disk that holds {home.root} is full (No space left on device);"
        " make room and start again"
    )


HELD = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1], 'go').exists(): time.sleep(0.02)"


@pytest.fixture
def held(home, store):
    """A service with a job, already running, that ends when its folder holds the file `go`."""
    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, training.KIND, dict)
    service.create(training_request(f"print('up', flush=True)\n{HELD}"))
    while not (service.log("t").exists() and service.log("t").read_text()):
        time.sleep(0.02)
    yield service
    service.close()


def test_a_job_whose_end_cannot_be_recorded_has_ended_anyway(home, store, held, monkeypatch):
    monkeypatch.setattr("local.jobs.jobs.PATIENCE_S", 0.3)
    fill(store)
    (home.folder(training.FOLDER, "t") / "ml" / "go").touch()
    record = held.wait("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert re.fullmatch(f"InternalServerError: {MESSAGE}", record["FailureReason"])
    (listed,) = held.operations()["ListTrainingJobs"]({})["TrainingJobSummaries"]
    assert listed["TrainingJobStatus"] == "Failed"
    with pytest.raises(ServiceError, match="has ended"):
        held.stop("t")
    make_room(store)
    held.describe("t")  # any look writes it
    other = Store(home.database)
    assert other.get("TrainingJob", "t")["FailureReason"] == record["FailureReason"]
    other.close()


def test_a_job_ends_well_if_there_is_room_soon_enough(home, store, held):
    fill(store)
    later = threading.Timer(1, make_room, [store])
    later.start()
    (home.folder(training.FOLDER, "t") / "ml" / "go").touch()
    assert held.wait("t")["TrainingJobStatus"] == "Completed"
    later.join()


def test_a_job_can_be_stopped_while_no_record_can_be_written(store, held, monkeypatch):
    monkeypatch.setattr("local.jobs.jobs.PATIENCE_S", 0.3)
    fill(store)
    store._connection.execute("PRAGMA query_only=1")  # not even a record that does not grow
    held.stop("t")
    assert held.describe("t")["TrainingJobStatus"] == "Stopping"
    began = time.monotonic()
    assert held.wait("t")["TrainingJobStatus"] == "Failed"  # nothing says how it ended
    assert time.monotonic() - began < 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_the_service_itself_does_not_leave_a_job_running(home, store):
    def observe(*_):
        raise RuntimeError("a bug")

    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, dataclasses.replace(training.KIND, conclude=observe), dict)
    service.create(training_request("pass"))
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert record["FailureReason"].startswith("InternalServerError")


def test_a_job_that_gets_no_thread_has_ended(home, store, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    service = JobService(home, store, training.KIND, dict)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        service.create(training_request("pass"))
    record = service.describe("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert record["FailureReason"] == "InternalServerError: can't start new thread"
    service.close()


def test_a_stubborn_program_can_be_ended_at_once(home, store):
    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, training.KIND, dict)
    program = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    service.create(training_request(program))
    while not (service.log("t").exists() and service.log("t").read_text()):
        time.sleep(0.02)
    service.stop("t")
    began = time.monotonic()
    service.kill()
    assert service.wait("t")["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - began < 10


def test_a_job_left_running_by_an_earlier_service_is_closed(store, services):
    store.create(
        "TrainingJob",
        "left",
        {
            **training_request("pass"),
            "TrainingJobName": "left",
            "TrainingJobStatus": "InProgress",
            "CreationTime": 1.0,
        },
    )
    services[0].recover()
    record = services[0].describe("left")
    assert record["TrainingJobStatus"] == "Failed"
    assert "the local service ended" in record["FailureReason"]


def test_a_job_ends_after_it_began_though_the_clock_is_set_back(control, home, tmp_path, monkeypatch):
    put(home, "s3://b/in/x.txt", "w")
    real, back_s = time.time, 0
    monkeypatch.setattr(time, "time", lambda: real() - back_s)
    gate, fifo = tmp_path / "gate", "import sys, os\nopen(sys.argv[1]).read()"
    os.mkfifo(gate)
    request = training_request(fifo)
    request["AlgorithmSpecification"]["ContainerArguments"] = [str(gate)]
    control.call("CreateTrainingJob", request)
    with gate.open("w"):  # it runs
        time.sleep(1.1)
        back_s = 7200
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == "Completed"
    assert 2 <= record["TrainingTimeInSeconds"] < 60
    parts = record["SecondaryStatusTransitions"]
    times = [part[end] for part in parts for end in ("StartTime", "EndTime")]
    times += [record["TrainingEndTime"], record["LastModifiedTime"]]
    assert times == sorted(times) and record["CreationTime"] <= times[0]


def test_a_job_of_an_earlier_service_ends_after_it_began_though_the_clock_is_set_back(store, services):
    began = time.time() + 7200
    moments = {"CreationTime": began, "TrainingStartTime": began + 60}
    left = {**training_request("pass"), "TrainingJobName": "left", "TrainingJobStatus": "InProgress"}
    store.create("TrainingJob", "left", left | moments)
    services[0].recover()
    record = services[0].describe("left")
    assert record["TrainingEndTime"] >= record["TrainingStartTime"]
    assert record["TrainingTimeInSeconds"] >= 0


def test_closing_ends_running_jobs_and_takes_no_more(home, store):
    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, training.KIND, dict)
    service.create(training_request("import time; time.sleep(60)"))
    service.close()
    assert service.describe("t")["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ServiceError, match="ending"):
        service.create(training_request("pass", TrainingJobName="late"))
