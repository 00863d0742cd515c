"""S3's XML: the documents that it answers and those that it reads."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from datetime import UTC, datetime
from typing import Protocol
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from local.home.home import ACCOUNT
from local.s3.checksums import receive
from local.wire.errors import ServiceError
from local.wire.http import HttpRequest, HttpResponse
from local.wire.region import WrongRegion

Xml = str
# XML 1.0, 2.2: impossible in a document, even escaped. So botocore asks for URL-encoded keys.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Stamped(Protocol):
    @property
    def modified(self) -> float: ...
    @property
    def etag(self) -> str: ...


def element(name: str, content: object) -> Xml:
    """An element around XML or a number."""
    return f"<{name}>{content}</{name}>"


def stamp(item: _Stamped) -> Xml:
    """The elements LastModified and ETag."""
    return element("LastModified", iso_time(item.modified)) + element("ETag", escape(item.etag))


def whose(*names: str) -> Xml:
    """Elements such as Owner (the one account) and StorageClass (the only one)."""
    return "".join(element(name, element("ID", ACCOUNT)) for name in names) + element(
        "StorageClass", "STANDARD"
    )


def iso_time(seconds: float) -> Xml:
    """Unix seconds as S3 writes them: whole, as in the header Last-Modified."""
    return _iso_time(int(seconds))


@functools.lru_cache(maxsize=1024)  # the objects of a page often have few
def _iso_time(seconds: int) -> Xml:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def document(name: str, *content: Xml) -> HttpResponse:
    """The answer whose root element is `name`."""
    held = "".join(content)
    if not (held.isascii() and held.isprintable()):  # this takes a hundredth of the time
        held = _NOT_XML.sub("\ufffd", held)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{element(name, held)}'
    return HttpResponse(headers={"content-type": "application/xml"}, body=text.encode())


def error_document(error: ServiceError, resource: str) -> HttpResponse:
    """The error as S3 writes it; 304 (not modified) has no document."""
    if error.status == 304:
        return HttpResponse(304)
    region = error.region if isinstance(error, WrongRegion) else None
    answer = document(
        "Error",
        element("Code", error.code),
        element("Message", escape(error.message)),
        element("Resource", escape(resource)),
        *([element("Region", region)] if region else []),
    )
    headers = {**answer.headers, **({"x-amz-bucket-region": region} if region else {})}
    return dataclasses.replace(answer, status=error.status, headers=headers)


def read_xml(request: HttpRequest) -> ElementTree.Element:
    """The root of the document in the body; an empty one for an empty body."""
    body = io.BytesIO()
    receive(request, body)
    try:
        return ElementTree.fromstring(body.getvalue() or b"<Empty/>")
    except ElementTree.ParseError:
        raise ServiceError("MalformedXML", "The XML in the body of the request is not well-formed") from None


def texts_of(root: ElementTree.Element, name: str) -> list[str]:
    """The texts of all elements of that name, in any namespace."""
    return [found.text or "" for found in root.iterfind(f".//{{*}}{name}")]
