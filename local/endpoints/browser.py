"""What a browser gets from an endpoint: its page at /endpoints/NAME/, and what the page requests.

The page requests predictions and, at /endpoints/NAME/model, which version of a model it is.

Browsers send no signature. Their requests reach the endpoint's current server, so the address survives
updates. Errors are JSON as the container writes them: {"code": ..., "message": ...}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from local.wire.errors import ModelError, ServiceError
from local.wire.http import HttpRequest, HttpResponse

ROUTES = {
    "GET": re.compile(r"/endpoints/([^/]+)(/?|/model)"),
    "POST": re.compile(r"/endpoints/([^/]+)/invocations"),
}

# Status, headers and body.
Answer = tuple[int, Mapping[str, str], bytes]


def answer(
    request: HttpRequest,
    invoke: Callable[[str, bytes, Mapping[str, str]], Answer],
    page: Callable[[str], Answer],
    version: Callable[[str], Mapping[str, Any] | None],
) -> HttpResponse | None:
    """The answer to a request without a signature; None if it is for another address.

    Args:
        invoke: InvokeEndpoint for an endpoint's name, a body and headers.
        page: what the endpoint's server answers to GET /.
        version: DescribeModelPackage's answer about what the endpoint serves; None for an unversioned model.
    """
    route = ROUTES.get(request.method)
    found = route and route.fullmatch(request.path)
    if not found:
        return None
    try:
        if request.method == "POST":
            return HttpResponse(*invoke(found[1], request.body.read(), request.headers))
        if not found[2]:  # the page's own addresses are relative
            return HttpResponse(308, {"location": f"{quote(request.path)}/"})
        if found[2] == "/model":
            return _model(version(found[1]))
        return HttpResponse(*page(found[1]))
    except ModelError as error:
        if error.original_status == 0:
            return _tell(502, error.code, f"The endpoint did not answer: {error.original_message}")
        json_headers = {"content-type": "application/json"}
        return HttpResponse(error.original_status, json_headers, error.original_message.encode())
    except ServiceError as error:
        return _tell(404, error.code, error.message)


def _model(package: Mapping[str, Any] | None) -> HttpResponse:
    """What the page says about the model."""
    told: dict[str, Any] = {}
    if package is not None:
        told = {
            "group": package["ModelPackageGroupName"],
            "version": package["ModelPackageVersion"],
            "metrics": package.get("CustomerMetadataProperties", {}),
        }
    return HttpResponse(200, {"content-type": "application/json"}, json.dumps(told).encode())


def _tell(status: int, code: str, message: str) -> HttpResponse:
    body = json.dumps({"code": code, "message": message}).encode()
    return HttpResponse(status, {"content-type": "application/json"}, body)
