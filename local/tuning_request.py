"""What a tuning job may ask for."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution

from local import training, warm_start
from local.control import Request, invalid
from local.hyperband import resources
from local.ranges import distributions
from local.store import Store
from local.trials import TUNING_JOB, objective, ranges, training_request


def accept(store: Store, request: Request) -> None:
    """Refuse what the service refuses or what is not done here.

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
    choices = distributions(ranges(request))
    if not choices:
        raise invalid("ParameterRanges are missing")
    limits = config["ResourceLimits"]
    if config["Strategy"] == "Grid":
        if not all(isinstance(range_, CategoricalDistribution) for range_ in choices.values()):
            raise invalid("Strategy Grid takes categorical ranges only")
    elif "MaxNumberOfTrainingJobs" not in limits:
        raise invalid("ResourceLimits.MaxNumberOfTrainingJobs is missing")
    names = {
        entry["Name"]
        for entry in request["TrainingJobDefinition"]["AlgorithmSpecification"].get("MetricDefinitions", [])
    }
    metric = objective(request)["MetricName"]
    if metric not in names:
        raise invalid(f"the objective metric {metric!r} is not among MetricDefinitions")
    warm_start.accept(store, request)
    training.accept(training_request(request, "trial", {}))  # refuses what every trial would
