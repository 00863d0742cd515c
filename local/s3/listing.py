"""S3's listings: pages of keys and common prefixes."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote
from xml.sax.saxutils import escape

from local.s3.metadata import Identity, Object
from local.s3.objects import Objects
from local.s3.xml import Xml, document, element, iso_time, whose
from local.wire import texts
from local.wire.errors import ServiceError
from local.wire.http import HttpResponse

KEYS_MAX = 1000


@dataclass(frozen=True)
class _Page:
    """Objects and, as strings, common prefixes."""

    entries: list[Object | str]
    etags: Mapping[Identity, str]
    last: str  # the last key or prefix, if more follow
    encode: Callable[[str], str]
    head: dict[str, str]  # elements of every listing

    def answer(self, root: str, own: Mapping[str, str], name: str, rest: str = "") -> HttpResponse:
        """The document.

        Args:
            own: further elements; empty ones are left out, except a marker.
            name: the element of an object.
            rest: its further content.
        """
        always = {"Prefix", "Marker", "KeyMarker"}
        return document(
            root,
            *(element(key, text) for key, text in {**self.head, **own}.items() if text or key in always),
            *self._objects(name, rest),
            *(
                element("CommonPrefixes", element("Prefix", self.encode(item)))
                for item in self.entries
                if isinstance(item, str)
            ),
        )

    def _objects(self, name: str, rest: str) -> Iterator[Xml]:
        """The objects' elements, without objects deleted since the folder was read (they have no ETag).

        The same text as from `element`, but faster: a listing has many.
        """
        objects = [item for item in self.entries if isinstance(item, Object)]
        keys = "".join(item.key for item in objects)
        encode = str if self.encode(keys) == keys else self.encode
        for item in objects:
            etag = item.etag if item.identity is None else self.etags.get(item.identity)
            if etag is not None:
                yield (
                    f"<{name}><Key>{encode(item.key)}</Key><Size>{item.size}</Size>"
                    f"<LastModified>{iso_time(item.modified)}</LastModified><ETag>{etag}</ETag>{rest}</{name}>"
                )


def list_objects(objects: Objects, bucket: str, query: Mapping[str, str]) -> HttpResponse:
    """The answer to ListObjectsV2 or, without list-type=2, to ListObjects."""
    second = query.get("list-type") == "2"
    after = (token_of(query) or query.get("start-after", "")) if second else query.get("marker", "")
    page = _page(objects, bucket, query, after)
    if second:
        own = {
            "KeyCount": str(len(page.entries)),
            "ContinuationToken": escape(query.get("continuation-token", "")),
            "NextContinuationToken": as_token(page.last),
            "StartAfter": page.encode(query.get("start-after", "")),
        }
        owners = ["Owner"] if query.get("fetch-owner") == "true" else []
    else:
        # "Returned only if you have the delimiter request parameter specified" (API reference, NextMarker).
        last = page.last if query.get("delimiter") else ""
        own = {"Marker": page.encode(after), "NextMarker": page.encode(last)}
        owners = ["Owner"]
    return page.answer("ListBucketResult", own, "Contents", whose(*owners))


def list_versions(objects: Objects, bucket: str, query: Mapping[str, str]) -> HttpResponse:
    """The answer to ListObjectVersions: without versioning each object has one, with the id null."""
    after = query.get("key-marker", "")
    page = _page(objects, bucket, query, after)
    own = {
        "KeyMarker": page.encode(after),
        "NextKeyMarker": page.encode(page.last),
        "NextVersionIdMarker": "null" if page.last else "",
    }
    latest = element("VersionId", "null") + element("IsLatest", "true") + whose("Owner")
    return page.answer("ListVersionsResult", own, "Version", latest)


def _page(objects: Objects, bucket: str, query: Mapping[str, str], after: str) -> _Page:
    """The page of a listing after a key."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    limit = min(whole_number(query, "max-keys", KEYS_MAX), KEYS_MAX)
    encode = quote if query.get("encoding-type") == "url" else escape
    objects.require_bucket(bucket)
    entries = list(itertools.islice(_entries(objects, bucket, prefix, delimiter, after), limit + 1))
    more = len(entries) > limit > 0
    del entries[limit:]
    last = (entries[-1] if isinstance(entries[-1], str) else entries[-1].key) if more else ""
    head = {
        "Name": bucket,
        "Prefix": encode(prefix),
        "Delimiter": encode(delimiter),
        "EncodingType": query.get("encoding-type", ""),
        "MaxKeys": str(limit),
        "IsTruncated": str(more).lower(),
    }
    files = [item.identity for item in entries if isinstance(item, Object) and item.identity is not None]
    return _Page(entries, objects.etags.of_all(files), last, encode, head)


def _entries(
    objects: Objects, bucket: str, prefix: str, delimiter: str, after: str
) -> Iterator[Object | str]:
    """Objects and, as strings, the common prefixes up to the delimiter, in key order."""
    if not delimiter:
        yield from objects.list(bucket, prefix, after)
        return
    last = after
    for found in objects.list(bucket, prefix, after, grouped=delimiter == "/"):
        at = found.key.find(delimiter, len(prefix))
        if at < 0:
            yield found
        elif (group := found.key[: at + len(delimiter)]) > last:
            last = group
            yield group


def as_token(key: str) -> str:
    """The continuation token of a page that ends with this key, prefix or name."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def token_of(query: Mapping[str, str]) -> str:
    """The key, prefix or name in the request's continuation token; "" without one."""
    try:
        return base64.urlsafe_b64decode(query.get("continuation-token", "")).decode()
    except ValueError:
        raise ServiceError("InvalidArgument", "The continuation token provided is incorrect") from None


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    """A query parameter that is a whole number, 0 or more."""
    text = query.get(name, str(default))
    try:
        return texts.whole_number(text)
    except ValueError as error:
        raise ServiceError("InvalidArgument", f"{name}: {error}") from None
