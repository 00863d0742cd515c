"""Configurations of tuning jobs."""

from typing import Any

RATE = {"Name": "rate", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
SIZE = {"Name": "size", "Values": ["32", "64"]}
RANGES = {"ContinuousParameterRanges": [RATE], "CategoricalParameterRanges": [SIZE]}


def config(jobs: int, parallel: int, ranges: dict[str, Any] = RANGES, **more: Any) -> dict[str, Any]:
    """A HyperParameterTuningJobConfig that maximizes acc."""
    return {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "acc"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
        "ParameterRanges": ranges,
        "RandomSeed": 1,
        **more,
    }
