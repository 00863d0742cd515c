"""S3's listings: pages of keys and common prefixes."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Mapping
from urllib.parse import quote
from xml.sax.saxutils import escape

from local.s3.metadata import Object
from local.s3.objects import Objects
from local.s3.xml import document, element, stamp
from local.wire.errors import ServiceError
from local.wire.http import HttpResponse

KEYS_MAX = 1000


def list_objects(objects: Objects, bucket: str, query: Mapping[str, str]) -> HttpResponse:
    """The answer to ListObjectsV2 or, without list-type=2, to ListObjects."""
    second = query.get("list-type") == "2"
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = (token_of(query) or query.get("start-after", "")) if second else query.get("marker", "")
    limit = min(whole_number(query, "max-keys", KEYS_MAX), KEYS_MAX)
    encode = quote if query.get("encoding-type") == "url" else escape
    objects.require_bucket(bucket)
    page = list(itertools.islice(_entries(objects, bucket, prefix, delimiter, after), limit + 1))
    more = len(page) > limit > 0
    del page[limit:]
    last = (page[-1] if isinstance(page[-1], str) else page[-1].key) if more else ""
    said = {
        "Name": bucket,
        "Prefix": encode(prefix),
        "Delimiter": encode(delimiter),
        "EncodingType": query.get("encoding-type", ""),
        "MaxKeys": str(limit),
        "IsTruncated": str(more).lower(),
    }
    if second:
        said |= {
            "KeyCount": str(len(page)),
            "ContinuationToken": escape(query.get("continuation-token", "")),
            "NextContinuationToken": as_token(last),
            "StartAfter": encode(query.get("start-after", "")),
        }
    else:
        said |= {"Marker": encode(after), "NextMarker": encode(last)}
    return document(
        "ListBucketResult",
        *(element(name, text) for name, text in said.items() if text or name in {"Prefix", "Marker"}),
        *(
            element("Contents", element("Key", encode(item.key)) + element("Size", item.size) + stamp(item))
            for item in page
            if isinstance(item, Object) and _still_there(item)
        ),
        *(
            element("CommonPrefixes", element("Prefix", encode(item)))
            for item in page
            if isinstance(item, str)
        ),
    )


def list_versions(objects: Objects, bucket: str, query: Mapping[str, str]) -> HttpResponse:
    """The answer to ListObjectVersions: without versioning each object has one, whose id is null."""
    prefix, delimiter, after = (
        query.get("prefix", ""),
        query.get("delimiter", ""),
        query.get("key-marker", ""),
    )
    limit = min(whole_number(query, "max-keys", KEYS_MAX), KEYS_MAX)
    encode = quote if query.get("encoding-type") == "url" else escape
    objects.require_bucket(bucket)
    page = list(itertools.islice(_entries(objects, bucket, prefix, delimiter, after), limit + 1))
    more = len(page) > limit > 0
    del page[limit:]
    last = (page[-1] if isinstance(page[-1], str) else page[-1].key) if more else ""
    said = {
        "Name": bucket,
        "Prefix": encode(prefix),
        "KeyMarker": encode(after),
        "Delimiter": encode(delimiter),
        "EncodingType": query.get("encoding-type", ""),
        "MaxKeys": str(limit),
        "IsTruncated": str(more).lower(),
        "NextKeyMarker": encode(last),
        "NextVersionIdMarker": "null" if more else "",
    }
    latest = element("VersionId", "null") + element("IsLatest", "true") + element("StorageClass", "STANDARD")
    return document(
        "ListVersionsResult",
        *(element(name, text) for name, text in said.items() if text or name in {"Prefix", "KeyMarker"}),
        *(
            element(
                "Version",
                element("Key", encode(item.key)) + element("Size", item.size) + latest + stamp(item),
            )
            for item in page
            if isinstance(item, Object) and _still_there(item)
        ),
        *(
            element("CommonPrefixes", element("Prefix", encode(item)))
            for item in page
            if isinstance(item, str)
        ),
    )


def _entries(
    objects: Objects, bucket: str, prefix: str, delimiter: str, after: str
) -> Iterator[Object | str]:
    """Objects and, as strings, the common prefixes up to the delimiter, in one order."""
    last = after
    for found in objects.list(bucket, prefix, after, grouped=delimiter == "/"):
        at = found.key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            yield found
        elif (group := found.key[: at + len(delimiter)]) > last:
            last = group
            yield group


def _still_there(item: Object) -> bool:
    """Whether the object has an ETag; one that was deleted since the folder was read has none."""
    try:
        return bool(item.etag)
    except ServiceError:
        return False


def as_token(key: str) -> str:
    """The continuation token of a page that ends with this key, prefix or name."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def token_of(query: Mapping[str, str]) -> str:
    """What the request's continuation token stands for; "" without one."""
    try:
        return base64.urlsafe_b64decode(query.get("continuation-token", "")).decode()
    except ValueError:
        raise ServiceError("InvalidArgument", "The continuation token provided is incorrect") from None


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    """A query parameter from 0."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise ServiceError("InvalidArgument", f"{name} is {text!r}; expected a whole number from 0")
    return int(text)
