"""The calls of a step: creating SageMaker resources, invoking Lambda functions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from local.definition.expressions import ExpressionError, as_text
from local.definition.step_types import StepType
from local.home.disk import MAKE_ROOM
from local.home.interruption import interrupted

POLL_S = 0.2

_ENDED = ("Completed", "Failed", "Stopped")
_MAX_REFERABLE_TRIALS = 50
_MAX_OUTPUT_CHARACTERS = 1024

# Notes what has changed about a step, e.g. report(StepStatus="Executing").
Report = Callable[..., None]


@dataclass(frozen=True)
class Outcome:
    """How a step ended; `properties` is what other steps may refer to."""

    status: str
    properties: dict[str, Any] = field(default_factory=dict)
    failure_reason: str | None = None
    exception_type: str | None = None  # one of the retry policies'
    interrupted: bool = False  # its job ended because the service did


class Suspended(Exception):
    """The service ends: a later service continues this step."""


class Signals:
    """What an execution's steps should do: continue, stop their jobs, or leave everything as it is."""

    def __init__(self) -> None:
        self._changed = threading.Event()
        self._suspended = False

    def stop(self) -> None:
        """Make steps stop their jobs and end."""
        self._changed.set()

    def suspend(self) -> None:
        """Make steps raise Suspended, and leave their jobs to the service."""
        self._suspended = True
        self._changed.set()

    @property
    def stopping(self) -> bool:
        """Whether steps should stop; raises Suspended if the service ends."""
        if self._suspended:
            raise Suspended
        return self._changed.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait `timeout_s`, or until steps should stop; return and raise like `stopping`."""
        self._changed.wait(timeout_s)
        return self.stopping


def iso_time(seconds: float) -> str:
    """A point in time, Unix seconds, as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def create_resource(
    sagemaker: Any,
    kind: StepType,
    name: str,
    arguments: Mapping[str, Any],
    report: Report,
    signals: Signals,
    *,
    again: bool,
) -> Outcome:
    """Create a model, a model package or a job, and wait for the job's end.

    Args:
        name: the resource's name or, if SageMaker names it, the ClientToken that makes the call idempotent.
        again: an earlier service may have created it already.

    Raises:
        Suspended: the service ends.
        botocore.exceptions.BotoCoreError: arguments that botocore refuses, or no connection.
    """
    key = kind.name_key if kind.name_characters else "ClientToken"
    try:
        arn = _created(sagemaker, kind, name) if again and kind.name_characters else None
        if arn is None:
            arn = getattr(sagemaker, xform_name(kind.create))(**{key: name, **arguments})[kind.arn_key]
        report(StepStatus="Executing", Metadata={kind.metadata: {"Arn": arn}})
        if kind.is_job:
            return _await_job(sagemaker, kind, name, report, signals)
        return Outcome("Succeeded", _describe(sagemaker, kind, name if kind.name_characters else arn))
    except ClientError as error:
        return _refused(error, "sagemaker")


def _created(sagemaker: Any, kind: StepType, name: str) -> str | None:
    """The ARN of the resource of that name; None if there is none."""
    try:
        arn: str = _describe(sagemaker, kind, name)[kind.arn_key]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise
        return None
    return arn


def _describe(sagemaker: Any, kind: StepType, name: str) -> dict[str, Any]:
    return _as_json(getattr(sagemaker, xform_name(kind.describe))(**{kind.name_key: name}))


def _as_json(answer: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    result: dict[str, Any] = json.loads(json.dumps(plain, default=lambda time: iso_time(time.timestamp())))
    return result


def _await_job(sagemaker: Any, kind: StepType, name: str, report: Report, signals: Signals) -> Outcome:
    stop_sent = False
    while True:
        stopping = signals.stopping
        description = _describe(sagemaker, kind, name)
        if description[kind.status_key] in _ENDED:
            break
        if stopping and not stop_sent:
            report(StepStatus="Stopping")
            _stop_job(sagemaker, kind, name)
            stop_sent = True
        time.sleep(POLL_S)
    if kind.trials:
        description["TrainingJobSummaries"] = _ranked_trials(sagemaker, kind, description)
    return _job_outcome(kind, description)


def _stop_job(sagemaker: Any, kind: StepType, name: str) -> None:
    try:
        getattr(sagemaker, xform_name(kind.stop))(**{kind.name_key: name})
    except ClientError:
        # The service refuses to stop a job that has just ended.
        if _describe(sagemaker, kind, name)[kind.status_key] not in _ENDED:
            raise


def _ranked_trials(sagemaker: Any, kind: StepType, description: Mapping[str, Any]) -> Any:
    """The trials that reported the objective, best first; the Describe call does not include them."""
    objective = description["HyperParameterTuningJobConfig"].get("HyperParameterTuningJobObjective", {})
    answer = getattr(sagemaker, xform_name(kind.trials))(
        **{kind.name_key: description[kind.name_key]},
        SortBy="FinalObjectiveMetricValue",
        SortOrder="Ascending" if objective.get("Type") == "Minimize" else "Descending",
        MaxResults=_MAX_REFERABLE_TRIALS,
    )
    return _as_json(answer)["TrainingJobSummaries"]


def _job_outcome(kind: StepType, description: dict[str, Any]) -> Outcome:
    status, reason = description[kind.status_key], description.get("FailureReason", "")
    if status == "Completed":
        return Outcome("Succeeded", description)
    if interrupted(description):
        return Outcome("Failed", description, f"ClientError: {reason}", interrupted=True)
    if status == "Stopped":
        return Outcome("Stopped", description, reason or description.get("SecondaryStatus"))
    exception_type = None
    # No retry policy covers a full disk: attempts minutes apart would only delay the message.
    internal = reason.startswith("InternalServerError") and MAKE_ROOM not in reason
    if internal and not kind.trials:
        exception_type = "SageMaker.JOB_INTERNAL_ERROR"
    elif reason.startswith("CapacityError"):
        exception_type = "SageMaker.CAPACITY_ERROR"
    return Outcome("Failed", description, f"ClientError: {reason}", exception_type)


def _refused(error: ClientError, service: str) -> Outcome:
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    exception_type = {
        "ThrottlingException": "Step.THROTTLING",
        "ResourceLimitExceeded": "SageMaker.RESOURCE_LIMIT",
    }.get(code)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if status >= 500 and MAKE_ROOM not in message:  # as above
        exception_type = "Step.SERVICE_FAULT"
    reason = f"Failed to invoke {service}:{error.operation_name}. Error Details: {message}"
    return Outcome("Failed", {}, f"ClientError: {reason}", exception_type)


def invoke_function(
    functions: Any, arn: str, payload: Any, output_types: Mapping[str, str], report: Report
) -> Outcome:
    """Invoke a Lambda function and wait for its answer; its declared outputs become properties.

    An output that the function does not return is left out; a step that refers to it fails.

    Raises:
        ExpressionError: an output with the wrong type, or too long.
        botocore.exceptions.BotoCoreError: no connection.
    """
    report(StepStatus="Executing", Metadata={"Lambda": {"Arn": arn}})
    try:
        response = functions.invoke(FunctionName=arn, Payload=json.dumps(payload).encode())
    except ClientError as error:
        return _refused(error, "lambda")
    content = response["Payload"].read()
    answer = json.loads(content) if content else None
    if "FunctionError" in response:
        message = answer.get("errorMessage") if isinstance(answer, dict) else answer
        return Outcome("Failed", {}, f"ClientError: the function {arn} failed: {message}")
    given = answer if isinstance(answer, dict) else {}
    outputs = {name: _output(name, given[name], output_types[name]) for name in output_types if name in given}
    listed = [{"Name": name, "Value": _output_text(name, outputs[name])} for name in sorted(outputs)]
    report(Metadata={"Lambda": {"Arn": arn, "OutputParameters": listed}})
    return Outcome("Succeeded", {"OutputParameters": outputs})


def _output(name: str, value: Any, kind: str) -> Any:
    """An output of the declared type; nested values become a JSON string."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "String" and number:
        return as_text(float(value))  # recorded: the service answers "200.0" for 200
    if kind == "String":
        return value if isinstance(value, str) else json.dumps(value)
    if kind == "Boolean" and isinstance(value, bool):
        return value
    if kind == "Float" and number:
        return float(value)
    if kind == "Integer" and number and float(value).is_integer():
        return int(value)
    raise ExpressionError(
        f"the function's output {name!r} is {json.dumps(value)}, which is not of type {kind}"
    )


def _output_text(name: str, value: Any) -> str:
    text = as_text(value)
    if len(text) > _MAX_OUTPUT_CHARACTERS:
        raise ExpressionError(f"the function's output {name!r} has over {_MAX_OUTPUT_CHARACTERS} characters")
    return text
