"""The training jobs of a tuning job: their requests, their objectives, the best one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from local.home.interruption import interrupted
from local.home.store import Record, Store

TUNING_JOB = "HyperParameterTuningJob"
# What a TrainingJobDefinition shares with CreateTrainingJob.
_SHARED = (
    "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig", "ResourceConfig",
    "StoppingCondition", "Environment", "CheckpointConfig", "EnableManagedSpotTraining",
)  # fmt: skip


def objective(record: Record) -> dict[str, str]:
    """A tuning job's objective metric: {"Type": Maximize or Minimize, "MetricName": ...}."""
    found: dict[str, str] = record[f"{TUNING_JOB}Config"][f"{TUNING_JOB}Objective"]
    return found


def ranges(record: Record) -> Record:
    """A tuning job's ParameterRanges."""
    found: Record = record[f"{TUNING_JOB}Config"].get("ParameterRanges", {})
    return found


def training_request(record: Record, name: str, tuned: Mapping[str, str], first: str = "") -> Record:
    """CreateTrainingJob's request for one trial of a tuning job.

    Args:
        first: the interrupted training job that ran this trial before; its checkpoints are used.
    """
    definition = record["TrainingJobDefinition"]
    shared = {key: definition[key] for key in _SHARED if key in definition}
    if resources := definition.get("HyperParameterTuningResourceConfig"):
        # Of several kinds of instances the first one is preferred.
        shared["ResourceConfig"] = {**resources, **(resources.get("InstanceConfigs") or [{}])[0]}
    if "CheckpointConfig" in shared:  # each trial has its own, so none resumes from another's
        uri = f"{shared['CheckpointConfig']['S3Uri'].rstrip('/')}/{first or name}"
        shared["CheckpointConfig"] = {**shared["CheckpointConfig"], "S3Uri": uri}
    return {
        **shared,
        "TrainingJobName": name,
        "HyperParameters": {
            **definition.get("StaticHyperParameters", {}),
            **tuned,
            "_tuning_objective_metric": objective(record)["MetricName"],
        },
    }


def summaries(store: Store, record: Record) -> list[Record]:
    """A tuning job's training jobs as HyperParameterTrainingJobSummary, newest first."""
    name, wanted = record[f"{TUNING_JOB}Name"], objective(record)
    found = []
    for job in store.list("TrainingJob", prefix=f"{name}-"):
        if job.get("_tuning_job") != name:
            continue
        summary = {**job, "TunedHyperParameters": job["_tuned"], "TuningJobName": name}
        value = final(job, wanted["MetricName"])
        if value is not None:
            summary["FinalHyperParameterTuningJobObjectiveMetric"] = {**wanted, "Value": value}
        ended = job["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}
        summary["ObjectiveStatus"] = "Pending" if not ended else "Failed" if value is None else "Succeeded"
        found.append(summary)
    return found


def final(job: Record, metric: str) -> float | None:
    """A training job's final value of a metric; None while it runs, if it failed, or if it emitted none.

    None also if it ended because the service did: it runs again.
    """
    if job["TrainingJobStatus"] not in {"Completed", "Stopped"} or interrupted(job):
        return None
    values = [entry["Value"] for entry in job["FinalMetricDataList"] if entry["MetricName"] == metric]
    return values[0] if values else None


def service_fault(job: Record) -> bool:
    """Whether a training job failed by a fault of the service, such as a full disk, rather than its own.

    After a failure of its own the search continues. What a tuning job does after a service fault is not
    published; TrainingJobStatusCounters in the API reference says only that such a training job "can be
    retried". The local service does not retry, and fails the tuning job: the best of fewer training jobs than
    requested is no success.
    """
    reason: str = job.get("FailureReason", "")
    return reason.startswith("InternalServerError")


def index(job: Record) -> int:
    """A training job's index among its tuning job's trials, from 1, from its name."""
    return int(job["TrainingJobName"].split("-")[-2])


def best_first(trials: list[Record], direction: str) -> list[Record]:
    """Training jobs with an objective, best first (the lowest index first among equals), then the others."""
    worst = -math.inf if direction == "Maximize" else math.inf

    def value(trial: Record) -> float:
        number: float = trial.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value", worst)
        return number

    return sorted(sorted(trials, key=index), key=value, reverse=direction == "Maximize")


def best(trials: list[Record], record: Record) -> Record | None:
    """The best of the trials by a tuning job's objective, if any has one."""
    ranked = best_first(trials, objective(record)["Type"])
    return ranked[0] if ranked and ranked[0]["ObjectiveStatus"] == "Succeeded" else None
