"""A Pipelines service from its clients' side."""

import time
import uuid

import pytest

from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane
from tests.local.definitions import ROLE, document, processing

SIMPLE = document(processing("Split"))


def caller(service):
    """caller(service)("DescribePipeline", PipelineName=...) goes through the control plane's own checks."""
    plane = ControlPlane(service.operations())

    def call(operation, **request):
        if operation in (
            "CreatePipeline",
            "DeletePipeline",
            "StartPipelineExecution",
            "StopPipelineExecution",
        ):
            request.setdefault("ClientRequestToken", uuid.uuid4().hex)
        return plane.call(operation, request)

    return call


def create(call, definition=SIMPLE, name="pictures", **more):
    return call("CreatePipeline", PipelineName=name, PipelineDefinition=definition, RoleArn=ROLE, **more)


def start(call, name="pictures", **request):
    return call("StartPipelineExecution", PipelineName=name, **request)["PipelineExecutionArn"]


def finished(call, arn):
    deadline = time.monotonic() + 5
    while True:
        answer = call("DescribePipelineExecution", PipelineExecutionArn=arn)
        if answer["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.002)


def run(call, **request):
    arn = start(call, **request)
    return arn, finished(call, arn)["PipelineExecutionStatus"]


def steps(call, arn, **request):
    return call("ListPipelineExecutionSteps", PipelineExecutionArn=arn, **request)["PipelineExecutionSteps"]


def refusal(call, operation, **request):
    with pytest.raises(ServiceError) as error:
        call(operation, **request)
    return error.value.code, error.value.message
