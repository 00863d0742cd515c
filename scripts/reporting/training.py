"""What TrainModel left: its own metrics, Debugger's losses and the rules' findings."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import error as ZlibError

import numpy as np

from entrypoints.contract import EPOCH_COLUMNS, STEP_COLUMNS, TRAINING_EPOCHS, TRAINING_STEPS
from scripts.reporting import system, tensors
from scripts.reporting.parts import Floats, Losses, Missing, Rule, Training
from scripts.reporting.store import Store, Unavailable, part

OUTPUT_ARCHIVE = "output.tar.gz"
# How a rule says where it fired, e.g. "Evaluation of the rule Overfit at step 120 resulted in ...".
_FIRED_AT = re.compile(r"\bat step (\d+)")


def read(store: Store, job: Mapping[str, Any]) -> Training:
    """The training of DescribeTrainingJob's answer `job`, as far as there is something of it."""
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
    )


def output_files(store: Store, job: Mapping[str, Any]) -> dict[str, bytes]:
    """The CSV files in the job's output.tar.gz by name.

    Raises:
        Unavailable: there is no such archive, or it is damaged.
    """
    name = job["TrainingJobName"]
    uri = f"{job['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output/{OUTPUT_ARCHIVE}"
    if job["TrainingJobStatus"] in {"InProgress", "Stopping"}:
        raise Unavailable(f"{name} is still running; it uploads what it measured when it ends.")
    wanted = {TRAINING_STEPS, TRAINING_EPOCHS}
    found = {}
    try:
        with store.open(uri) as body, gzip.GzipFile(fileobj=body) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is not None and member.name.removeprefix("./") in wanted:
                        found[member.name.removeprefix("./")] = file.read()
            # tarfile reads no further than the tar archive's end; gzip's checksum and length come after it.
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, OSError, ZlibError) as error:
        raise Unavailable(f"{uri} cannot be unpacked ({error}); its upload may be incomplete.") from error
    return found


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
    """The findings of Debugger's and Profiler's rules, those that fired first."""
    statuses = [
        *job.get("DebugRuleEvaluationStatuses", []),
        *job.get("ProfilerRuleEvaluationStatuses", []),
    ]
    if not statuses:
        asked = job.get("DebugRuleConfigurations") or job.get("ProfilerRuleConfigurations")
        if asked:
            return Missing("The rules of Debugger and Profiler have not been evaluated.")
        return Missing("No rules of Debugger and Profiler were asked for.")
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
    """The step of the training at one of Debugger's steps; None if nothing was recorded so late."""
    if isinstance(losses, Missing) or step > losses.recorded[-1]:
        return None
    return round(np.interp(step, losses.recorded, losses.trained))
