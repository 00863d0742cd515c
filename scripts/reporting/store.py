"""S3 for a report: a missing object becomes a sentence, not an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from scripts.reporting.parts import Missing

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

T = TypeVar("T")

THREADS = 8
_ABSENT = {"NoSuchKey", "NoSuchBucket", "404", "InvalidRange"}
_REFUSED = {"AccessDenied", "403", "InvalidObjectState"}


class Unavailable(Exception):
    """The source of a part cannot be read; the message is the sentence to show instead."""


def part(read: Callable[[], T]) -> T | Missing:
    """What `read` returns, or why it fails."""
    try:
        return read()
    except Unavailable as reason:
        return Missing(str(reason))


class Store:
    """Reads s3:// URIs. Each method raises Unavailable, or ClientError if S3 refuses everything."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    def read(self, uri: str, start: int = 0, length: int | None = None) -> bytes:
        """An object's bytes, or `length` of them."""
        last = "" if length is None else start + length - 1
        given = {"Range": f"bytes={start}-{last}"} if start or length is not None else {}
        body, _ = self.open(uri, **given)
        with body:
            content: bytes = body.read()
        return content

    def open(self, uri: str, **given: str) -> tuple[Any, int]:
        """An object's body, to be read as a stream, and its length in bytes."""
        bucket, key = _split(uri)
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key, **given)  # type: ignore[arg-type]
        except ClientError as error:
            raise _unavailable(error, uri) from error
        return answer["Body"], answer["ContentLength"]

    def read_json(self, uri: str, **options: Any) -> Any:
        """An object's JSON; `options` go to json.loads."""
        try:
            return json.loads(self.read(uri), **options)
        except ValueError as error:
            raise Unavailable(f"{uri} is not JSON ({error}); its upload may be incomplete.") from error

    def list(self, uri: str, limit: int | None = None) -> list[tuple[str, int]]:
        """URI and size of at most `limit` objects below a prefix, in S3's order."""
        bucket, prefix = _split(uri.rstrip("/") + "/")
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, PaginationConfig={"MaxItems": limit} if limit else {}
        )
        try:
            return [
                (f"s3://{bucket}/{item['Key']}", item["Size"])
                for page in pages
                for item in page.get("Contents", [])
            ]
        except ClientError as error:
            raise _unavailable(error, uri) from error


def parallel(work: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
    """The results of `work` for each item, in order, computed in parallel."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, items))


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly spaced, including the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _unavailable(error: ClientError, uri: str) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _ABSENT:
        return Unavailable(f"{uri} is not in S3: it was never uploaded, or has been deleted.")
    if code in _REFUSED:
        return Unavailable(f"S3 refuses {uri} ({code}); check what the credentials in use may read.")
    return error
