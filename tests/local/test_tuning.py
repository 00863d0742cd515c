"""Tuning jobs with real training processes, whose objective is a function of what they are given."""

import dataclasses
import math
import re
import time

import pytest

from local import training
from local.home import Home
from local.jobs import JobService
from local.store import Store
from local.trials import index
from local.tuning import TuningService
from tests.local.processes import alive
from tests.local.tunings import OBJECTIVE, control_plane, finished, prepare, request, trials


@pytest.fixture
def control(tmp_path):
    with control_plane(tmp_path / "home") as control:
        yield control


@pytest.fixture
def tuning(home, store):
    """The service with trials as they really are."""
    jobs = JobService(home, store, training.KIND, dict)
    yield TuningService(home, store, jobs)
    jobs.close()


def test_the_best_trial_is_the_one_with_the_best_objective(control):
    control.call("CreateHyperParameterTuningJob", request())
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Completed", record
    assert record["TrainingJobStatusCounters"]["Completed"] == 4
    assert record["ObjectiveStatusCounters"] == {"Succeeded": 4, "Pending": 0, "Failed": 0}
    ranked = trials(control, SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    values = [trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in ranked]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4
    assert record["BestTrainingJob"]["TrainingJobName"] == ranked[0]["TrainingJobName"]
    tuned = record["BestTrainingJob"]["TunedHyperParameters"]
    assert tuned.keys() == {"rate", "size"} and tuned["size"] in {"32", "64"}
    assert 1e-4 <= float(tuned["rate"]) <= 1e-1
    assert values[0] == pytest.approx(1 - (math.log10(float(tuned["rate"])) + 2) ** 2 / 4, abs=1e-5)
    assert all(re.fullmatch(r"h-00[1-4]-[0-9a-f]{8}", trial["TrainingJobName"]) for trial in ranked)
    described = control.call("DescribeTrainingJob", {"TrainingJobName": ranked[0]["TrainingJobName"]})
    assert described["TuningJobArn"] == record["HyperParameterTuningJobArn"]


def test_two_runs_give_the_same_trials_and_the_same_best_in_whatever_order_parallel_trials_end(control):
    """Each trial ends at a moment of its own; every objective is the same, so the first trial is best."""
    program = (
        "import pathlib, random, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "time.sleep(random.Random(str(folder.parent.name)).choice([0, 0.2, 0.4]))\n"
        "print('acc=0.5')\n"
    )
    limits = {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 3}
    runs = []
    for name in ("first", "second"):
        asked = request(program, ResourceLimits=limits) | {"HyperParameterTuningJobName": name}
        control.call("CreateHyperParameterTuningJob", asked)
        record = finished(control, name)
        runs.append({index(trial): trial["TunedHyperParameters"] for trial in trials(control, name)})
        assert index(record["BestTrainingJob"]) == 1
    assert runs[0] == runs[1] and sorted(runs[0]) == [1, 2, 3, 4, 5, 6]


def test_minimize_ranks_the_other_way(control):
    control.call(
        "CreateHyperParameterTuningJob",
        request(HyperParameterTuningJobObjective={"Type": "Minimize", "MetricName": "acc"}),
    )
    record = finished(control)
    values = [trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in trials(control)]
    best = record["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]
    assert best == {"Type": "Minimize", "MetricName": "acc", "Value": min(values)}


def test_one_failed_trial_does_not_fail_the_job(control):
    fails = "import pathlib, json, sys\n"
    fails += "if '-001-' in str(pathlib.Path(sys.argv[1])): sys.exit('broken')\n" + OBJECTIVE
    control.call("CreateHyperParameterTuningJob", request(fails))
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert record["TrainingJobStatusCounters"]["NonRetryableError"] == 1
    assert "-001-" not in record["BestTrainingJob"]["TrainingJobName"]


def test_a_job_whose_trials_all_fail_fails_with_their_reason(control):
    control.call("CreateHyperParameterTuningJob", request("import sys; sys.exit('no such data')"))
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert "no such data" in record["FailureReason"]
    assert "BestTrainingJob" not in record


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


def test_hyperband_stops_a_trial_that_falls_behind(control):
    program = (
        "import pathlib, sys, time\n"
        "late = '-002-' in str(pathlib.Path(sys.argv[1]))\n"
        "print('acc=0.1' if late else 'acc=0.9', flush=True)\n"
        "time.sleep(30 if late else 1)\n"
    )
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    strategy = {"HyperbandStrategyConfig": {"MaxResource": 2}}
    asked = request(program, Strategy="Hyperband", StrategyConfig=strategy, ResourceLimits=limits)
    control.call("CreateHyperParameterTuningJob", asked)
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Completed", record
    assert (
        record["TrainingJobStatusCounters"] | {"Completed": 1, "Stopped": 1}
        == record["TrainingJobStatusCounters"]
    )
    assert index(record["BestTrainingJob"]) == 1


def test_a_trial_without_the_objective_does_not_count(control):
    control.call("CreateHyperParameterTuningJob", request("print('nothing')"))
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Failed"
    assert record["ObjectiveStatusCounters"]["Failed"] == 4


def test_grid_tries_every_combination_once(control):
    ranges = {
        "CategoricalParameterRanges": [
            {"Name": "rate", "Values": ["0.01", "0.1"]},
            {"Name": "size", "Values": ["32", "64"]},
        ]
    }
    limits = {"MaxParallelTrainingJobs": 2}
    control.call(
        "CreateHyperParameterTuningJob",
        request(Strategy="Grid", ParameterRanges=ranges, ResourceLimits=limits),
    )
    assert finished(control)["HyperParameterTuningJobStatus"] == "Completed"
    tried = {tuple(sorted(trial["TunedHyperParameters"].items())) for trial in trials(control)}
    assert len(tried) == len(trials(control)) == 4


def test_a_stopped_job_stops_its_trials(control):
    control.call("CreateHyperParameterTuningJob", request("import time; time.sleep(60)"))
    while len(trials(control)) < 2:
        time.sleep(0.02)
    control.call("StopHyperParameterTuningJob", {"HyperParameterTuningJobName": "h"})
    assert finished(control)["HyperParameterTuningJobStatus"] == "Stopped"
    assert {trial["TrainingJobStatus"] for trial in trials(control)} == {"Stopped"}
    assert len(trials(control)) == 2


def test_closing_stops_the_trials_and_does_not_wait_for_their_end(tmp_path):
    home = Home(tmp_path / "home")
    store = Store(home.database)
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    tuning = TuningService(home, store, jobs)
    tuning.create(request("import time; time.sleep(60)"))
    while not store.list("TrainingJob"):
        time.sleep(0.02)
    began = time.monotonic()
    tuning.close()
    assert time.monotonic() - began < 30
    assert tuning.describe("h")["HyperParameterTuningJobStatus"] == "Stopped"
    jobs.close()
    store.close()


def test_a_stop_that_misses_a_trial_about_to_begin_stops_it_all_the_same(tmp_path):
    """The tuning job is stopped after the last look at its status and before the trial has a record."""
    home = Home(tmp_path / "home")
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


def test_each_spot_trial_has_its_own_checkpoints(control, tmp_path):
    program = (
        "import pathlib, sys\n"
        "checkpoints = pathlib.Path(sys.argv[1]) / 'checkpoints'\n"
        "assert not list(checkpoints.iterdir()), 'these are of another trial'\n"
        "(checkpoints / 'last').write_text('epoch 1')\n"
        "print('acc=0.5')\n"
    )
    asked = request(program, ResourceLimits={"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 1})
    asked["TrainingJobDefinition"] |= {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
        "CheckpointConfig": {"S3Uri": "s3://b/checkpoints/"},
    }
    control.call("CreateHyperParameterTuningJob", asked)
    assert finished(control)["TrainingJobStatusCounters"]["Completed"] == 3
    folders = Home(tmp_path / "home").object_path("s3://b/checkpoints").iterdir()
    assert {folder.name for folder in folders} == {trial["TrainingJobName"] for trial in trials(control)}


def test_trials_are_forked_from_one_process_that_ends_with_the_job(tuning, home, store, bundle):
    program = (
        "import os, sys\n"
        "print('from', os.getppid())\n"
        "if float(sys.argv[sys.argv.index('--rate') + 1]) < 0.001: sys.exit('too low')\n"
        "print('acc=0.5')\n"
    )
    asked = request("package/go.py")
    static = asked["TrainingJobDefinition"]["StaticHyperParameters"]
    static["sagemaker_submit_directory"] = bundle(program)
    tuning.create(asked)
    tuning._threads["h"].join(60)
    counters = tuning.describe("h")["TrainingJobStatusCounters"]
    logs = [
        (home.folder(training.FOLDER, trial["TrainingJobName"]) / "log.txt").read_text()
        for trial in store.list("TrainingJob")
    ]
    assert counters["Completed"] + counters["NonRetryableError"] == len(logs) == 4
    assert counters["NonRetryableError"] == sum("too low" in log for log in logs)
    (zygote,) = {int(log.split()[1]) for log in logs}
    assert not alive(zygote)
    assert [path.name for path in home.folder("tuning-jobs", "h").iterdir()] == ["log.txt"]


def test_a_tuning_job_can_be_stopped_before_its_first_trial(tuning, store, bundle):
    asked = request("package/go.py")
    static = asked["TrainingJobDefinition"]["StaticHyperParameters"]
    static["sagemaker_submit_directory"] = bundle("import torch")
    tuning.create(asked)
    tuning.close()
    assert tuning.describe("h")["HyperParameterTuningJobStatus"] == "Stopped"
    assert store.list("TrainingJob") == []


@pytest.fixture
def quick(home, store):
    """The service with trials that start at once."""
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    yield TuningService(home, store, jobs)
    jobs.close()


def test_when_its_time_is_over_the_best_so_far_is_the_best(quick):
    program = (
        "import sys, time\nprint('acc=0.5', flush=True)\ntime.sleep(60 if '-002-' in sys.argv[1] else 0)\n"
    )
    # The service's least, 120 s, is what the control plane checks.
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
    monkeypatch.setattr("local.tuning.os.cpu_count", lambda: 2)
    # Each trial writes how many it finds running, itself with them.
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


def test_training_jobs_are_listed_ten_at_a_time_by_name_unless_told_otherwise(control):
    limits = {"MaxNumberOfTrainingJobs": 11, "MaxParallelTrainingJobs": 2}
    control.call("CreateHyperParameterTuningJob", request(ResourceLimits=limits))
    finished(control)
    assert [index(trial) for trial in trials(control)] == list(range(1, 11))
    assert [index(trial) for trial in trials(control, NextToken="10")] == [11]
    newest = trials(control, SortBy="CreationTime", SortOrder="Descending", MaxResults=1)
    assert index(newest[0]) == 11
    ranked = {"SortBy": "FinalObjectiveMetricValue", "MaxResults": 100}
    values = [
        trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for trial in trials(control, **ranked)
    ]
    assert len(values) == 11 and values == sorted(values)
    assert trials(control, StatusEquals="Failed", **ranked) == []
