"""Follow a pipeline execution: show its steps on the terminal until it and its endpoint are done."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

import scripts.command as command
from entrypoints.contract import VALIDATION_ACCURACY
from entrypoints.verdict import percent
from scripts.live import LiveProgress, about

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.client import SageMakerClient

ENDED = {"Succeeded", "Failed", "Stopped", "CompletedWithFailures"}
_STYLES = {
    "Succeeded": "green",
    "Failed": "red",
    "Stopped": "yellow",
    "Executing": "cyan",
    "Starting": "cyan",
}
# What each condition of the gate asks.
_CONDITIONS = {
    "CheckAccuracy": "accuracy is enough",
    "CheckGuessing": "better than guessing",
    "CheckChampion": "not worse than what serves",
}
_REFRESH_PER_S = 4
_POLLS_PER_LOG = 6  # requests to the service for each reading of the training jobs' logs


@dataclass(frozen=True)
class Execution:
    """A finished execution: its final status, why it failed, and its steps in the order they began.

    A step is what ListPipelineExecutionSteps answers, with its StepType from the definition.
    """

    arn: str
    status: str
    failure_reason: str
    steps: tuple[dict[str, Any], ...]

    def step(self, name: str) -> dict[str, Any] | None:
        """The record of a step, None if it never started."""
        return next((step for step in self.steps if step["StepName"] == name), None)

    @property
    def refused(self) -> str:
        """The Fail step's message (the gate's no) if the execution ended in one, else an empty string."""
        messages = [
            step["Metadata"]["Fail"]["ErrorMessage"]
            for step in self.steps
            if "Fail" in step.get("Metadata", {})
        ]
        return messages[0] if messages else ""


def follow(session: boto3.Session, arn: str, poll_s: float) -> Execution:
    """Show the steps of an execution until it ends.

    Args:
        poll_s: seconds between requests to the service.

    Raises:
        KeyboardInterrupt: interrupted; the message says that the execution continues and how to stop it.
    """
    sagemaker = session.client("sagemaker")
    definition = json.loads(
        sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)["PipelineDefinition"]
    )
    types = dict(planned(definition["Steps"]))
    details: dict[str, str] = {}
    told: set[tuple[str, Any]] = set()  # steps that have ended, whose details no longer change
    steps: list[dict[str, Any]] = []
    live = LiveProgress(session, _POLLS_PER_LOG * poll_s)
    estimates: dict[str, tuple[float, str]] = {}
    with _display(lambda: table_of(definition["Steps"], steps, details)) as show:
        while True:
            answer = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
            steps[:] = steps_of(sagemaker, arn)
            running = {step["StepName"]: _training(sagemaker, step) for step in steps}
            progress = live.of([job for jobs in running.values() for job in jobs])
            for step in steps:
                name = step["StepName"]
                step["StepType"] = types[name]
                ending = name, step.get("EndTime")
                if ending not in told:
                    lines = [
                        f"{label}{progress[job]}" for job, label in running[name].items() if job in progress
                    ]
                    if tuning := _tuning(sagemaker, step):
                        head = tuning.text
                        done = tuning.ended + sum(
                            progress[job].share for job in running[name] if job in progress
                        )
                        head += _left(step, tuning.total, done, estimates)
                    else:
                        head = detail(sagemaker, step)
                    details[name] = "\n".join([*filter(None, [head]), *lines])
                if step["StepStatus"] in ENDED:
                    told.add(ending)
            show(steps, details)
            status = answer["PipelineExecutionStatus"]
            if status in ENDED:
                return Execution(arn, status, answer.get("FailureReason", ""), tuple(steps))
            time.sleep(poll_s)


@contextlib.contextmanager
def _display(table: Callable[[], Table]) -> Iterator[Callable[[list[dict[str, Any]], dict[str, str]], None]]:
    """On a terminal the live table; in a file or pipe a line for each change."""
    if command.console.is_terminal:
        with Live(console=command.console, refresh_per_second=_REFRESH_PER_S, get_renderable=table):
            yield lambda _steps, _details: None
        return
    said: dict[str, tuple[str, str]] = {}

    def show(steps: list[dict[str, Any]], details: dict[str, str]) -> None:
        for step in steps:
            name = step["StepName"]
            news = (step["StepStatus"], details[name])
            if said.get(name) != news:
                said[name] = news
                told = details[name].replace("\n", "; ")
                line = f"{name} {step['StepStatus']} {seconds(step):.0f} s {told}"
                command.console.print(line.rstrip(), soft_wrap=True)

    yield show


def wait_for_endpoint(session: boto3.Session, name: str, config: str, poll_s: float) -> str:
    """Wait until an endpoint serves an endpoint config; return why it never will, or an empty string.

    A failed update leaves the endpoint InService with its previous config.
    """
    sagemaker = session.client("sagemaker")
    with command.status(f"waiting for endpoint {name} to be InService") as line:
        while True:
            answer = sagemaker.describe_endpoint(EndpointName=name)
            status = answer["EndpointStatus"]
            reason = answer.get("FailureReason", "no reason given")
            if status == "InService":
                served = answer["EndpointConfigName"]
                return "" if served == config else f"endpoint {name} went back to {served}: {reason}"
            if status in {"Failed", "OutOfService", "UpdateRollbackFailed"}:
                return f"endpoint {name} is {status}: {reason}"
            line.update(Text(f"waiting for endpoint {name} to be InService, it is {status}"))
            time.sleep(poll_s)


def deployment(execution: Execution) -> dict[str, str]:
    """What the step DeployEndpoint answered; empty if it did not run."""
    step = execution.step("DeployEndpoint")
    outputs = (
        step["Metadata"]["Lambda"]["OutputParameters"] if step and step["StepStatus"] == "Succeeded" else []
    )
    return {output["Name"]: str(output["Value"]) for output in outputs}


def seconds(step: dict[str, Any]) -> float:
    """How long a step has taken so far."""
    begin = step.get("StartTime")
    if begin is None:
        return 0.0
    duration: float = (step.get("EndTime", datetime.now(UTC)) - begin).total_seconds()
    return duration


def planned(steps: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Name and type of every step, branches after their condition."""
    for step in steps:
        yield step["Name"], step["Type"]
        for branch in ("IfSteps", "ElseSteps"):
            yield from planned(step["Arguments"].get(branch, []) if step["Type"] == "Condition" else [])


def succeeded(sagemaker: SageMakerClient, arn: str) -> set[str]:
    """The names of the steps that succeeded in an execution so far."""
    return {step["StepName"] for step in steps_of(sagemaker, arn) if step["StepStatus"] == "Succeeded"}


def parameters_of(session: boto3.Session, arn: str) -> dict[str, str]:
    """An execution's parameters by name."""
    pages = (
        session.client("sagemaker")
        .get_paginator("list_pipeline_parameters_for_execution")
        .paginate(PipelineExecutionArn=arn)
    )
    return {item["Name"]: item["Value"] for page in pages for item in page["PipelineParameters"]}


def steps_of(sagemaker: Any, arn: str) -> list[dict[str, Any]]:
    """An execution's steps that have begun, in that order; each as ListPipelineExecutionSteps answers it."""
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=arn, SortOrder="Ascending"
    )
    return [step for page in pages for step in page["PipelineExecutionSteps"]]


@dataclass(frozen=True)
class _Tuning:
    """How many of a tuning job's trials have ended, of how many, and a sentence with the best one."""

    ended: int
    total: int
    text: str


def _tuning(sagemaker: Any, step: dict[str, Any]) -> _Tuning | None:
    """How far a step's tuning job is; None for other steps, and for one that failed."""
    metadata = step.get("Metadata", {})
    if "TuningJob" not in metadata or step["StepStatus"] == "Failed":
        return None
    name = metadata["TuningJob"]["Arn"].rpartition("/")[2]
    job = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    total = job["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    counters = job["TrainingJobStatusCounters"]
    ended = counters["Completed"] + counters["Stopped"] + counters["NonRetryableError"]
    text = f"{ended} of {total} trials"
    best = job.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
    if best and best["MetricName"] == VALIDATION_ACCURACY:
        text += f", best validation accuracy {percent(best['Value'])}"
    elif best:
        text += f", best {best['MetricName']} {best['Value']:.4f}"
    return _Tuning(ended, total, text)


def _left(step: dict[str, Any], total: int, done: float, estimates: dict[str, tuple[float, str]]) -> str:
    """How long a tuning step will take, in words, if its trials take as long as those before; "" if unknown.

    Args:
        done: the trials done so far, including parts of running ones.
        estimates: by step, what was done at the last estimate, and its words; kept here so that the words
        change only after progress.
    """
    name = step["StepName"]
    if step["StepStatus"] != "Executing" or not 0 < done < total:
        return ""
    if name not in estimates or estimates[name][0] != done:
        estimates[name] = done, f", {about(seconds(step) * (total - done) / done)} left"
    return estimates[name][1]


def _holds(step: dict[str, Any]) -> bool:
    return str(step["Metadata"]["Condition"]["Outcome"]).lower() == "true"


def detail(sagemaker: Any, step: dict[str, Any]) -> str:
    """What a person wants to know of a step beside its status."""
    metadata = step.get("Metadata", {})
    if step["StepStatus"] == "Failed":
        # On AWS a failure's reason only points to the log; VerifyEndpoint writes its own.
        return _exit_message(sagemaker, metadata) or str(step.get("FailureReason", ""))
    if "Condition" in metadata:
        return f"{_CONDITIONS.get(step['StepName'], 'so it is')}: {'yes' if _holds(step) else 'no'}"
    if step["StepName"] == "EvaluateModel" and step["StepStatus"] == "Succeeded":
        return _exit_message(sagemaker, metadata)
    if "RegisterModel" in metadata:
        return str(metadata["RegisterModel"]["Arn"].partition(":model-package/")[2])
    if "Lambda" in metadata:
        outputs = {item["Name"]: item["Value"] for item in metadata["Lambda"].get("OutputParameters", [])}
        return str(outputs.get("reason") or outputs.get("endpoint_name", ""))
    return ""


def _exit_message(sagemaker: Any, metadata: dict[str, Any]) -> str:
    """The exit message of a step's processing job; empty if there is none."""
    if "ProcessingJob" not in metadata:
        return ""
    name = metadata["ProcessingJob"]["Arn"].rpartition("/")[2]
    return str(sagemaker.describe_processing_job(ProcessingJobName=name).get("ExitMessage", ""))


def _training(sagemaker: Any, step: dict[str, Any]) -> dict[str, str]:
    """A step's running training jobs, and the name that each is shown by."""
    metadata = step.get("Metadata", {})
    if step["StepStatus"] != "Executing":
        return {}
    if "TrainingJob" in metadata:
        return {metadata["TrainingJob"]["Arn"].rpartition("/")[2]: ""}
    if "TuningJob" not in metadata:
        return {}
    trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=metadata["TuningJob"]["Arn"].rpartition("/")[2],
        StatusEquals="InProgress",
        SortBy="Name",
        SortOrder="Ascending",
        MaxResults=100,  # the most that may run at once
    )["TrainingJobSummaries"]
    # SageMaker names a trial <tuning job>-<number>-<random>.
    names = [trial["TrainingJobName"] for trial in trials]
    return {name: f"trial {name.split('-')[-2]}: " for name in names}


def _rows(steps: list[dict[str, Any]], started: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Name and type of the steps that have started or may still start, in order.

    Of a condition, the branch that it took; before it has decided, the branch of its yes.
    """
    for step in steps:
        yield step["Name"], step["Type"]
        if step["Type"] == "Condition":
            record = started.get(step["Name"], {})
            decided = "Condition" in record.get("Metadata", {}) and record["StepStatus"] == "Succeeded"
            branch = "IfSteps" if not decided or _holds(record) else "ElseSteps"
            yield from _rows(step["Arguments"].get(branch, []), started)


def table_of(planned: list[dict[str, Any]], steps: list[dict[str, Any]], details: dict[str, str]) -> Table:
    started = {step["StepName"]: step for step in steps}
    table = Table(box=None, pad_edge=False)
    table.add_column("step", no_wrap=True)
    table.add_column("type", style="dim", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, kind in _rows(planned, started):
        step = started.get(name)
        if step is None:
            table.add_row(Text(name, "dim"), kind, "", "", "")
            continue
        status = step["StepStatus"]
        table.add_row(
            name,
            kind,
            Text(status, _STYLES.get(status, "")),
            f"{seconds(step):.0f} s",
            Text(details.get(name, "")),
        )
    return table
