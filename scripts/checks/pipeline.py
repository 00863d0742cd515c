"""The live pipeline: whether it is this checkout's, and whether its schedules and Debugger can work."""

from __future__ import annotations

from collections.abc import Iterator

import scripts.command as command
from pipeline.definition import diff
from scripts import debugger, schedules
from scripts.checks.check import Result, State, Subject


def definition(subject: Subject) -> Iterator[Result]:
    """Whether the live definition is what this checkout and these settings make."""
    from scripts.upsert_pipeline import definition  # it would import this module in a circle

    settings = subject.settings
    live = command.find_pipeline(subject.client("sagemaker"), settings)
    upsert = subject.python("upsert_pipeline.py")
    if live is None:
        yield Result("pipeline", "warning", f"there is no pipeline {settings.pipeline_name} yet", upsert)
        return
    changes = diff(live["PipelineDefinition"], definition(settings))
    lines = sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in changes)
    if lines:
        yield Result(
            "pipeline",
            "warning",
            f"{settings.pipeline_name} differs from this checkout in {lines} lines of its definition",
            f"{subject.python('upsert_pipeline.py', '--dry-run')} shows them, {upsert} updates it",
        )
    else:
        yield Result("pipeline", "ok", f"{settings.pipeline_name} is this checkout's")
    if live["RoleArn"] != settings.execution_role:
        yield Result("pipeline role", "warning", f"{live['RoleArn']}, and the settings have another", upsert)


def debugger_access(subject: Subject) -> Iterator[Result]:
    """Whether AWS lets this account use Debugger, as far as that is known."""
    if not subject.settings.debugger.enabled:
        yield Result("Debugger", "ok", "off")
        return
    if subject.local:
        yield Result("Debugger", "ok", "the local service has it")
        return
    sagemaker = subject.client("sagemaker")
    live = command.find_pipeline(sagemaker, subject.settings)
    answer = debugger.known(sagemaker, live["PipelineArn"] if live else None)
    if answer.allowed:
        yield Result("Debugger", "ok", answer.reason)
    elif answer.allowed is None:
        yield Result(
            "Debugger",
            "warning",
            f"nobody knows whether this account may use it: {answer.reason}",
            f"{subject.python('upsert_pipeline.py', '--probe-debugger')} asks AWS for a cent, --no-debugger "
            "leaves it out",
        )
    else:
        yield Result(
            "Debugger",
            "failure",
            f"AWS refuses it to this account: {answer.reason}",
            subject.python("upsert_pipeline.py", "--no-debugger"),
        )


def schedule_parameters(subject: Subject) -> Iterator[Result]:
    """Whether a schedule names a parameter that the live definition lacks, so that it starts nothing."""
    live = command.find_pipeline(subject.client("sagemaker"), subject.settings)
    if live is None:
        return
    lines = schedules.outdated(
        subject.client("scheduler"),
        live["PipelineArn"],
        live["PipelineDefinition"],
        "the live definition",
    )
    for line in lines:
        found, _, remedy = line.partition("; ")
        state: State = "failure" if line.startswith("schedule ") else "warning"
        yield Result("schedules", state, found, remedy)
    if not lines:
        yield Result("schedules", "ok", "none names a parameter that the live definition lacks")
