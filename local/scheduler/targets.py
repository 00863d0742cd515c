"""What a schedule calls: StartPipelineExecution, as a templated or as a universal target."""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.validate import ParamValidator

from local.home.store import Record
from local.wire.errors import invalid
from local.wire.operations import Request, service_model

UNIVERSAL = "arn:aws:scheduler:::aws-sdk:sagemaker:startPipelineExecution"
_PIPELINE = re.compile(r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:pipeline/[a-zA-Z0-9-]{1,256}")
_OTHERS = ("EcsParameters", "EventBridgeParameters", "KinesisParameters", "SqsParameters")
# What a target has unless the request says otherwise: GetSchedule of a schedule made without shows them.
RETRY_POLICY = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}


def check_target(target: Record) -> None:
    """Refuse a target that the local service could not call: now, not when it is due.

    Raises:
        ServiceError: ValidationException.
    """
    arn = target["Arn"]
    if others := [name for name in _OTHERS if name in target]:
        raise invalid(f"{others[0]} is not a member of a target that is a pipeline ({arn})")
    if arn == UNIVERSAL:
        if "SageMakerPipelineParameters" in target:
            raise invalid(f"put the parameters of {UNIVERSAL} into Input")
        _input(target, {})
    elif not _PIPELINE.fullmatch(arn):
        raise invalid(
            f"the local service's schedules can only start SageMaker pipelines, not {arn}; "
            f"name the ARN of a pipeline, or {UNIVERSAL}"
        )
    elif "Input" in target:
        raise invalid("a target that is a pipeline takes SageMakerPipelineParameters, not Input")


def call(schedule: Record, event: Record) -> Request:
    """The request to StartPipelineExecution when a schedule is due.

    Args:
        event: {"Id", "Time" (as the user guide writes it), "Attempts"} of what is due.
    """
    target = schedule["Target"]
    # The same for each attempt, so that none starts the pipeline twice, even after a kill.
    token = {"ClientRequestToken": event["Id"]}
    if target["Arn"] != UNIVERSAL:
        parameters = target.get("SageMakerPipelineParameters", {}).get("PipelineParameterList", [])
        return {"PipelineName": target["Arn"], "PipelineParameters": parameters, **token}
    # "Adding context attributes" in the user guide.
    context = {
        "<aws.scheduler.schedule-arn>": schedule["Arn"],
        "<aws.scheduler.scheduled-time>": event["Time"],
        "<aws.scheduler.execution-id>": event["Id"],
        "<aws.scheduler.attempt-number>": str(event["Attempts"] + 1),
    }
    return {**token, **_input(target, context)}


def _input(target: Record, context: dict[str, str]) -> Request:
    """A universal target's Input with its context attributes replaced.

    Raises:
        ServiceError: StartPipelineExecution would not accept it.
    """
    text = target.get("Input", "")
    for keyword, value in context.items():
        text = text.replace(keyword, value)
    try:
        given: Any = json.loads(text)
    except ValueError as error:
        raise invalid(f"the Input of {UNIVERSAL} is not JSON: {error}") from None
    shape: Any = service_model().operation_model("StartPipelineExecution").input_shape
    if not isinstance(given, dict):
        raise invalid(f"the Input of {UNIVERSAL} is not a JSON object")
    report = ParamValidator().validate({"ClientRequestToken": "t" * 32, **given}, shape)
    if report.has_errors():
        raise invalid(f"the Input of {UNIVERSAL}: {report.generate_report()}")
    return given
