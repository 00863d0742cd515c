"""Presigned URLs and forms: their signature, and whether they are still valid.

Both are checked with the keys that the service gives its jobs; it knows no others. A request with its
signature in a header is not checked: any credentials work.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import HmacV1Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.wire.clients import ACCESS_KEY, SECRET_KEY
from local.wire.errors import ServiceError
from local.wire.http import HttpRequest
from local.wire.texts import whole_number

# Codes and words are S3's, as its clients report them; the parameters' values: API reference,
# "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
_PARAMETERS = (
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)  # fmt: skip
_LONGEST_S = 604_800
_SKEW_S = 15 * 60
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided."
    " Check your key and signing method."
)


def check_url(request: HttpRequest) -> None:
    """Check the signature of a presigned URL; any other request passes.

    Raises:
        ServiceError: AccessDenied (expired, not yet valid), SignatureDoesNotMatch, InvalidAccessKeyId,
            AuthorizationQueryParametersError.
    """
    if "authorization" in request.headers:
        return
    if any(name in request.query for name in _PARAMETERS):
        _check_version_4(request)
    elif {"AWSAccessKeyId", "Signature"} & request.query.keys():
        _check_version_2(request)


def _check_version_4(request: HttpRequest) -> None:
    query = request.query
    if any(name not in query for name in _PARAMETERS):
        *others, last = _PARAMETERS
        raise _malformed(
            f"Query-string authentication version 4 requires the {', '.join(others)}, and {last} parameters."
        )
    if query["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        raise _malformed('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"')
    signed_at = _signing_time(query["X-Amz-Date"])
    expires_s = _lifetime(query["X-Amz-Expires"])
    if time.time() < signed_at - _SKEW_S:
        raise ServiceError("AccessDenied", "Request is not valid yet", 403)
    _refuse_expired(signed_at + expires_s)
    scope = _scope(query["X-Amz-Credential"], query["X-Amz-Date"])
    signed = query["X-Amz-SignedHeaders"].lower().split(";")
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in signed]
    if "host" not in signed or unsigned:
        raise ServiceError(
            "AccessDenied", "There were headers present in the request which were not signed", 403
        )
    headers = {name: request.headers[name] for name in signed if name in request.headers}
    path, parameters = _sent(request)
    kept = "&".join(pair for pair in parameters if not pair.startswith("X-Amz-Signature="))
    host = request.headers.get("host", "")
    rebuilt = AWSRequest(method=request.method, url=f"http://{host}{path}?{kept}", headers=headers)
    rebuilt.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(_CREDENTIALS, scope[-2], scope[-3], expires_s)
    text = auth.string_to_sign(rebuilt, auth.canonical_request(rebuilt))
    _compare(auth.signature(text, rebuilt), query["X-Amz-Signature"])


def _check_version_2(request: HttpRequest) -> None:
    query = request.query
    if not {"AWSAccessKeyId", "Signature", "Expires"} <= query.keys():
        raise ServiceError(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            403,
        )
    try:
        expires = whole_number(query["Expires"])
    except ValueError:
        message = f"Invalid date (should be seconds since epoch): {query['Expires']}"
        raise ServiceError("AccessDenied", message, 403) from None
    _refuse_expired(expires)
    _require_key(query["AWSAccessKeyId"])
    # Headers may have become parameters, which then count as headers.
    headers = dict(_version_2_headers(query)) | dict(_version_2_headers(request.headers))
    path, parameters = _sent(request)
    host = request.headers.get("host", "").partition(":")[0].lower()
    bucket = host.removesuffix(".localhost")
    resource = path if bucket == host else f"/{bucket}{path}"
    rebuilt = AWSRequest(method=request.method, url=f"http://{host}{path}", headers=headers)
    split = urlsplit(f"http://{host}{path}?{'&'.join(parameters)}")
    auth = _Expiring(query["Expires"])
    headers_to_sign: Any = rebuilt.headers
    # For a bucket alone botocore signs a path with a final slash, which it does not send.
    paths = {resource, f"{resource}/"} if "/" not in resource[1:] else {resource}
    signatures = [auth.get_signature(request.method, split, headers_to_sign, auth_path=it) for it in paths]
    if query["Signature"] not in signatures:
        raise ServiceError("SignatureDoesNotMatch", _MISMATCH, 403)


class _Expiring(HmacV1Auth):
    """Signature version 2 of a URL; its expiry time is in the place of a header signature's date."""

    def __init__(self, expires: str) -> None:
        super().__init__(_CREDENTIALS)
        self._expires = expires

    def _get_date(self) -> str:
        return self._expires


def check_form(fields: Mapping[str, str]) -> None:
    """Check the signature (version 4 or 2) of a form's policy; names in lower case.

    Raises:
        ServiceError: AccessDenied (no policy), InvalidArgument, InvalidAccessKeyId, SignatureDoesNotMatch.
    """
    if "policy" not in fields:
        raise ServiceError("AccessDenied", "Access Denied: the form has no policy before its file", 403)
    policy = fields["policy"]
    version_4 = ("x-amz-credential", "x-amz-date", "x-amz-signature")
    wanted = ("awsaccesskeyid", "signature") if "awsaccesskeyid" in fields else version_4
    for name in wanted:
        if name not in fields:
            raise ServiceError(
                "InvalidArgument",
                f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the"
                " order of the fields.",
            )
    if wanted == version_4:
        scope = _scope(fields["x-amz-credential"], fields["x-amz-date"])
        request = AWSRequest()
        request.context["timestamp"] = fields["x-amz-date"]
        auth = S3SigV4QueryAuth(_CREDENTIALS, scope[-2], scope[-3])
        _compare(auth.signature(policy, request), fields["x-amz-signature"])
    else:
        _require_key(fields["awsaccesskeyid"])
        _compare(HmacV1Auth(_CREDENTIALS).sign_string(policy), fields["signature"])


_CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)


def _sent(request: HttpRequest) -> tuple[str, list[str]]:
    """Path and parameters as sent, still encoded."""
    path, _, query = request.target.partition("?")
    return path, query.split("&")


def _version_2_headers(names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in names.items():
        if name.lower().startswith("x-amz-") or name.lower() in ("content-md5", "content-type"):
            yield name.lower(), value


def _signing_time(date: str) -> float:
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"") from None


def _lifetime(text: str) -> int:
    try:
        seconds = int(text)
    except ValueError:
        raise _malformed("X-Amz-Expires should be a number") from None
    if seconds < 0:
        raise _malformed("X-Amz-Expires must be non-negative")
    if seconds > _LONGEST_S:
        raise _malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be"
            f" less than {_LONGEST_S} seconds"
        )
    return seconds


def _refuse_expired(expires: float) -> None:
    if time.time() > expires:
        raise ServiceError("AccessDenied", "Request has expired", 403)


def _scope(credential: str, date: str) -> list[str]:
    """The parts of <key>/<date>/<region>/<service>/aws4_request."""
    scope = credential.split("/")
    if len(scope) < 5 or scope[-1] != "aws4_request" or scope[-2] != "s3":
        raise _malformed(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    if scope[-4] != date[:8]:
        raise _malformed(
            f'Invalid credential date "{scope[-4]}". This date is not the same as X-Amz-Date: "{date[:8]}".'
        )
    _require_key("/".join(scope[:-4]))
    return scope


def _require_key(access_key: str) -> None:
    if access_key != ACCESS_KEY:
        raise ServiceError(
            "InvalidAccessKeyId",
            f"The AWS Access Key Id you provided does not exist in our records: {access_key}. Presigned URLs"
            " and forms are checked with the local service's own keys; sign with"
            f" AWS_ACCESS_KEY_ID={ACCESS_KEY}"
            f" and AWS_SECRET_ACCESS_KEY={SECRET_KEY}",
            403,
        )


def _compare(calculated: str, provided: str) -> None:
    if not hmac.compare_digest(calculated.encode(), provided.encode("utf-8", "surrogatepass")):
        raise ServiceError("SignatureDoesNotMatch", _MISMATCH, 403)


def _malformed(message: str) -> ServiceError:
    return ServiceError("AuthorizationQueryParametersError", message)
