"""One HTTP endpoint for every AWS service, routed by the service that a request is signed for."""

from __future__ import annotations

import functools
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl
from xml.sax.saxutils import escape

from entrypoints.contract import MAX_BODY_BYTES
from local.home.disk import advice
from local.s3.headers import is_form
from local.s3.xml import error_document
from local.wire import guard
from local.wire.errors import ModelError, ServiceError
from local.wire.http import BLOCK_BYTES, HttpRequest, HttpResponse
from local.wire.operations import ControlPlane
from local.wire.region import check_scope
from local.wire.texts import json_value

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORM = "application/x-www-form-urlencoded"
JSON_1_1 = "application/x-amz-json-1.1"
INVOCATIONS = re.compile(r"/endpoints/([^/]+)/invocations")
OTHER_INVOCATIONS = {
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
    "async-invocations": "InvokeEndpointAsync",
}
# AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, ...
CREDENTIAL = re.compile(r"Credential=([^,\s]+)")
# The longest body that is held in memory; bodies for S3 go to the disk. Lambda's: 4/3 of "50 MB
# (zipped, for direct upload)" ("Lambda quotas"; the words: localstack/localstack#2990). InvokeEndpoint's, and
# here all others': "payload sizes up to 25 MB" (SageMaker's hosting FAQ; botocore's model still says 6 MB).
LAMBDA_BODY_BYTES_MAX = 69_905_067
GREETING = b"A local SageMaker. Use it with AWS_ENDPOINT_URL set to this address, and any AWS credentials.\n"

Handler = Callable[[HttpRequest], HttpResponse]
# Status, headers and body of the answer.
Answer = tuple[int, Mapping[str, str], bytes]
# Endpoint name, body and headers of InvokeEndpoint.
Invoke = Callable[[str, bytes, Mapping[str, str]], Answer]
# The answer to a browser's unsigned request; None if this page does not have it.
Browse = Callable[[HttpRequest], HttpResponse | None]
# Method, path, query, headers and body of a request to Lambda; a name may be in its query more than once.
Functions = Callable[[str, str, Mapping[str, list[str]], Mapping[str, str], bytes], Answer]

log = logging.getLogger(__name__)


def application(
    s3: Handler,
    control: ControlPlane,
    invoke: Invoke,
    functions: Functions,
    browse: Browse,
    region: str = "us-east-1",
    gone: Callable[[], str | None] = lambda: None,
    others: Mapping[str, Callable[[HttpRequest], HttpResponse | None]] = MappingProxyType({}),
) -> WSGIApplication:
    """The WSGI application: S3, SageMaker, its runtime and Lambda from this project, the rest from moto.

    The callables get header names in lower case; they may raise ServiceError. Only presigned URLs and forms
    have their signatures checked (local/s3/presigned.py). Requests from other web sites are refused, and
    no other web site can read an answer (local/wire/guard.py).

    Args:
        region: requests signed for another region are refused.
        gone: why the service can no longer answer; None while it can.
        others: handlers of other services by name; moto answers where a handler returns None.
    """

    def sagemaker(request: HttpRequest) -> HttpResponse:
        if endpoint := INVOCATIONS.fullmatch(request.path):
            return HttpResponse(*invoke(endpoint[1], request.body.read(), request.headers))
        if other := OTHER_INVOCATIONS.get(request.path.rpartition("/")[2]):
            raise ServiceError(
                "NotImplemented", f"The local service has no {other}; use InvokeEndpoint instead", 501
            )
        return answer_json(control, request)

    def call_function(request: HttpRequest) -> HttpResponse:
        query = parse_qs(request.target.partition("?")[2], keep_blank_values=True)
        body = request.body.read()
        return HttpResponse(*functions(request.method, request.path, query, request.headers, body))

    handlers = {"s3": s3, "sagemaker": sagemaker, "lambda": call_function}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response = guard.without_cors(start_response)
        request = _request(environ)
        service, signed_for = _scope(request)
        try:
            if (reason := guard.refusal(request.headers, environ["REQUEST_URI"])) is not None:
                raise ServiceError("AccessDenied", reason, 403)
            if (reason := gone()) is not None:
                raise ServiceError("InternalFailure", reason, 410)  # clients do not try again after a 410
            if (
                error := refused_length(request, int(request.headers.get("content-length") or 0))
            ) is not None:
                raise error
            if service is not None and signed_for is not None:
                check_scope(service, signed_for, region, in_query="X-Amz-Credential" in request.query)
            if service is None:
                return _send(environ, start_response, _unsigned(request, browse))
            if service in handlers:
                return _send(environ, start_response, handlers[service](request))
            if service in others and (response := others[service](request)) is not None:
                return _send(environ, start_response, response)
            return moto()(environ, start_response)
        except ServiceError as error:
            refusal = error
        except NotImplementedError as error:  # moto, for an operation that it lacks
            refusal = ServiceError("NotImplemented", str(error), 501)
        except OSError as error:  # a full disk, a file that may not be read: not the service's own error
            refusal = ServiceError("InternalFailure", advice(error), 500)
        except Exception as error:  # a request's outermost handler: 500, as AWS
            log.exception("%s %a", request.method, request.path)  # not %s: it may hold escape sequences
            refusal = ServiceError("InternalFailure", f"{type(error).__name__}: {error}", 500)
        return _send(environ, start_response, _refuse(service, request, refusal))

    return answer


def refused_length(request: HttpRequest, length: int) -> ServiceError | None:
    """The refusal of a body of `length` bytes, before it is received; None if it is not too long."""
    service, _ = _scope(request)
    limit = LAMBDA_BODY_BYTES_MAX if service == "lambda" else MAX_BODY_BYTES
    if service == "s3" or length <= limit:
        return None
    if service == "lambda":
        message = f"Request must be smaller than {limit} bytes"
        return ServiceError("RequestEntityTooLargeException", message, 413)
    # With the status for a code: aws/sagemaker-python-sdk#171.
    return ServiceError("413", f"HTTP content length exceeded {limit} bytes.", 413)


def answer_json(control: ControlPlane, request: HttpRequest) -> HttpResponse:
    """The answer to a request in AWS's JSON 1.1; X-Amz-Target names its operation.

    Raises:
        ServiceError: no such operation, a body that is not JSON, or what the operation refuses.
    """
    target = request.headers.get("x-amz-target", "")
    if not target.startswith(control.target_prefix):
        raise ServiceError(
            "UnknownOperationException",
            f"The local service has no {request.method} {request.path} of {control.service}",
            404,
        )
    try:
        arguments = json_value(request.body.read() or b"{}")
    except ValueError as error:
        raise ServiceError(
            "SerializationException", f"The body of the request is not valid JSON: {error}"
        ) from None
    answer = control.call(target.removeprefix(control.target_prefix), arguments)
    return HttpResponse(200, {"content-type": JSON_1_1}, json.dumps(answer).encode())


def moto() -> WSGIApplication:
    """moto's application of all AWS services; it routes by the credential scope, too.

    Imported with the first request that needs it, because the import takes a second.
    """
    from moto.core.config import default_user_config

    # Roles have AmazonSageMakerFullAccess and its like attached.
    default_user_config["iam"]["load_aws_managed_policies"] = True
    return _dispatcher()


@functools.cache
def _dispatcher() -> WSGIApplication:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    def create(backend: str | None) -> WSGIApplication:
        if backend is None:
            raise ServiceError(
                "UnknownOperationException", "the local service does not have this AWS service", 404
            )
        # /moto-api is not part of AWS; it resets services, and records and replays requests.
        if backend.startswith("moto_api"):
            raise ServiceError("AccessDenied", "moto's own interface is closed; use the services of AWS", 403)
        service: WSGIApplication = create_backend_app(backend)
        return service

    dispatcher: WSGIApplication = DomainDispatcherApplication(create)
    return dispatcher


def _request(environ: WSGIEnvironment) -> HttpRequest:
    headers = {
        name[5:].replace("_", "-").lower() if name.isupper() else name[5:]: value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers |= {
        name: environ[key]
        for name, key in (("content-type", "CONTENT_TYPE"), ("content-length", "CONTENT_LENGTH"))
        if key in environ
    }
    return HttpRequest(
        method=environ["REQUEST_METHOD"],
        # WSGI hands over bytes, written as Latin-1.
        path=environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        query=dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)),
        headers=headers,
        body=environ["wsgi.input"],
        target=environ["REQUEST_URI"],
    )


def _scope(request: HttpRequest) -> tuple[str | None, str | None]:
    """The service and the region in the scope of the request's credentials; None where they are missing."""
    authorization = request.headers.get("authorization", "")
    in_header = CREDENTIAL.search(authorization)
    scope = (in_header[1] if in_header else request.query.get("X-Amz-Credential", "")).split("/")
    if len(scope) >= 4:
        return scope[-2].lower(), scope[-3]
    # boto3 still presigns S3 URLs with signature version 2, which has no scope. A form has it in a field.
    version_2 = authorization.startswith("AWS ") or "AWSAccessKeyId" in request.query
    return "s3" if version_2 or is_form(request) else None, None


def _unsigned(request: HttpRequest, browse: Browse) -> HttpResponse:
    if (answer := browse(request)) is not None:
        return answer
    if (request.method, request.path) == ("GET", "/"):
        return HttpResponse(200, {"content-type": "text/plain; charset=utf-8"}, GREETING)
    raise ServiceError(
        "MissingAuthenticationToken",
        "The request has no AWS signature, so its service is unknown; sign it with any credentials",
        403,
    )


def _refuse(service: str | None, request: HttpRequest, error: ServiceError) -> HttpResponse:
    """The error in the client's protocol: S3's XML, the query protocol's, or JSON."""
    if service == "s3":
        return error_document(error, request.path)
    headers = {"x-amzn-errortype": error.code}
    query_protocol = service not in ("sagemaker", "lambda")  # whatever a model's or a function's input is
    if query_protocol and request.headers.get("content-type", "").startswith(FORM):
        told = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        body = f"<ErrorResponse><Error>{told}</Error></ErrorResponse>"
        return HttpResponse(error.status, headers | {"content-type": "text/xml"}, body.encode())
    document: dict[str, Any] = {"__type": error.code, "message": error.message}
    if isinstance(error, ModelError):
        document |= {
            "OriginalStatusCode": error.original_status,
            "OriginalMessage": error.original_message,
            "LogStreamArn": error.log_stream_arn,
        }
    # Without a service it may be a browser, and a browser displays no content type that it does not know.
    content_type = JSON_1_1 if service else "application/json"
    return HttpResponse(error.status, headers | {"content-type": content_type}, json.dumps(document).encode())


def _send(environ: WSGIEnvironment, start_response: StartResponse, response: HttpResponse) -> Iterable[bytes]:
    request_id = str(uuid.uuid4())
    headers = {"x-amzn-requestid": request_id, "x-amz-request-id": request_id, **response.headers}
    body = response.body
    if isinstance(body, bytes):
        headers.setdefault("content-length", str(len(body)))
    status = f"{response.status} {HTTPStatus(response.status).phrase}"
    start_response(status, list(headers.items()))
    if not isinstance(body, bytes):
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](body, BLOCK_BYTES)
        return wrapped
    return [] if environ["REQUEST_METHOD"] == "HEAD" or not body else [body]
