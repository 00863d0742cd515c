"""Tuning jobs with real training processes, whose objective is a function of what they are given."""

import dataclasses
import math
import re
import sys
import time

import optuna
import pytest

from local import training
from local.control import ControlPlane, ServiceError
from local.home import Home
from local.jobs import JobService
from local.ranges import distributions
from local.store import Store
from local.trials import index
from local.tuning import TuningService
from tests.local import tunings
from tests.local.processes import alive

OBJECTIVE = """
import json, math, pathlib, sys
h = json.loads((pathlib.Path(sys.argv[1]) / "input/config/hyperparameters.json").read_text())
assert h["_tuning_objective_metric"] == "acc" and h["epochs"] == "1"
print(f"acc={1 - (math.log10(float(h['rate'])) + 2) ** 2 / 4:.6f}")
"""


def prepare(home, record, service):
    """The job as it is, but the program itself stands in for the toolkit, which takes 2 s to start."""
    container = training.prepare(home, record, service)
    program = record["HyperParameters"]["sagemaker_program"]
    return dataclasses.replace(container, command=[sys.executable, "-c", program, str(container.folder)])


@pytest.fixture
def control(tmp_path):
    home = Home(tmp_path / "home")
    store = Store(home.database)
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    tuning = TuningService(home, store, jobs)
    yield ControlPlane(jobs.operations() | tuning.operations())
    jobs.close()
    tuning.close()
    store.close()


@pytest.fixture
def tuning(home, store):
    """The service with trials as they really are."""
    jobs = JobService(home, store, training.KIND, dict)
    yield TuningService(home, store, jobs)
    jobs.close()


def request(program=OBJECTIVE, **config):
    return {
        "HyperParameterTuningJobName": "h",
        "HyperParameterTuningJobConfig": tunings.config(4, 2, **config),
        "TrainingJobDefinition": {
            "StaticHyperParameters": {
                "epochs": "1",
                "sagemaker_program": program,
                "sagemaker_submit_directory": "s3://b/code/sourcedir.tar.gz",
            },
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9.-]+)"}],
            },
            "RoleArn": "arn:aws:iam::123456789012:role/execution",
            "OutputDataConfig": {"S3OutputPath": "s3://b/tuning"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    }


def finished(control, name="h"):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        record = control.call("DescribeHyperParameterTuningJob", {"HyperParameterTuningJobName": name})
        if record["HyperParameterTuningJobStatus"] not in {"InProgress", "Stopping"}:
            return record
        time.sleep(0.05)
    raise AssertionError("the tuning job did not end")


def trials(control, name="h", **query):
    answer = control.call(
        "ListTrainingJobsForHyperParameterTuningJob", {"HyperParameterTuningJobName": name, **query}
    )
    return answer["TrainingJobSummaries"]


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


def test_what_every_trial_would_refuse_is_refused_before_the_first(control):
    asked = request()
    asked["TrainingJobDefinition"]["ResourceConfig"]["InstanceCount"] = 2
    with pytest.raises(ServiceError, match="InstanceCount is 2"):
        control.call("CreateHyperParameterTuningJob", asked)


def test_early_stopping_ends_a_trial_below_the_median(control):
    # The first five finish at once and well; MedianPruner judges from the sixth on.
    program = (
        "import pathlib, sys, time\n"
        "late = '-006-' in str(pathlib.Path(sys.argv[1]))\n"
        "print('acc=0.1' if late else 'acc=0.9', flush=True)\n"
        "time.sleep(30 if late else 1)\n"
    )
    limits = {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 1}
    control.call(
        "CreateHyperParameterTuningJob",
        request(program, TrainingJobEarlyStoppingType="Auto", ResourceLimits=limits),
    )
    record = finished(control)
    assert record["TrainingJobStatusCounters"]["Stopped"] == 1
    assert record["TrainingJobStatusCounters"]["Completed"] == 5


def test_an_objective_that_is_enough_starts_no_further_trial(control):
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1}
    criteria = {"TargetObjectiveMetricValue": 0.9}
    program = "print('acc=0.9')"
    control.call(
        "CreateHyperParameterTuningJob",
        request(program, ResourceLimits=limits, TuningJobCompletionCriteria=criteria),
    )
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert len(trials(control)) == 1


def test_when_its_time_is_over_the_best_so_far_is_the_best(tmp_path):
    home = Home(tmp_path / "home")
    store = Store(home.database)
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    tuning = TuningService(home, store, jobs)
    program = (
        "import sys, time\nprint('acc=0.5', flush=True)\ntime.sleep(60 if '-002-' in sys.argv[1] else 0)\n"
    )
    # The service's least, 120 s, is what the control plane checks.
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 5}
    tuning.create(request(program, ResourceLimits=limits))
    tuning._threads["h"].join(30)
    record = tuning.describe("h")
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert record["TrainingJobStatusCounters"]["Completed"] == 1
    assert record["TrainingJobStatusCounters"]["Stopped"] == 1
    assert "-001-" in record["BestTrainingJob"]["TrainingJobName"]
    jobs.close()
    store.close()


def test_the_best_of_a_warm_started_job_and_its_parents(control):
    """The child may only search where the parent has been better."""
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2}
    control.call("CreateHyperParameterTuningJob", request(ResourceLimits=limits))
    parent = finished(control)
    assert "OverallBestTrainingJob" not in parent
    ranges = {
        "ContinuousParameterRanges": [{"Name": "rate", "MinValue": "0.0999", "MaxValue": "0.1"}],
        "CategoricalParameterRanges": [{"Name": "size", "Values": ["32"]}],
    }
    for name, kind in (("same", "IdenticalDataAndAlgorithm"), ("other", "TransferLearning")):
        asked = request(ResourceLimits=limits, ParameterRanges=ranges) | {
            "HyperParameterTuningJobName": name,
            "WarmStartConfig": {
                "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "h"}],
                "WarmStartType": kind,
            },
        }
        control.call("CreateHyperParameterTuningJob", asked)
        child = finished(control, name)
        assert child["WarmStartConfig"]["WarmStartType"] == kind
        assert child["BestTrainingJob"]["TrainingJobName"].startswith(f"{name}-")
        if name == "same":
            assert child["OverallBestTrainingJob"] == parent["BestTrainingJob"] | {"TuningJobName": "h"}
        else:
            assert "OverallBestTrainingJob" not in child


def test_an_unknown_parent_is_refused(control):
    asked = request() | {
        "WarmStartConfig": {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "absent"}],
            "WarmStartType": "TransferLearning",
        }
    }
    with pytest.raises(ServiceError, match="'absent'"):
        control.call("CreateHyperParameterTuningJob", asked)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"}, "must be Off"),
        (
            {"Strategy": "Hyperband", "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 2}}},
            "MaxResource 1 must be MinResource 2 or more",
        ),
        ({"StrategyConfig": {"HyperbandStrategyConfig": {}}}, "for Strategy Hyperband, not Bayesian"),
        ({"Strategy": "Grid"}, "categorical ranges only"),
        ({"ParameterRanges": {}}, "ParameterRanges are missing"),
        (
            {"TuningJobCompletionCriteria": {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}},
            "ConvergenceDetected does not run locally",
        ),
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "loss"}},
            "'loss' is not among MetricDefinitions",
        ),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "MaxNumberOfTrainingJobs is missing"),
        (
            {"ResourceLimits": {"MaxNumberOfTrainingJobs": 751, "MaxParallelTrainingJobs": 1}},
            "751 training jobs.* Bayesian has at most 750",
        ),
        (
            {
                "Strategy": "Random",
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 10_001, "MaxParallelTrainingJobs": 1},
            },
            "at most 10000",
        ),
        (
            {"ResourceLimits": {"MaxNumberOfTrainingJobs": 200, "MaxParallelTrainingJobs": 101}},
            "MaxParallelTrainingJobs is 101, at most 100",
        ),
        (
            {
                "Strategy": "Grid",
                "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "size", "Values": ["1", "2"]}]},
            },
            "is 4, but the grid has 2 combinations",
        ),
        (
            {
                "Strategy": "Grid",
                "ResourceLimits": {"MaxParallelTrainingJobs": 1},
                "ParameterRanges": {
                    "CategoricalParameterRanges": [
                        {"Name": name, "Values": [str(value) for value in range(28)]} for name in "ab"
                    ]
                },
            },
            "784 training jobs",
        ),
        (
            {
                "ParameterRanges": {
                    "IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "2"}]
                }
            },
            "epochs must be static or have a range, not both",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(control, config, message):
    with pytest.raises(ServiceError, match=message):
        control.call("CreateHyperParameterTuningJob", request(**config))
    answer = control.call("ListHyperParameterTuningJobs", {})
    assert answer["HyperParameterTuningJobSummaries"] == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (("0.0001", "0.1", "Logarithmic"), optuna.distributions.FloatDistribution(1e-4, 0.1, log=True)),
        (("0.0001", "0.1", "Auto"), optuna.distributions.FloatDistribution(1e-4, 0.1, log=True)),
        (("0", "1", "Auto"), optuna.distributions.FloatDistribution(0, 1)),
        (("0.0001", "0.1", "Linear"), optuna.distributions.FloatDistribution(1e-4, 0.1)),
        (("0.5", "0.75", "ReverseLogarithmic"), optuna.distributions.FloatDistribution(0.25, 0.5, log=True)),
    ],
)
def test_scaling_types(entry, expected):
    low, high, scaling = entry
    range_ = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    assert distributions({"ContinuousParameterRanges": [range_]}) == {"x": expected}


@pytest.mark.parametrize(
    ("low", "high", "scaling", "message"),
    [
        ("2", "1", "Linear", "is above"),
        ("0", "1", "Logarithmic", "above 0"),
        ("0.5", "1", "ReverseLogarithmic", r"\[0, 1\)"),
        ("-1", "1", "Logarithmic", "above 0"),
        ("-0.1", "0.5", "ReverseLogarithmic", r"\[0, 1\)"),
        ("a", "1", "Linear", "range of x"),
        ("nan", "1", "Linear", "must be finite"),
        ("0", "inf", "Auto", "must be finite"),
    ],
)
def test_ranges_that_sagemaker_refuses(low, high, scaling, message):
    range_ = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    with pytest.raises(ServiceError, match=message):
        distributions({"ContinuousParameterRanges": [range_]})


def test_an_integer_range_takes_whole_numbers_above_0_on_a_logarithmic_scale():
    for low, message in (("0.5", "range of x"), ("0", "above 0")):
        range_ = {"Name": "x", "MinValue": low, "MaxValue": "4", "ScalingType": "Logarithmic"}
        with pytest.raises(ServiceError, match=message):
            distributions({"IntegerParameterRanges": [range_]})


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([{"Name": "x", "Values": [str(value) for value in range(31)]}], "31 values, at most 30"),
        ([{"Name": f"x{number}", "Values": ["1"]} for number in range(31)], "31 ranges; at most 30"),
        ([{"Name": "x", "Values": ["1"]}, {"Name": "x", "Values": ["2"]}], "more than one range for x"),
    ],
)
def test_more_than_sagemaker_searches(ranges, message):
    with pytest.raises(ServiceError, match=message):
        distributions({"CategoricalParameterRanges": ranges})


def test_a_hundred_hyperparameters_are_the_most(control):
    asked = request()
    asked["TrainingJobDefinition"]["StaticHyperParameters"] |= {f"h{number}": "1" for number in range(95)}
    with pytest.raises(ServiceError, match="101 hyperparameters"):
        control.call("CreateHyperParameterTuningJob", asked)
