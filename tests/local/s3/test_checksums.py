"""The bytes of an upload: their checksums, and bodies that are aws-chunked."""

import pytest

from tests.local.s3.buckets import code, keys, raw


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_checked(s3, home, algorithm):
    answer = s3.put_object(Bucket="pictures", Key="a", Body=b"x", ChecksumAlgorithm=algorithm)
    name = f"Checksum{algorithm}"
    wrong = s3.put_object(Bucket="pictures", Key="b", Body=b"y", ChecksumAlgorithm=algorithm)[name]
    assert answer[name] != wrong
    assert code(s3.put_object, Bucket="pictures", Key="a", Body=b"z", **{name: wrong}) == "BadDigest"
    assert s3.get_object(Bucket="pictures", Key="a")["Body"].read() == b"x"
    assert not list(home.s3.glob(".temporary/*"))


CHUNKED = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding": "aws-chunked"}


def test_aws_chunked_bodies_are_decoded(s3, server):
    body = b"4;chunk-signature=0\r\nabcd\r\n2\r\n\r\n\r\n0\r\n\r\n"
    sent = {**CHUNKED, "x-amz-decoded-content-length": "6"}
    assert raw(server, "PUT", "/pictures/a", body, sent)[0] == 200
    found = s3.get_object(Bucket="pictures", Key="a")
    assert found["Body"].read() == b"abcd\r\n"
    assert "ContentEncoding" not in found


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n", None),
        (b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", b"BadDigest"),
        (b"3\r\nabc\r\n0\r\n\r\n", b"BadDigest"),
        (b"3\r\nab", b"IncompleteBody"),
        (b"3\r\nabcd\r\n0\r\n\r\n", b"IncompleteBody"),
        (b"2\r\nab\r\n0\r\nx-amz-checksum-crc32:nghoWw==\r\n\r\n", b"IncompleteBody"),
        (b"", b"IncompleteBody"),
    ],
)
def test_trailers_are_checked(s3, server, body, expected):
    sent = {**CHUNKED, "x-amz-decoded-content-length": "3", "x-amz-trailer": "x-amz-checksum-crc32"}
    status, answer = raw(server, "PUT", "/pictures/a", body, sent)
    assert status == (400 if expected else 200)
    assert (expected or b"") in answer
    assert keys(s3) == ([] if expected else ["a"])
