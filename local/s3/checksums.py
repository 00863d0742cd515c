"""The bytes of an upload, decoded from their transfer coding and checked."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from local.wire.errors import ServiceError
from local.wire.http import BLOCK_BYTES, HttpRequest

LINE_BYTES = 8192
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}")


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Sink(Protocol):
    def write(self, block: bytes, /) -> int: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


# CRC32C and CRC64NVME, which Python does not have, are not checked.
_DIGESTS: dict[str, Callable[[], _Digest]] = {
    "content-md5": lambda: hashlib.md5(usedforsecurity=False),
    "x-amz-checksum-crc32": _Crc32,
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}


def receive(request: HttpRequest, file: _Sink) -> dict[str, str]:
    """Copy the request's body into `file`, block by block.

    Returns:
        The x-amz-checksum-* headers that were checked.

    Raises:
        ServiceError: IncompleteBody, BadDigest.
    """
    expected = dict(request.headers)
    # A trailer's name is known at the start, its value only at the end.
    named = {*request.headers, *request.headers.get("x-amz-trailer", "").lower().split(",")}
    digests = {name: _DIGESTS[name]() for name in named & _DIGESTS.keys()}
    size = 0
    for block in _blocks(request, expected):
        size += len(block)
        file.write(block)
        for digest in digests.values():
            digest.update(block)
    length = expected.get("x-amz-decoded-content-length", str(size))
    if length != str(size):
        raise ServiceError("IncompleteBody", f"The body has {size} bytes; its headers say {length}")
    for name, digest in digests.items():
        value = base64.b64encode(digest.digest()).decode()
        if value != expected.get(name):
            raise ServiceError("BadDigest", f"{name} is {expected.get(name)}, but the body's is {value}")
    return {name: expected[name] for name in digests if name.startswith("x-amz-checksum-")}


def _blocks(request: HttpRequest, trailers: dict[str, str]) -> Iterator[bytes]:
    if request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return _chunks(request.body, trailers)
    return iter(lambda: request.body.read(BLOCK_BYTES), b"")


def _chunks(body: BinaryIO, trailers: dict[str, str]) -> Iterator[bytes]:
    """The content of an aws-chunked body (size in hex, extensions, content, ...); fills `trailers`."""
    while size := _chunk_size(body.readline(LINE_BYTES)):
        while size:
            block = body.read(min(size, BLOCK_BYTES))
            if not block:
                raise ServiceError("IncompleteBody", "The aws-chunked body ends within a chunk")
            size -= len(block)
            yield block
        if body.readline(LINE_BYTES) != b"\r\n":
            raise ServiceError("IncompleteBody", "A chunk of the aws-chunked body has no end")
    while line := body.readline(LINE_BYTES).strip():
        name, _, value = line.decode("latin-1").partition(":")
        trailers[name.strip().lower()] = value.strip()


def _chunk_size(line: bytes) -> int:
    size = line.partition(b";")[0].strip()
    if not _CHUNK_SIZE.fullmatch(size):  # no sign allowed: read() with a negative size reads everything
        raise ServiceError("IncompleteBody", "The aws-chunked body has a chunk without a size")
    return int(size, 16)
