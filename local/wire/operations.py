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

Request = dict[str, Any]
Response = dict[str, Any]
Operation = Callable[[Request], Response]


class ServiceError(Exception):
    """An error that AWS would answer: its code (e.g. ValidationException), a sentence, the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    """SageMaker's answer to a request that it cannot accept."""
    return ServiceError("ValidationException", message)


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


def listed(records: list[Request], request: Request, key: str, members: str) -> Response:
    """One page of a List operation: `records` newest first, filtered and sorted by what `request` asks.

    Understands what `matching` does, SortBy (Name, CreationTime, Status), SortOrder (default Descending, as
    for jobs), MaxResults and NextToken.

    Args:
        key: the prefix of the records' own members, e.g. "TrainingJob" for TrainingJobName and ...Status.
        members: the answer's list member, e.g. "TrainingJobSummaries".
    """
    by = {"Name": f"{key}Name", "Status": f"{key}Status"}.get(request.get("SortBy", ""), "CreationTime")
    descending = request.get("SortOrder", "Descending") == "Descending"
    found = sorted(matching(records, request, key), key=lambda record: record[by], reverse=descending)
    return page(found, request, members)


def matching(records: list[Request], request: Request, key: str) -> list[Request]:
    """The records that a List operation asks for, `key` as for `listed`.

    Understands NameContains, StatusEquals, CreationTimeAfter/Before and LastModifiedTimeAfter/Before.
    """
    name, status = f"{key}Name", f"{key}Status"
    return [
        record
        for record in records
        if request.get("NameContains", "").lower() in record[name].lower()
        and request.get("StatusEquals", record.get(status)) == record.get(status)
        and request.get("CreationTimeAfter", 0) <= record["CreationTime"]
        and record["CreationTime"] <= request.get("CreationTimeBefore", float("inf"))
        and request.get("LastModifiedTimeAfter", 0) <= record.get("LastModifiedTime", record["CreationTime"])
        and record.get("LastModifiedTime", 0) <= request.get("LastModifiedTimeBefore", float("inf"))
    ]


def page(items: list[Any], request: Request, members: str) -> Response:
    """MaxResults of `items` from NextToken on, as a List operation answers them.

    Raises:
        ServiceError: the token is not one that an earlier page ended with.
    """
    token = request.get("NextToken", "0")
    if not (token.isascii() and token.isdigit()):
        raise invalid(f"NextToken {token!r} is not valid")
    start = int(token)
    end = start + request.get("MaxResults", 100)
    answer: Response = {members: items[start:end]}
    if end < len(items):
        answer["NextToken"] = str(end)
    return answer
