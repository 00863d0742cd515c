"""What a tuning job may request."""

from __future__ import annotations

import math

from optuna.distributions import BaseDistribution, CategoricalDistribution

from local.home.store import Record, Store
from local.jobs import training
from local.tuning import completion, warm_start
from local.tuning.hyperband import resources
from local.tuning.ranges import MOST_JOBS, distributions
from local.tuning.trials import TUNING_JOB, objective, ranges, training_request
from local.wire.errors import invalid
from local.wire.operations import Request

# "Resource Limits for Automatic Model Tuning" in the developer guide: the most that an account can get.
_MOST_RANDOM_JOBS = 10_000
_MOST_PARALLEL_JOBS = 100
_MOST_HYPERPARAMETERS = 100  # "Define Hyperparameter Ranges" in the developer guide


def check(store: Store, request: Request) -> None:
    """Refuse what the service refuses, or what is not supported here.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    config = request[f"{TUNING_JOB}Config"]
    if "TrainingJobDefinition" not in request:
        raise invalid(
            "the local service needs a TrainingJobDefinition (TrainingJobDefinitions are not supported)"
        )
    if "Autotune" in request:
        raise invalid("Autotune does not run locally")
    if config["Strategy"] == "Hyperband":
        if config.get("TrainingJobEarlyStoppingType") == "Auto":
            raise invalid("TrainingJobEarlyStoppingType must be Off: Hyperband stops training jobs by itself")
        resources(request)
    elif "StrategyConfig" in config:
        raise invalid(f"StrategyConfig is for Strategy Hyperband, not {config['Strategy']}")
    if f"{TUNING_JOB}Objective" not in config:
        raise invalid(f"{TUNING_JOB}Objective is missing")
    completion.check(request)
    if "AutoParameters" in ranges(request):
        raise invalid("ParameterRanges.AutoParameters are for Autotune, which does not run locally")
    choices = distributions(ranges(request))
    if not choices:
        raise invalid("ParameterRanges are missing")
    static = request["TrainingJobDefinition"].get("StaticHyperParameters", {})
    if both := sorted(choices.keys() & static.keys()):
        raise invalid(f"{', '.join(both)} must be static or have a range, not both")
    if (count := len(choices) + len(static) + 1) > _MOST_HYPERPARAMETERS:
        raise invalid(
            f"{count} hyperparameters with _tuning_objective_metric,"
            f" at most {_MOST_HYPERPARAMETERS} are allowed"
        )
    jobs = _check_limits(config, choices)
    names = {
        entry["Name"]
        for entry in request["TrainingJobDefinition"]["AlgorithmSpecification"].get("MetricDefinitions", [])
    }
    metric = objective(request)["MetricName"]
    if metric not in names:
        raise invalid(f"the objective metric {metric!r} is not among MetricDefinitions")
    warm_start.check(store, request, jobs)
    training.check(training_request(request, "trial", {}))  # refuses what would fail every trial


def _check_limits(config: Record, choices: dict[str, BaseDistribution]) -> int:
    """The number of training jobs that the tuning job may start."""
    strategy, limits = config["Strategy"], config["ResourceLimits"]
    jobs: int | None = limits.get("MaxNumberOfTrainingJobs")
    parallel: int = limits["MaxParallelTrainingJobs"]
    if strategy == "Grid":
        if not all(isinstance(range_, CategoricalDistribution) for range_ in choices.values()):
            raise invalid("Strategy Grid takes categorical ranges only")
        combinations = math.prod(len(range_.choices) for range_ in choices.values())
        if jobs not in {None, combinations}:
            raise invalid(
                f"ResourceLimits.MaxNumberOfTrainingJobs is {jobs}, but the grid has {combinations}"
                " combinations; leave it out"
            )
        jobs = combinations
    elif jobs is None:
        raise invalid("ResourceLimits.MaxNumberOfTrainingJobs is missing")
    most = _MOST_RANDOM_JOBS if strategy == "Random" else MOST_JOBS
    if jobs > most:
        raise invalid(f"{jobs} training jobs, a tuning job of Strategy {strategy} has at most {most}")
    if parallel > _MOST_PARALLEL_JOBS:
        raise invalid(
            f"ResourceLimits.MaxParallelTrainingJobs is {parallel}, at most {_MOST_PARALLEL_JOBS} are allowed"
        )
    return jobs
