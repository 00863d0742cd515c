"""SageMaker's control plane as a table of functions, shaped by botocore's own service model."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from local.wire.errors import ServiceError, invalid

Request = dict[str, Any]
Response = dict[str, Any]
Operation = Callable[[Request], Response]


@functools.cache
def service_model(service: str = "sagemaker") -> ServiceModel:
    """botocore's model of a service."""
    model: ServiceModel = botocore.session.get_session().get_service_model(service)
    return model


class ControlPlane:
    """Answers SageMaker operations: validates the request, calls the function, shapes the answer."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        unknown = sorted(set(operations) - set(service_model().operation_names))
        if unknown:
            raise ValueError(f"not SageMaker operations: {', '.join(unknown)}")
        self._operations = dict(operations)

    def call(self, name: str, request: Request) -> Response:
        """The answer to one operation, JSON-ready (times as Unix seconds).

        Raises:
            ServiceError: the operation is not supported here, the request does not fit the service's
                model, or the operation itself refuses.
        """
        operation = self._operations.get(name)
        if operation is None:
            raise ServiceError("UnknownOperationException", f"the local service has no operation {name}", 400)
        model = service_model().operation_model(name)
        if model.input_shape is not None:
            report = ParamValidator().validate(request, model.input_shape)
            if report.has_errors():
                raise ServiceError("ValidationException", report.generate_report())
            _check_names(request, model.input_shape)
        response = operation(request)
        return shaped(response, model.output_shape) if model.output_shape is not None else {}


def _check_names(request: Request, shape: Shape) -> None:
    """Refuse a name that does not fit its pattern: names become folders, botocore leaves them unchecked."""
    for member, value in request.items():
        limits = shape.members[member].metadata  # type: ignore[attr-defined]
        if not member.endswith("Name") or "pattern" not in limits:
            continue
        pattern, longest = limits["pattern"], limits.get("max", len(value))
        if not re.fullmatch(pattern, value) or len(value) > longest:
            raise invalid(
                f"1 validation error detected: Value {value!r} at {member!r} failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {pattern}, at most {longest} characters"
            )


def shaped(value: Any, shape: Shape) -> Any:
    """`value` without what the shape does not hold; times as Unix seconds."""
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
