"""The log of an execution's step on the terminal: whole, as it grows, or its last lines after a failure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import scripts.command as command
from entrypoints.program import printable
from scripts import job_logs
from scripts.execution import ENDED, planned, seconds, steps_of
from scripts.execution_list import duration
from scripts.execution_names import id_of
from scripts.job_logs import Place, Source

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.client import SageMakerClient

LINES = 20  # of the log of a step that failed
POLL_S, LOCAL_POLL_S = 3.0, 0.5
_WITH_LOG = {"ProcessingJob", "TrainingJob", "TuningJob", "Lambda"}


def tell_failure(session: boto3.Session, step: Mapping[str, Any]) -> None:
    """Print the last lines of the log of a step that failed, and where the whole log is."""
    sagemaker, logs = session.client("sagemaker"), session.client("logs")
    say = command.output.print
    for source in job_logs.sources(sagemaker, step, failed=True):
        name = " ".join(filter(None, [step["StepName"], source.label]))
        lines = job_logs.tail(logs, source, LINES)
        say(f"\n{name}, the last lines of its log:" if lines else f"\n{name} wrote no log", soft_wrap=True)
        for line in lines:
            print(f"  {printable(line)}")
        for where in places(session, logs, source):
            say(where, soft_wrap=True)


def places(session: boto3.Session, logs: Any, source: Source) -> list[str]:
    """Where the whole log is: a file on this machine, or pages of the CloudWatch console."""
    if command.is_local():
        return [f"the whole log: {source.file}"] if source.file else []
    region = str(session.region_name)
    links = job_logs.links(region, session.get_partition_for_region(region), job_logs.streams(logs, source))
    return [f"the whole log: {link}" for link in links]


def show_logs(
    session: boto3.Session, arn: str, wanted: str | None, follow: bool, lines: int | None, options: str
) -> int:
    """Print the log of a step; the command's exit code: 1 if the step failed.

    Args:
        wanted: the step's name; None for the one that failed, runs, or ran last.
        follow: go on with what comes, until the step ends; wait for one that has not begun.
        lines: only so many of the last; None for all.
        options: those that find the pipeline, as they are typed.

    Raises:
        Failure: there is no such step, or it has no log.
        KeyboardInterrupt: interrupted; the message says how to go on.
        ClientError: AWS refused.
    """
    sagemaker, logs = session.client("sagemaker"), session.client("logs")
    name = wanted or _of_interest(steps_of(sagemaker, arn))
    if name is None and follow:
        name = _await_first(sagemaker, arn)
    if name is None:
        status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
        wait = "" if status in ENDED else " yet; add --follow to wait for it"
        command.fail(f"execution {id_of(arn)} is {status}: none of its steps has a log{wait}")
    _check_step(sagemaker, arn, name)
    try:
        return _show_log(sagemaker, logs, arn, name, follow, lines)
    except KeyboardInterrupt:
        again = (
            f"python scripts/executions.py logs {id_of(arn)} {name}{' --follow' if follow else ''}{options}"
        )
        raise KeyboardInterrupt(f"the execution is not affected; go on with {again}") from None


def _show_log(
    sagemaker: SageMakerClient, logs: Any, arn: str, name: str, follow: bool, lines: int | None
) -> int:
    step = _step(sagemaker, arn, name)
    while step is None and follow and _is_running(sagemaker, arn):
        _wait()
        step = _step(sagemaker, arn, name)
    if step is None:
        command.fail(f"step {name} of execution {id_of(arn)} has not run; it has no log")
    if lines is not None and not follow:
        for source in job_logs.sources(sagemaker, step):
            for line in job_logs.tail(logs, source, lines):
                print(printable(line))
        return 0
    reading: dict[tuple[str, str], Place] = {}
    nothing = True
    while True:
        step = _step(sagemaker, arn, name) or step
        ended = step["StepStatus"] in ENDED  # asked first: what is read now is all then
        found = job_logs.sources(sagemaker, step)
        if ended and not found:
            command.fail(f"step {name} has no log: it ran no program ({step['StepStatus']})")
        for source in found:
            for place in job_logs.streams(logs, source):
                key = place.group, place.stream
                for line in _rest(logs, reading, key, place):
                    nothing = False
                    print(printable(line), flush=follow)
        if ended or not follow:
            break
        _wait()
    if nothing:
        command.console.print(f"step {name} ({step['StepStatus']}) wrote no log", soft_wrap=True)
    if follow:
        command.console.print(f"{name} {step['StepStatus']} after {duration(seconds(step))}", soft_wrap=True)
    return 1 if step["StepStatus"] == "Failed" else 0


def _rest(
    logs: Any, reading: dict[tuple[str, str], Place], key: tuple[str, str], place: Place
) -> Iterator[str]:
    """What a stream has beyond what was read of it."""
    while True:
        before = reading.get(key, place)
        lines, reading[key] = job_logs.read(logs, before)
        yield from lines
        if job_logs.is_read(before, reading[key]):
            return


def _of_interest(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """The step whose log one wants to see: the one that failed, else one that runs, else the last."""
    logged = [step for step in steps if _WITH_LOG & step.get("Metadata", {}).keys()]
    for status in ("Failed", "Executing"):
        if names := [step["StepName"] for step in logged if step["StepStatus"] == status]:
            return str(names[-1])
    return str(logged[-1]["StepName"]) if logged else None


def _await_first(sagemaker: SageMakerClient, arn: str) -> str | None:
    """The first step with a log of an execution that has just begun."""
    while _is_running(sagemaker, arn):
        if name := _of_interest(steps_of(sagemaker, arn)):
            return name
        _wait()
    return _of_interest(steps_of(sagemaker, arn))


def _is_running(sagemaker: SageMakerClient, arn: str) -> bool:
    answer = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    return answer["PipelineExecutionStatus"] not in ENDED


def _step(sagemaker: SageMakerClient, arn: str, name: str) -> dict[str, Any] | None:
    return next((step for step in steps_of(sagemaker, arn) if step["StepName"] == name), None)


def _check_step(sagemaker: SageMakerClient, arn: str, name: str) -> None:
    """Refuse a step that the execution's definition does not have."""
    answer = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    names = [known for known, _ in planned(json.loads(answer["PipelineDefinition"])["Steps"])]
    if name not in names:
        command.fail(f"there is no step {command.shown(name)!r}; choose one of {', '.join(names)}")


def _wait() -> None:
    time.sleep(LOCAL_POLL_S if command.is_local() else POLL_S)
