"""S3 as files, spoken to by boto3 over HTTP."""

import contextlib
import os
from http.client import HTTPConnection

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, Signature=0"
MIB = 1 << 20


@pytest.fixture
def s3(client):
    s3 = client("s3")
    s3.create_bucket(Bucket="pictures")
    return s3


def put(s3, *keys, body=b"x"):
    for key in keys:
        s3.put_object(Bucket="pictures", Key=key, Body=body)


def keys(s3, **arguments):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="pictures", **arguments)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def code(call, *arguments, **keywords):
    """The code of the error that the call answers."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **keywords)
    return caught.value.response["Error"]["Code"]


def raw(server, method, path, body=b"", headers=None):
    connection = HTTPConnection(server.url.removeprefix("http://"))
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Authorization": AUTHORIZATION} | (headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()


def files(home):
    """Everything under the bucket's folder, and what the objects left beside it."""
    beside = [*home.s3.glob(".temporary/*"), *home.s3.glob(".headers/*/*"), *home.s3.glob(".uploads/*")]
    return sorted(str(path.relative_to(home.s3)) for path in [*home.s3.glob("pictures/**/*"), *beside])


def test_an_object_is_an_ordinary_file(s3, home):
    put(s3, "raw/cats/1.png", body=b"meow")
    path = home.object_path("s3://pictures/raw/cats/1.png")
    assert path.read_bytes() == b"meow"
    assert files(home) == ["pictures/raw", "pictures/raw/cats", "pictures/raw/cats/1.png"]


def test_a_hard_link_to_an_object_never_changes(s3, home, tmp_path):
    put(s3, "a", body=b"old")
    os.link(home.object_path("s3://pictures/a"), tmp_path / "link")
    put(s3, "a", body=b"new")
    assert (tmp_path / "link").read_bytes() == b"old"


def test_etag_is_stable_and_changes_with_the_content(s3):
    first = s3.put_object(Bucket="pictures", Key="a", Body=b"1")["ETag"]
    assert s3.head_object(Bucket="pictures", Key="a")["ETag"] == first
    assert s3.get_object(Bucket="pictures", Key="a")["ETag"] == first
    assert s3.list_objects_v2(Bucket="pictures")["Contents"][0]["ETag"] == first
    assert s3.put_object(Bucket="pictures", Key="a", Body=b"2")["ETag"] != first


def test_transfer_in_parts_and_ranges(s3, home, tmp_path):
    content = os.urandom(11 * MIB + 17)
    (tmp_path / "big").write_bytes(content)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_file(
        str(tmp_path / "big"), "pictures", "big.bin", Config=config, ExtraArgs={"Metadata": {"a": "b"}}
    )
    assert home.object_path("s3://pictures/big.bin").read_bytes() == content
    assert s3.head_object(Bucket="pictures", Key="big.bin")["Metadata"] == {"a": "b"}
    s3.copy({"Bucket": "pictures", "Key": "big.bin"}, "pictures", "copy.bin", Config=config)
    s3.download_file("pictures", "copy.bin", str(tmp_path / "back"), Config=config)
    assert (tmp_path / "back").read_bytes() == content
    assert not list(home.s3.glob(".uploads/*"))
    assert not list(home.s3.glob(".temporary/*"))
