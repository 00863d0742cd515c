"""Tuning jobs that a later service continues: the same trials, and no finished trial again."""

import contextlib
import dataclasses
import time

import pytest

from local.home.home import Home
from local.home.interruption import INTERRUPTED
from local.home.store import Store
from local.jobs import training
from local.jobs.jobs import JobService
from local.tuning.trials import index
from local.tuning.tuning import TuningService
from tests.local.tunings import OBJECTIVE, prepare, request

# Answers like OBJECTIVE; the trial whose index is in the file waits forever.
HELD = (
    OBJECTIVE
    + """
import time
held = pathlib.Path(HELD)
while held.exists() and f"-{int(held.read_text()):03}-" in sys.argv[1]: time.sleep(0.02)
"""
)


@contextlib.contextmanager
def service(folder, *, killed=False):
    """The services of training and tuning jobs on a home; killed: nothing is written when they end."""
    home = Home(folder)
    home.object_path("s3://b").mkdir(parents=True, exist_ok=True)
    store = Store(home.database)
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    tuning = TuningService(home, store, jobs)
    jobs.recover()
    tuning.recover(resume=True)
    tuning.resume()
    yield tuning, store
    before = {job["TrainingJobName"]: job for job in store.list("TrainingJob")}
    tuning.close()
    jobs.close()
    if killed:
        for name, job in before.items():
            store.update("TrainingJob", name, lambda record, job=job: (record.clear(), record.update(job)))
    store.close()


def ended(tuning):
    deadline = time.monotonic() + 60
    while (record := tuning.describe("h"))["HyperParameterTuningJobStatus"] == "InProgress":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return record


def trials(store):
    """Each trial's parameters and outcome, in order of their start."""
    return [
        (index(job), job["_tuned"], job["TrainingJobStatus"], job.get("FailureReason", ""))
        for job in reversed(store.list("TrainingJob"))
    ]


def undisturbed(folder, **config):
    with service(folder) as (tuning, store):
        tuning.create(request(**config))
        record = ended(tuning)
        return record["BestTrainingJob"]["TunedHyperParameters"], trials(store)


@pytest.mark.parametrize("strategy", ["Bayesian", "Random"])
@pytest.mark.parametrize("killed", [True, False])
def test_the_search_continues_as_if_nothing_had_been(tmp_path, strategy, killed):
    config = {
        "Strategy": strategy,
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 5, "MaxParallelTrainingJobs": 1},
    }
    best, wanted = undisturbed(tmp_path / "undisturbed", **config)
    held = tmp_path / "held"
    held.write_text("3")
    program = HELD.replace("HELD", repr(str(held)))
    with service(tmp_path / "home", killed=killed) as (tuning, store):
        tuning.create(request(program, **config))
        while not [trial for trial in trials(store) if trial[0] == 3]:
            time.sleep(0.02)
    held.unlink()
    with service(tmp_path / "home") as (tuning, store):
        record = ended(tuning)
        found = trials(store)
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert record["BestTrainingJob"]["TunedHyperParameters"] == best
    status = "Failed" if killed else "Stopped"
    reason = f"InternalServerError: {INTERRUPTED}" if killed else INTERRUPTED
    assert found == [*wanted[:2], (3, wanted[2][1], status, reason), *wanted[2:]]
    counters = {"Completed": 5, "InProgress": 0, "RetryableError": 1, "NonRetryableError": 0, "Stopped": 0}
    assert record["TrainingJobStatusCounters"] == counters


def test_a_search_without_a_seed_continues_with_its_own(tmp_path):
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1}
    held = tmp_path / "held"
    held.write_text("2")
    asked = request(HELD.replace("HELD", repr(str(held))), ResourceLimits=limits)
    del asked["HyperParameterTuningJobConfig"]["RandomSeed"]
    with service(tmp_path / "home") as (tuning, store):
        tuning.create(asked)
        while len(trials(store)) < 2:
            time.sleep(0.02)
    held.unlink()
    with service(tmp_path / "home") as (tuning, store):
        assert ended(tuning)["HyperParameterTuningJobStatus"] == "Completed"
        first, second, again, third = trials(store)
    assert (first[0], second[:2], again[0], third[0]) == (1, again[:2], 2, 3)


def test_hyperband_knows_what_earlier_trials_reported(tmp_path, monkeypatch):
    recalled = []
    monkeypatch.setattr(
        "local.tuning.search.Search.recall",
        lambda _, trial, values: recalled.append((trial.number, [*values])),
    )
    early = {"TrainingJobEarlyStoppingType": "Auto"}
    limits = {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1}
    held = tmp_path / "held"
    held.write_text("2")
    program = HELD.replace("HELD", repr(str(held)))
    with service(tmp_path / "home") as (tuning, store):
        tuning.create(request(program, ResourceLimits=limits, **early))
        while len(trials(store)) < 2:
            time.sleep(0.02)
    held.unlink()
    with service(tmp_path / "home") as (tuning, store):
        assert ended(tuning)["HyperParameterTuningJobStatus"] == "Completed"
        (first,) = [job for job in store.list("TrainingJob") if index(job) == 1]
    assert recalled == [(0, [first["FinalMetricDataList"][0]["Value"]])]


def test_a_trial_that_runs_again_finds_its_checkpoints(tmp_path):
    held = tmp_path / "held"
    held.write_text("1")
    asked = request(HELD.replace("HELD", repr(str(held))))
    asked["TrainingJobDefinition"]["CheckpointConfig"] = {"S3Uri": "s3://b/checkpoints/"}
    for attempt in (1, 2):
        with service(tmp_path / "home") as (tuning, store):
            if attempt == 1:
                tuning.create(asked)
            while sum(trial[0] == 1 for trial in trials(store)) < attempt:
                time.sleep(0.02)
    held.unlink()
    with service(tmp_path / "home") as (tuning, store):
        ended(tuning)
        jobs = store.list("TrainingJob")
    of = {place: [j for j in jobs if index(j) == place] for place in (1, 2, 3, 4)}
    first = of[1][-1]["TrainingJobName"]
    assert len(of[1]) == 3
    assert {j["CheckpointConfig"]["S3Uri"] for j in of[1]} == {f"s3://b/checkpoints/{first}"}
    assert len({j["CheckpointConfig"]["S3Uri"] for j in jobs}) == 4


def test_its_time_is_the_time_that_it_was_at_work(tmp_path):
    """Time used under an earlier service counts; time since the creation does not."""
    held = tmp_path / "held"
    held.write_text("1")
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 3600}
    with service(tmp_path / "home") as (tuning, store):
        tuning.create(request(HELD.replace("HELD", repr(str(held))), ResourceLimits=limits))
        while not trials(store):
            time.sleep(0.02)
        store.update("HyperParameterTuningJob", "h", lambda record: record.update(CreationTime=0.0))
    with service(tmp_path / "home") as (tuning, store):
        assert tuning.describe("h")["HyperParameterTuningJobStatus"] == "InProgress"
        while len(trials(store)) < 2:
            time.sleep(0.02)
        assert tuning.describe("h")["HyperParameterTuningJobStatus"] == "InProgress"
    with contextlib.closing(Store(Home(tmp_path / "home").database)) as store:
        used = store.update("HyperParameterTuningJob", "h", lambda record: record.update(_used_s=3599.5))
        assert used["HyperParameterTuningJobStatus"] == "InProgress"
    with service(tmp_path / "home") as (tuning, store):
        ended(tuning)  # although the running trial would continue forever
        assert {place for place, *_ in trials(store)} == {1}


def test_a_tuning_job_that_was_being_stopped_is_stopped(tmp_path):
    held = tmp_path / "held"
    held.write_text("1")
    with service(tmp_path / "home") as (tuning, store):
        tuning.create(request(HELD.replace("HELD", repr(str(held)))))
        while not trials(store):
            time.sleep(0.02)
    with contextlib.closing(Store(Home(tmp_path / "home").database)) as store:
        stopping = {"HyperParameterTuningJobStatus": "Stopping"}
        store.update("HyperParameterTuningJob", "h", lambda record: record.update(stopping))
    with service(tmp_path / "home") as (tuning, store):
        assert ended_or_stopped(tuning) == "Stopped"


def ended_or_stopped(tuning):
    deadline = time.monotonic() + 10
    while (status := tuning.describe("h")["HyperParameterTuningJobStatus"]) in ("InProgress", "Stopping"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return status


def test_suggestions_that_changed_are_no_search_to_continue_with(tmp_path):
    held = tmp_path / "held"
    held.write_text("2")
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    with service(tmp_path / "home") as (tuning, store):
        tuning.create(request(HELD.replace("HELD", repr(str(held))), ResourceLimits=limits))
        while len(trials(store)) < 2:
            time.sleep(0.02)
        (first,) = [job["TrainingJobName"] for job in store.list("TrainingJob") if index(job) == 1]
        store.update("TrainingJob", first, lambda record: record["_tuned"].update(rate="0.5"))
    with service(tmp_path / "home") as (tuning, store):
        record = ended(tuning)
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert "cannot continue" in record["FailureReason"] and first in record["FailureReason"]
