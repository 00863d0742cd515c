"""TrainModel's results: its own metrics, Debugger's losses and the rules' findings."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from entrypoints.archives import UnsafeArchive, read_members
from entrypoints.contract import (
    EPOCH_COLUMNS,
    MODEL_CARD,
    STEP_COLUMNS,
    SUSPECTS,
    TRAINING_EPOCHS,
    TRAINING_STEPS,
)
from scripts.reporting import suspects, system, tensors
from scripts.reporting.parts import Floats, Losses, Missing, Recipe, Rule, Training
from scripts.reporting.store import Store, Unavailable, part

OUTPUT_ARCHIVE = "output.tar.gz"
# A rule's words for where it fired, e.g. "Evaluation of the rule Overfit at step 120 resulted in ...".
_FIRED_AT = re.compile(r"\bat step (\d+)")
# The code's address contains its SHA-256.
_CODE = re.compile(r"/code/[^/]+/([0-9a-f]{64})/")


def read(store: Store, job: Mapping[str, Any], split: Mapping[str, str] | Missing) -> Training:
    """The training of DescribeTrainingJob's answer `job`, with whatever results it has.

    `split` are the outputs of SplitDataset, which hold the pictures.
    """
    name, status = job["TrainingJobName"], job["TrainingJobStatus"]
    files = part(lambda: output_files(store, job))
    prefixes = {
        kind: f"{job[kind]['S3OutputPath'].rstrip('/')}/{name}"
        if job.get(kind, {}).get("S3OutputPath")
        else None
        for kind in ("DebugHookConfig", "ProfilerConfig")
    }
    hook, profiler = prefixes["DebugHookConfig"], prefixes["ProfilerConfig"]
    losses = (
        part(lambda: tensors.read(store, f"{hook}/debug-output", status))
        if hook
        else Missing("This training ran without Debugger, so no tensors were recorded.")
    )
    return Training(
        job=name,
        instance=job.get("ResourceConfig", {}).get("InstanceType", ""),
        seconds=job.get("TrainingTimeInSeconds"),
        steps=part(lambda: table(files, TRAINING_STEPS, STEP_COLUMNS)),
        epochs=part(lambda: table(files, TRAINING_EPOCHS, EPOCH_COLUMNS)),
        losses=losses,
        rules=rules(job, losses),
        system=part(lambda: system.read(store, f"{profiler}/profiler-output/system", status))
        if profiler
        else Missing("This training ran without Profiler, so CPU and memory were not watched."),
        suspects=part(lambda: suspects.read(store, archive(job), files, split)),
        recipe=part(lambda: recipe(store, job, files)),
    )


def archive(job: Mapping[str, Any]) -> str:
    """The S3 URI of the job's output.tar.gz."""
    folder = job["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    return f"{folder}/{job['TrainingJobName']}/output/{OUTPUT_ARCHIVE}"


def output_files(store: Store, job: Mapping[str, Any]) -> dict[str, bytes]:
    """The training's own files in the job's output.tar.gz, by name.

    Raises:
        Unavailable: there is no such archive, or it is damaged or too large when unpacked.
    """
    name = job["TrainingJobName"]
    uri = archive(job)
    if job["TrainingJobStatus"] in {"InProgress", "Stopping"}:
        raise Unavailable(f"{name} is still running; it uploads its measurements when it ends.")
    wanted = {TRAINING_STEPS, TRAINING_EPOCHS, SUSPECTS, MODEL_CARD}
    body, size = store.open(uri)
    try:
        with body:
            return dict(read_members(body, size, wanted))
    except UnsafeArchive as error:
        raise Unavailable(f"{uri} cannot be unpacked ({error}); its upload may be incomplete.") from error


def recipe(store: Store, job: Mapping[str, Any], files: Mapping[str, bytes] | Missing) -> Recipe:
    """What the model was made with: from the training's model.json and DescribeTrainingJob.

    Raises:
        Unavailable: the training left no such file, or no artifact.
    """
    if isinstance(files, Missing):
        raise Unavailable(files.reason)
    if MODEL_CARD not in files:
        raise Unavailable(
            f"The training left no {MODEL_CARD} in {OUTPUT_ARCHIVE}; an older version of it ran."
        )
    try:
        card = json.loads(files[MODEL_CARD])
        hyperparameters = {name: str(value) for name, value in card["hyperparameters"].items()}
        versions = {name: str(version) for name, version in card["versions"].items()}
        best_epoch, weights = int(card["metrics"]["best_epoch"]), str(card["weights"])
        artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"{MODEL_CARD} of the training cannot be read ({error!r}).") from error
    body, size = store.open(artifact)
    body.close()
    code = _CODE.search(job.get("HyperParameters", {}).get("sagemaker_submit_directory", ""))
    return Recipe(hyperparameters, best_epoch, weights, versions, code[1] if code else "", size)


def table(files: Mapping[str, bytes] | Missing, name: str, columns: Sequence[str]) -> dict[str, Floats]:
    """One of the training's CSV files as columns.

    Raises:
        Unavailable: the training left no such file, or it has other columns, or no rows.
    """
    if isinstance(files, Missing):
        raise Unavailable(files.reason)
    if name not in files:
        raise Unavailable(f"The training left no {name} in {OUTPUT_ARCHIVE}; an older version of it ran.")
    try:
        rows = list(csv.DictReader(io.StringIO(files[name].decode())))
        result = {column: np.array([float(row[column]) for row in rows]) for column in columns}
    except (UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"{name} of the training cannot be read ({error!r}).") from error
    if not rows:
        raise Unavailable(f"{name} of the training has no rows: it ended before its first one.")
    return result


def rules(job: Mapping[str, Any], losses: Losses | Missing) -> list[Rule] | Missing:
    """The findings of Debugger's and Profiler's rules; rules that fired come first."""
    statuses = [
        *job.get("DebugRuleEvaluationStatuses", []),
        *job.get("ProfilerRuleEvaluationStatuses", []),
    ]
    if not statuses:
        asked = job.get("DebugRuleConfigurations") or job.get("ProfilerRuleConfigurations")
        if asked:
            return Missing("The rules of Debugger and Profiler have not been evaluated.")
        return Missing("The training had no rules of Debugger or Profiler.")
    found = [_rule(status, losses) for status in statuses]
    return sorted(found, key=lambda rule: not rule.fired)


def _rule(status: Mapping[str, Any], losses: Losses | Missing) -> Rule:
    details = status.get("StatusDetails", "").strip()
    said = _FIRED_AT.search(details)
    fired = status["RuleEvaluationStatus"] == "IssuesFound"
    return Rule(
        status["RuleConfigurationName"],
        status["RuleEvaluationStatus"],
        details,
        _trained(int(said[1]), losses) if said and fired else None,
    )


def _trained(step: int, losses: Losses | Missing) -> int | None:
    """The training step at one of Debugger's steps; None if nothing was recorded that late."""
    if isinstance(losses, Missing) or step > losses.recorded[-1]:
        return None
    return round(np.interp(step, losses.recorded, losses.trained))
