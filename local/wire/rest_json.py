"""The rest-json protocol: requests and answers of a service in the shapes of botocore's model."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from local.wire.errors import ServiceError
from local.wire.operations import Request, Response, shaped
from local.wire.texts import json_value, whole_number

HttpAnswer = tuple[int, dict[str, str], bytes]


def routed(model: ServiceModel, method: str, path: str) -> tuple[OperationModel, dict[str, str]]:
    """The operation for a method and a (decoded) path, and the path's parameters (URI name -> value).

    Raises:
        ServiceError: the service has no such operation.
    """
    for name, operation_method, pattern in _routes(model):
        match = pattern.fullmatch(path) if method == operation_method else None
        if match is not None:
            return model.operation_model(name), match.groupdict()
    raise ServiceError("UnknownOperationException", f"{model.service_name} has no {method} {path}", 404)


@functools.cache
def _routes(model: ServiceModel) -> list[tuple[str, str, re.Pattern[str]]]:
    routes = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        uri = http["requestUri"].partition("?")[0].rstrip("/")
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(uri)) + "/?"
        routes.append((name, http["method"], re.compile(pattern)))
    return routes


def parsed(
    operation: OperationModel,
    parts: Mapping[str, str],
    query: Mapping[str, list[str]],
    headers: Mapping[str, str],
    body: bytes,
    refusal: str = "InvalidParameterValueException",
) -> Request:
    """The operation's request, validated.

    Args:
        parts: what `routed` found in the path.
        query: the values of each name.
        headers: names in lower case.
        refusal: the service's error code for requests that do not fit its model.

    Raises:
        ServiceError: the body is not a JSON object, or the request does not fit the operation's shape.
    """
    shape = operation.input_shape
    if shape is None:
        return {}
    payload = shape.serialization.get("payload")
    request: Request = {payload: body} if payload else _json_object(body)
    value: str | int | list[str] | None
    for name, member in shape.members.items():
        key = member.serialization.get("name", name)
        match member.serialization.get("location"):
            case "uri":
                value = parts[key]
            case "querystring":
                values = query.get(key)
                value = values[-1] if values and member.type_name != "list" else values
            case "header":
                value = headers.get(key.lower())
            case _:
                continue
        if value is not None:
            if isinstance(value, str) and member.type_name == "integer":
                with contextlib.suppress(ValueError):  # ParamValidator refuses what is left a string
                    value = whole_number(value)
            request[name] = value
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise ServiceError(refusal, report.generate_report())
    return request


def _json_object(body: bytes) -> Request:
    try:
        value = json_value(body or b"{}")
    except ValueError as error:
        raise ServiceError("InvalidRequestContentException", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ServiceError("InvalidRequestContentException", "the body is not a JSON object")
    return value


def rendered(operation: OperationModel, response: Response) -> HttpAnswer:
    """Status, headers and body of an operation's answer."""
    status = operation.http.get("responseCode", 200)
    shape = operation.output_shape
    if shape is None:
        return status, {}, b""
    payload = shape.serialization.get("payload")
    headers: dict[str, str] = {"Content-Type": "application/json"}
    members: dict[str, Any] = {}
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        if response.get(name) is None:
            continue
        if location == "statusCode":
            status = response[name]
        elif location == "header":
            headers[member.serialization["name"]] = str(response[name])
        elif name != payload:
            members[name] = shaped(response[name], member)
    if payload:
        return status, headers, response[payload]
    return status, headers, b"" if status == 204 else json.dumps(members).encode()


def rendered_error(error: ServiceError) -> HttpAnswer:
    """An error as botocore reads it from a rest-json service."""
    kind = "User" if error.status < 500 else "Service"
    body = json.dumps({"Type": kind, "message": error.message, "Message": error.message}).encode()
    return error.status, {"Content-Type": "application/json", "x-amzn-ErrorType": error.code}, body
