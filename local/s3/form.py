"""POST of an object: a form with a signed policy; its last field is the file."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from local.s3 import presigned
from local.s3.etags import Hashed
from local.s3.metadata import Object
from local.s3.xml import document, element
from local.wire.errors import ServiceError
from local.wire.http import BLOCK_BYTES, HttpRequest, HttpResponse
from local.wire.texts import json_value, whole_number

# API reference, "POST Object": size of all that comes before the file.
FIELDS_BYTES_MAX = 20 << 10
# Fields that need no condition, like those that begin with x-ignore- ("Creating a POST policy").
_UNCONDITIONAL = frozenset({"x-amz-signature", "signature", "awsaccesskeyid", "file", "policy"})


def receive_form(request: HttpRequest, bucket: str, file: BinaryIO) -> tuple[dict[str, str], Hashed]:
    """Write the form's file to `file`, if its policy allows it.

    Returns:
        The fields by their names in lower case, `${filename}` replaced in the key; the file.

    Raises:
        ServiceError: the policy forbids it, the signature does not match, or the form is malformed.
    """
    _, options = parse_options_header(request.headers["content-type"])
    if not options.get("boundary"):
        raise _malformed("its Content-Type has no boundary")
    decoder = MultipartDecoder(options["boundary"].encode())
    try:
        fields, filename = _read_fields(decoder, request.body)
        if "key" not in fields:
            raise ServiceError("InvalidArgument", "Bucket POST must contain a field named 'key'.")
        fields["key"] = fields["key"].replace("${filename}", filename)
        presigned.check_form(fields)
        policy = _policy(fields["policy"])
        sizes = _check(policy, {**fields, "bucket": bucket})
        content = _read_file(decoder, request.body, file, sizes)
    except ValueError as error:  # werkzeug's error for a malformed form
        raise _malformed(str(error)) from None
    return fields, content


def _read_fields(decoder: MultipartDecoder, body: BinaryIO) -> tuple[dict[str, str], str]:
    """The fields before the file, and the file's name; whatever comes after the file is ignored."""
    fields: dict[str, str] = {}
    name, value = "", b""
    size = 0
    while True:
        event = decoder.next_event()
        if isinstance(event, NeedData):
            block = body.read(BLOCK_BYTES)
            decoder.receive_data(block or None)
        elif isinstance(event, File) or (isinstance(event, Field) and event.name == "file"):
            return fields, getattr(event, "filename", "")
        elif isinstance(event, Field):
            name, value = event.name.lower(), b""
        elif isinstance(event, Data):
            value += event.data
            size += len(event.data)
            if size > FIELDS_BYTES_MAX:
                raise ServiceError(
                    "MaxPostPreDataLengthExceededError",
                    "Your POST request fields preceding the upload file were too large.",
                )
            if not event.more_data:
                fields[name] = value.decode()
        elif isinstance(event, Epilogue):
            raise ServiceError("InvalidArgument", "POST requires exactly one file upload per request.")


def _read_file(decoder: MultipartDecoder, body: BinaryIO, file: BinaryIO, sizes: tuple[int, int]) -> Hashed:
    content = Hashed(file)
    size = 0
    more = True
    while more:
        event = decoder.next_event()
        if isinstance(event, NeedData):
            decoder.receive_data(body.read(BLOCK_BYTES) or None)
        elif isinstance(event, Data):
            size += content.write(event.data)
            more = event.more_data
            if size > sizes[1]:
                raise ServiceError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    if size < sizes[0]:
        raise ServiceError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return content


def _policy(text: str) -> dict[str, Any]:
    try:
        policy = json_value(base64.b64decode(text, validate=True))
    except ValueError:
        raise _invalid_policy("Invalid JSON.") from None
    if not isinstance(policy, dict) or not isinstance(policy.get("conditions"), list):
        raise _invalid_policy("Missing conditions.")
    return policy


def _check(policy: Mapping[str, Any], fields: Mapping[str, str]) -> tuple[int, int]:
    """Refuse fields that the policy forbids; return the smallest and the largest file size it allows."""
    try:
        expires = datetime.fromisoformat(policy["expiration"])
    except (KeyError, TypeError, ValueError):
        raise _invalid_policy("Invalid 'expiration' value") from None
    if datetime.now(UTC) > (expires if expires.tzinfo else expires.replace(tzinfo=UTC)):
        raise _forbidden("Policy expired.")
    named: set[str] = set()
    smallest, largest = 0, 5 << 30  # the most for one PUT or POST
    for condition in policy["conditions"]:
        for operator, name, value in _conditions(condition):
            if operator == "content-length-range":
                smallest, largest = max(smallest, name), min(largest, value)
                continue
            named.add(name)
            if not _met(operator, name, value, fields.get(name, "")):
                raise _forbidden(f"Policy Condition failed: {json.dumps(condition)}")
    extra = sorted(
        name for name in fields
        if name not in named | _UNCONDITIONAL and not name.startswith("x-ignore-")
    )  # fmt: skip
    if extra:
        raise _forbidden(f"Extra input fields: {', '.join(extra)}")
    return smallest, largest


def _conditions(condition: Any) -> list[tuple[str, Any, Any]]:
    """Operator, field and value of each condition; an object may have several."""
    if isinstance(condition, dict):
        return [("eq", name.lower(), str(value)) for name, value in condition.items()]
    if isinstance(condition, list) and len(condition) == 3 and isinstance(condition[0], str):
        operator, name, value = condition
        if operator == "content-length-range":
            with contextlib.suppress(ValueError):
                return [(operator, whole_number(str(name)), whole_number(str(value)))]
        if operator in ("eq", "starts-with") and isinstance(name, str) and name.startswith("$"):
            return [(operator, name[1:].lower(), str(value))]
    raise _invalid_policy(f"Invalid condition {json.dumps(condition)}")


def _met(operator: str, name: str, value: str, given: str) -> bool:
    if operator == "eq":
        return given == value
    # "Content-Types values for a starts-with condition that include commas are interpreted as lists."
    parts = given.split(",") if name == "content-type" else [given]
    return all(part.strip().startswith(value) for part in parts)


def answer(fields: Mapping[str, str], bucket: str, found: Object) -> HttpResponse:
    """The answer to the form's sender, by success_action_redirect or success_action_status."""
    etag = found.etag
    redirect = fields.get("success_action_redirect", fields.get("redirect", ""))
    # "If the URL cannot be interpreted, S3 acts as if the field is not present."
    if urlsplit(redirect).scheme in ("http", "https") and redirect.isascii() and redirect.isprintable():
        query = urlencode({"bucket": bucket, "key": found.key, "etag": etag})
        separator = "&" if urlsplit(redirect).query else "?"
        return HttpResponse(303, {"location": f"{redirect}{separator}{query}", "etag": etag})
    location = f"/{bucket}/{quote(found.key)}"
    headers = {"etag": etag, "location": location}
    if fields.get("success_action_status") != "201":
        return HttpResponse(200 if fields.get("success_action_status") == "200" else 204, headers)
    told = {"Location": location, "Bucket": bucket, "Key": found.key, "ETag": etag}
    created = document("PostResponse", *(element(name, escape(text)) for name, text in told.items()))
    return HttpResponse(201, {**created.headers, **headers}, created.body)


def _malformed(reason: str) -> ServiceError:
    return ServiceError(
        "MalformedPOSTRequest",
        f"The body of your POST request is not well-formed multipart/form-data: {reason}",
    )


def _invalid_policy(reason: str) -> ServiceError:
    return ServiceError("InvalidPolicyDocument", f"Invalid Policy: {reason}")


def _forbidden(reason: str) -> ServiceError:
    return ServiceError("AccessDenied", f"Invalid according to Policy: {reason}", 403)
