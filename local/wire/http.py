"""The request and the response that the server and the services exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request; `path` and `query` are decoded, header names are lower-case.

    `target` is path and query as sent, still encoded: the signed text.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: BinaryIO
    target: str = ""


@dataclass(frozen=True)
class HttpResponse:
    """One HTTP answer; a file is sent from its current position, up to the Content-Length, then closed."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BinaryIO = b""
