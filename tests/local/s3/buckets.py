"""Helpers of S3's tests for the bucket `pictures`, which the fixture `s3` makes."""

import contextlib
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.home.home import Home
from local.server import Server

AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, Signature=0"
MIB = 1 << 20


def put(s3: Any, *keys: str, body: bytes = b"x") -> None:
    for key in keys:
        s3.put_object(Bucket="pictures", Key=key, Body=body)


def keys(s3: Any, **arguments: Any) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="pictures", **arguments)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def code(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    """The code of the call's error."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **keywords)
    return caught.value.response["Error"]["Code"]


def raw(
    server: Server, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """The status and body of the answer to a request that boto3 does not send."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Authorization": AUTHORIZATION} | (headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()


def files(home: Home) -> list[str]:
    """All files under the bucket's folder, and the objects' files outside it."""
    beside = [*home.s3.glob(".temporary/*"), *home.s3.glob(".headers/*/*"), *home.s3.glob(".uploads/*")]
    return sorted(str(path.relative_to(home.s3)) for path in [*home.s3.glob("pictures/**/*"), *beside])
