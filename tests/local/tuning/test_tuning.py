"""Tuning jobs with real training processes, whose objective is a function of their parameters."""

import math
import re

import pytest

from local.home.home import Home
from local.home.tags import tags_of
from local.jobs import training
from local.jobs.jobs import JobService
from local.tuning.trials import index
from local.tuning.tuning import TuningService
from tests.local.liveness import alive
from tests.local.tunings import OBJECTIVE, control_plane, finished, request, trials


@pytest.fixture
def control(tmp_path):
    with control_plane(tmp_path / "home") as control:
        yield control


@pytest.fixture
def tuning(home, store):
    """The service with real trials."""
    home.object_path("s3://b").mkdir(parents=True, exist_ok=True)  # where jobs leave their outputs
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
    """Each trial ends at a different time; all objectives are equal, so the first trial is best."""
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


def test_minimize_ranks_the_other_way(control, store):
    asked = request(HyperParameterTuningJobObjective={"Type": "Minimize", "MetricName": "acc"})
    mine = [{"Key": "team", "Value": "a"}]
    arn = control.call("CreateHyperParameterTuningJob", {**asked, "Tags": mine})["HyperParameterTuningJobArn"]
    record = finished(control)
    for tagged in (arn, record["BestTrainingJob"]["TrainingJobArn"]):  # its training jobs also have its tags
        assert tags_of(store, tagged) == mine
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


def test_the_service_can_end_before_the_first_trial(tuning, store, bundle):
    asked = request("package/go.py")
    static = asked["TrainingJobDefinition"]["StaticHyperParameters"]
    static["sagemaker_submit_directory"] = bundle("import torch")
    tuning.create(asked)
    tuning.close()
    assert tuning.describe("h")["HyperParameterTuningJobStatus"] == "InProgress"
    assert store.list("TrainingJob") == []


def test_training_jobs_are_listed_ten_at_a_time_by_name_unless_told_otherwise(control):
    limits = {"MaxNumberOfTrainingJobs": 11, "MaxParallelTrainingJobs": 1}
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
