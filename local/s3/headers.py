"""The meaning of an S3 request's headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from local.s3.metadata import CONTENT_TYPE, Object
from local.wire.errors import ServiceError
from local.wire.http import HttpRequest
from local.wire.texts import DIGITS_MAX

KEPT = frozenset(
    {CONTENT_TYPE, "content-disposition", "content-encoding", "content-language", "cache-control", "expires"}
)
METADATA = "x-amz-meta-"
# RFC 9110, 5.1 and 5.5; HTTP servers, including WSGI, write Latin-1.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD = re.compile(r"[\t -~\xa0-\xff]*")
REFUSED = (
    "x-amz-object-lock-",
    "x-amz-server-side-encryption-customer-",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
)


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are stored with an object."""
    kept = {name: value for name, value in headers.items() if name in KEPT or name.startswith(METADATA)}
    codings = [coding.strip() for coding in kept.pop("content-encoding", "").split(",")]
    if own := ",".join(coding for coding in codings if coding not in {"", "aws-chunked"}):
        kept["content-encoding"] = own
    # HTTP clients send an empty one if their caller gave none.
    kept = {name: value for name, value in kept.items() if value or name.startswith(METADATA)}
    refuse_unsendable(kept)
    return kept


def refuse_unsendable(headers: Mapping[str, str]) -> None:
    """Refuse values that no response header can have: a line break would begin another header.

    For values from a form or a query; a request's own headers cannot contain such values.

    Raises:
        ServiceError: InvalidArgument.
    """
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _FIELD.fullmatch(value):
            raise ServiceError("InvalidArgument", f"{name!a}: {value[:100]!a} is not a valid header value")


def refuse_headers(headers: Mapping[str, str], also: tuple[str, ...] = ()) -> None:
    """Refuse headers that must not be ignored (NotImplemented), and those that begin with `also`."""
    for name in headers:
        if name.startswith(REFUSED + also):
            raise ServiceError("NotImplemented", f"The local S3 does not support the header {name}", 501)


def only_new(request: HttpRequest) -> bool:
    """Whether the write must not replace an object (If-None-Match: *)."""
    if "if-match" in request.headers:
        raise ServiceError("NotImplemented", "The local S3 has no If-Match for writes", 501)
    if request.headers.get("if-none-match", "*") != "*":
        raise ServiceError("NotImplemented", "If-None-Match of a write can only be '*'", 501)
    return "if-none-match" in request.headers


def copy_source(request: HttpRequest) -> tuple[str, str]:
    """Bucket and key of the header x-amz-copy-source."""
    path, _, version = request.headers["x-amz-copy-source"].partition("?")
    if version:
        raise ServiceError("NotImplemented", "The local S3 keeps no versions", 501)
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    if not bucket or not key:
        raise ServiceError("InvalidArgument", "The copy source must be of the form bucket/key")
    return bucket, key


def check_conditions(headers: Mapping[str, str], prefix: str, found: Object) -> None:
    """Check If-Match and similar headers, or a copy source's with their `prefix`.

    Raises:
        ServiceError: PreconditionFailed (412), NotModified (304, for a read).
    """
    match, none_match, modified_since, unmodified_since = (
        headers.get(f"{prefix}if-{name}")
        for name in ("match", "none-match", "modified-since", "unmodified-since")
    )
    changed = int(found.modified)
    if match is not None:
        failed = not _matches(match, found)
    else:
        failed = unmodified_since is not None and changed > _seconds(unmodified_since)
    if failed:
        raise ServiceError("PreconditionFailed", "At least one of the preconditions did not hold", 412)
    if none_match is not None:
        same = _matches(none_match, found)
    else:
        same = modified_since is not None and changed <= _seconds(modified_since)
    if same:
        raise ServiceError("PreconditionFailed" if prefix else "NotModified", "Same", 412 if prefix else 304)


def _matches(value: str, found: Object) -> bool:
    return any(tag.strip() in {"*", found.etag, found.etag.strip('"')} for tag in value.split(","))


def _seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise ServiceError("InvalidArgument", f"{date!r} is not an HTTP date") from None


def byte_range(value: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a Range header; None for the whole object.

    Raises:
        ServiceError: InvalidRange, no byte of the object is in it.
    """
    match = re.fullmatch(rf"bytes=([0-9]{{0,{DIGITS_MAX}}})-([0-9]{{0,{DIGITS_MAX}}})", value)
    if match is None or value == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise ServiceError("InvalidRange", f"The object has {size} bytes; {value} is outside", 416)
    return start, stop


def is_form(request: HttpRequest) -> bool:
    """Whether the request is a form for a bucket, with the signature in its fields."""
    content_type = request.headers.get("content-type", "").lower()
    bucket_alone = "/" not in request.path[1:]
    return request.method == "POST" and content_type.startswith("multipart/form-data") and bucket_alone
