import re
from dataclasses import fields

from config.sections import Tuning
from entrypoints.contract import metric_line
from entrypoints.hyperparameters import Hyperparameters
from steps import tune
from steps.sdk import ContinuousParameter


def test_the_search(steps, request_of):
    _, _, tuning, _, _ = steps()
    step = request_of(tuning)
    assert (step["Name"], step["Type"]) == ("TuneHyperparameters", "Tuning")
    config = step["Arguments"]["HyperParameterTuningJobConfig"]
    assert config["HyperParameterTuningJobObjective"] == {
        "MetricName": "validation:accuracy",
        "Type": "Maximize",
    }
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}
    ranges = config["ParameterRanges"]
    assert ranges["ContinuousParameterRanges"] == [
        {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ]
    assert ranges["CategoricalParameterRanges"] == [{"Name": "batch_size", "Values": ["32", "64"]}]


def test_the_settings_decide_the_search(steps, request_of):
    wanted = Tuning(
        jobs=9, parallel_jobs=3, strategy="Random", early_stopping=True, random_seed=7, batch_sizes=(8,)
    )
    config = request_of(steps(tuning=wanted)[2])["Arguments"]["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Random"
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    assert config["RandomSeed"] == 7
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 3}
    assert config["ParameterRanges"]["CategoricalParameterRanges"][0]["Values"] == ["8"]


def test_what_ends_the_search_early(steps, request_of):
    wanted = Tuning(max_runtime_s=3600, target_accuracy=0.98, max_jobs_not_improving=5)
    config = request_of(steps(tuning=wanted)[2])["Arguments"]["HyperParameterTuningJobConfig"]
    assert config["ResourceLimits"]["MaxRuntimeInSeconds"] == 3600
    assert config["TuningJobCompletionCriteria"] == {
        "TargetObjectiveMetricValue": 0.98,
        "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5},
    }


def test_nothing_ends_the_search_early_unless_asked(steps, request_of):
    config = request_of(steps()[2])["Arguments"]["HyperParameterTuningJobConfig"]
    assert "TuningJobCompletionCriteria" not in config


def test_the_trials(steps, request_of, uploaded):
    job = request_of(steps()[2])["Arguments"]["TrainingJobDefinition"]
    assert not {"DebugHookConfig", "ProfilerConfig"} & set(job)
    static = job["StaticHyperParameters"]
    assert static["engines"] == "0"
    assert static["sagemaker_program"] == "entrypoints/train.py"
    assert len(uploaded(static["sagemaker_submit_directory"])) == 1
    assert static["epochs"] == {"Std:Join": {"On": "", "Values": [{"Get": "Parameters.Epochs"}]}}
    assert not {"learning_rate", "batch_size"} & set(static)
    assert [channel["ChannelName"] for channel in job["InputDataConfig"]] == [
        "train",
        "validation",
        "pretrained",
    ]
    assert job["ResourceConfig"]["InstanceCount"] == {"Get": "Parameters.TrainingInstanceCount"}


def test_the_objective_is_found_in_the_line_that_training_prints(steps, request_of):
    algorithm = request_of(steps()[2])["Arguments"]["TrainingJobDefinition"]["AlgorithmSpecification"]
    regexes = {item["Name"]: item["Regex"] for item in algorithm["MetricDefinitions"]}
    line = metric_line(1, 0.5, 0.25, 0.875)
    assert float(re.search(regexes["validation:accuracy"], line).group(1)) == 0.875


def test_internal_errors_of_a_tuning_job_are_not_in_its_retries(steps, request_of):
    types = {name for policy in request_of(steps()[2])["RetryPolicies"] for name in policy["ExceptionType"]}
    assert types == {
        "Step.SERVICE_FAULT",
        "Step.THROTTLING",
        "SageMaker.CAPACITY_ERROR",
        "SageMaker.RESOURCE_LIMIT",
    }


def test_whatever_is_searched_reaches_the_training_at_its_best(steps, request_of, monkeypatch):
    """A third hyperparameter is one line; TrainModel needs no change."""
    monkeypatch.setitem(tune.SEARCHED, "weight_decay", lambda _: ContinuousParameter(0.01, 0.1))
    _, _, tuning, training, _ = steps()
    ranges = request_of(tuning)["Arguments"]["HyperParameterTuningJobConfig"]["ParameterRanges"]
    searched = {item["Name"] for kind in ranges.values() for item in kind}
    assert searched == {"learning_rate", "batch_size", "weight_decay"}
    hyperparameters = request_of(training)["Arguments"]["HyperParameters"]
    best = "Steps.TuneHyperparameters.BestTrainingJob.TunedHyperParameters"
    for name in searched:
        assert hyperparameters[name] == {"Get": f"{best}['{name}']"}


def test_the_training_program_knows_what_is_searched():
    assert tune.SEARCHED.keys() <= {field.name for field in fields(Hyperparameters)}
