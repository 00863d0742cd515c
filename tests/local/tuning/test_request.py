"""Requests for tuning jobs that are refused."""

import pytest

from local.wire.errors import ServiceError
from tests.local.tunings import control_plane, request


@pytest.fixture
def control(tmp_path):
    with control_plane(tmp_path / "home") as control:
        yield control


def test_what_every_trial_would_refuse_is_refused_before_the_first(control):
    asked = request()
    asked["TrainingJobDefinition"]["ResourceConfig"]["InstanceCount"] = 2
    with pytest.raises(ServiceError, match="InstanceCount is 2"):
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
            {"ParameterRanges": {"AutoParameters": [{"Name": "rate", "ValueHint": "0.1"}]}},
            "AutoParameters are for Autotune",
        ),
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
    "resources",
    [
        {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
        {
            "InstanceConfigs": [
                {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30},
                {"InstanceType": "ml.c5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
            ]
        },
    ],
)
def test_the_resources_of_tuning_take_the_place_of_those_of_training(control, resources):
    asked = request()
    asked["TrainingJobDefinition"]["HyperParameterTuningResourceConfig"] = resources
    with pytest.raises(ServiceError, match="InstanceCount is 2"):
        control.call("CreateHyperParameterTuningJob", asked)


def test_a_hundred_hyperparameters_are_the_most(control):
    asked = request()
    asked["TrainingJobDefinition"]["StaticHyperParameters"] |= {f"h{number}": "1" for number in range(95)}
    with pytest.raises(ServiceError, match="101 hyperparameters"):
        control.call("CreateHyperParameterTuningJob", asked)
