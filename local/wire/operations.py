"""SageMaker's control plane as a table of functions, shaped by botocore's own service model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from local.wire.errors import ServiceError
from local.wire.limits import refusal
from local.wire.members import unsupported
from local.wire.region import check_arns

Request = dict[str, Any]
Response = dict[str, Any]
Operation = Callable[[Request], Response]


@functools.cache
def service_model(service: str = "sagemaker") -> ServiceModel:
    """botocore's model of a service."""
    model: ServiceModel = botocore.session.get_session().get_service_model(service)
    return model


class ControlPlane:
    """Answers the operations of a service: validates the request, calls the function, shapes the answer.

    Args:
        operations: by name.
        region: ARNs of other regions are refused.
        service: one with the JSON protocol (the operation's name is in X-Amz-Target).
        refusal: the error code for requests that do not fit the model.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        region: str = "us-east-1",
        service: str = "sagemaker",
        refusal: str = "ValidationException",
    ) -> None:
        self._model = service_model(service)
        unknown = sorted(set(operations) - set(self._model.operation_names))
        if unknown:
            raise ValueError(f"not operations of {service}: {', '.join(unknown)}")
        self._operations = dict(operations)
        self._region = region
        self._refusal = refusal

    @property
    def service(self) -> str:
        """Its name as AWS writes it, e.g. "SageMaker"."""
        return str(self._model.metadata["serviceId"])

    @property
    def target_prefix(self) -> str:
        """The prefix of an operation's name in X-Amz-Target, e.g. "SageMaker."."""
        return f"{self._model.metadata['targetPrefix']}."

    def call(self, name: str, request: Request) -> Response:
        """The answer to one operation, JSON-ready (times as Unix seconds).

        Raises:
            ServiceError: the operation is not supported here, the request does not fit the service's
                model, or the operation itself refuses.
        """
        operation = self._operations.get(name)
        if operation is None:
            raise ServiceError("UnknownOperationException", f"the local service has no operation {name}", 400)
        model = self._model.operation_model(name)
        if model.input_shape is not None:
            try:
                report = ParamValidator().validate(request, model.input_shape)
            except RuntimeError as error:  # botocore, for an impossible time
                raise ServiceError(self._refusal, str(error)) from None
            if report.has_errors():
                raise ServiceError(self._refusal, report.generate_report())
            if (problem := refusal(request, model.input_shape)) is not None:
                raise ServiceError(self._refusal, problem)
            check_arns(request, model.input_shape, self._region)
            for problem in unsupported(name, request):
                raise ServiceError(self._refusal, problem)
        response = operation(request)
        return shaped(response, model.output_shape) if model.output_shape is not None else {}


def shaped(value: Any, shape: Shape) -> Any:
    """`value` without members that the shape lacks; times as Unix seconds."""
    if shape.type_name == "structure":
        members = shape.members  # type: ignore[attr-defined]
        return {
            key: shaped(value[key], member) for key, member in members.items() if value.get(key) is not None
        }
    if shape.type_name == "list":
        return [shaped(item, shape.member) for item in value]  # type: ignore[attr-defined]
    if shape.type_name == "map":
        return {key: shaped(item, shape.value) for key, item in value.items()}  # type: ignore[attr-defined]
    if isinstance(value, datetime):
        return value.timestamp()
    return value
