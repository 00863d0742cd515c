"""What ends a tuning job before its last training job: TuningJobCompletionCriteria."""

from __future__ import annotations

from collections.abc import Iterable

from local.home.store import Record
from local.tuning.trials import TUNING_JOB, objective
from local.wire.errors import invalid
from local.wire.operations import Request

# "... failed to improve model performance by 1% or greater": BestObjectiveNotImproving in the API reference.
_IMPROVEMENT = 0.01


def check(request: Request) -> None:
    """Refuse what is not supported here.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    convergence = _criteria(request).get("ConvergenceDetected", {})
    if convergence.get("CompleteOnConvergence") == "Enabled":
        raise invalid("ConvergenceDetected does not run locally: how the service detects it is not published")


def complete(record: Record, values: Iterable[float]) -> bool:
    """Whether the objectives of the ended training jobs, in the jobs' order, meet the criteria."""
    criteria = _criteria(record)
    target = criteria.get("TargetObjectiveMetricValue")
    patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
    sign = 1 if objective(record)["Type"] == "Maximize" else -1
    best: float | None = None
    since = 0
    for value in values:
        if target is not None and sign * value >= sign * target:
            return True
        since += 1
        if best is None or 0 < sign * (value - best) >= _IMPROVEMENT * abs(best):
            best, since = value, 0
        if patience is not None and since >= patience:
            return True
    return False


def _criteria(record: Record) -> Record:
    criteria: Record = record[f"{TUNING_JOB}Config"].get("TuningJobCompletionCriteria", {})
    return criteria
