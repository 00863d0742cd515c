"""Warm start: what a tuning job learns from the jobs before it.

Source: "Run a Warm Start Hyperparameter Tuning Job" in the developer guide, with its restrictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from local.home.store import Record, Store
from local.tuning.ranges import MOST_JOBS, distributions, reversed_names
from local.tuning.trials import TUNING_JOB, index, objective, ranges, summaries
from local.wire.errors import ServiceError, invalid

_MOST_PARENTS = 5


def parents(store: Store, record: Record) -> list[Record]:
    """The parents of a tuning job, in the request's order; none without WarmStartConfig.

    Raises:
        ServiceError: there is no tuning job of that name.
    """
    found = []
    for parent in record.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
        name = parent[f"{TUNING_JOB}Name"]
        try:
            found.append(store.get(TUNING_JOB, name))
        except KeyError:
            message = f"WarmStartConfig: Amazon SageMaker can't find a tuning job {name!r}"
            raise ServiceError("ResourceNotFound", message) from None
    return found


def check(store: Store, request: Record, own_jobs: int) -> None:
    """Refuse parents that the service refuses; `own_jobs` is the most jobs that the new one starts itself.

    Raises:
        ServiceError: one is unknown or still runs, has another objective or other hyperparameters, or
            (IdenticalDataAndAlgorithm) other data or another image; or they are too many.
    """
    if "WarmStartConfig" not in request:
        return
    found = parents(store, request)
    if len(found) > _MOST_PARENTS:
        raise invalid(f"WarmStartConfig names {len(found)} parents; at most {_MOST_PARENTS} are allowed")
    jobs = own_jobs + sum(len(summaries(store, parent)) for parent in found)
    if jobs > MOST_JOBS:
        raise invalid(f"the parents' training jobs count too: {jobs} are more than {MOST_JOBS}")
    identical = request["WarmStartConfig"]["WarmStartType"] == "IdenticalDataAndAlgorithm"
    for parent in found:
        if reason := _mismatch(parent, request, identical):
            raise invalid(f"WarmStartConfig: the parent {parent[f'{TUNING_JOB}Name']} {reason}")


def _mismatch(parent: Record, request: Record, identical: bool) -> str:
    """Why a job cannot be a parent, as the end of a sentence; empty if it can."""
    status = parent[f"{TUNING_JOB}Status"]
    if status not in {"Completed", "Stopped", "Failed"}:
        return f"is {status}, it must have ended"
    if objective(parent) != objective(request):
        return f"has the objective {objective(parent)}, not {objective(request)}"
    before, now = _names(parent), _names(request)
    if len(before) != len(now):
        return f"has {len(before)} static and tunable hyperparameters in all, not {len(now)}"
    kinds, wanted = distributions(ranges(parent)), distributions(ranges(request))
    for name in kinds.keys() & wanted.keys():
        if type(kinds[name]) is not type(wanted[name]):
            return f"has a range of another type for {name}"
    if identical:
        old, new = parent["TrainingJobDefinition"], request["TrainingJobDefinition"]
        image = "TrainingImage"
        if old["AlgorithmSpecification"].get(image) != new["AlgorithmSpecification"].get(image):
            return "has another TrainingImage; use WarmStartType TransferLearning"
        if old.get("InputDataConfig") != new.get("InputDataConfig"):
            return "has another InputDataConfig; use WarmStartType TransferLearning"
    return ""


def _names(record: Record) -> set[str]:
    static = record["TrainingJobDefinition"].get("StaticHyperParameters", {})
    return {*static, *distributions(ranges(record))}


def trials(store: Store, record: Record) -> Iterator[optuna.trial.FrozenTrial]:
    """The parents' trials that have an objective and lie within this job's ranges, in order."""
    choices, reverse = distributions(ranges(record)), reversed_names(ranges(record))
    for parent in parents(store, record):
        for job in sorted(summaries(store, parent), key=index):
            if job["ObjectiveStatus"] != "Succeeded":
                continue
            value = job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
            given = job["HyperParameters"]
            if not choices.keys() <= given.keys():
                continue
            try:
                params = {name: _read(kind, given[name], name in reverse) for name, kind in choices.items()}
                yield optuna.trial.create_trial(params=params, distributions=choices, value=value)
            except ValueError:  # outside these ranges, so it says nothing about values inside
                continue


def _read(kind: BaseDistribution, text: str, reverse: bool) -> Any:
    if isinstance(kind, CategoricalDistribution):
        return text
    if isinstance(kind, IntDistribution):
        return int(text)
    return 1 - float(text) if reverse else float(text)
