"""S3 as files, used by boto3 over HTTP."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from tests.local.s3.buckets import MIB, code, files, keys, put, raw


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


def test_content_type_and_metadata_are_kept_and_vanish_with_the_object(s3, home):
    plain = len(files(home))
    s3.put_object(Bucket="pictures", Key="a.png", ContentType="image/png")
    assert len(files(home)) == plain + 1
    metadata = {"source": "a camera", "camera_id": "7", "camera-id": "8"}
    s3.put_object(
        Bucket="pictures",
        Key="a.png",
        Body=b"x",
        ContentType="image/x-own",
        CacheControl="no-store",
        ContentEncoding="gzip",
        Metadata=metadata,
    )
    for found in (
        s3.head_object(Bucket="pictures", Key="a.png"),
        s3.get_object(Bucket="pictures", Key="a.png"),
    ):
        assert found["ContentType"] == "image/x-own"
        assert found["CacheControl"] == "no-store"
        assert found["ContentEncoding"] == "gzip"
        assert found["Metadata"] == metadata
    s3.copy_object(Bucket="pictures", Key="b.png", CopySource="pictures/a.png")
    assert s3.head_object(Bucket="pictures", Key="b.png")["Metadata"] == metadata
    s3.copy_object(
        Bucket="pictures",
        Key="b.png",
        CopySource="pictures/a.png",
        MetadataDirective="REPLACE",
        Metadata={"new": "1"},
    )
    found = s3.head_object(Bucket="pictures", Key="b.png")
    assert (found["Metadata"], found["ContentType"]) == ({"new": "1"}, "image/png")
    put(s3, "a.png")
    assert s3.head_object(Bucket="pictures", Key="a.png")["Metadata"] == {}
    s3.delete_object(Bucket="pictures", Key="b.png")
    assert files(home) == ["pictures/a.png"]


def test_metadata_does_not_outlive_a_file_that_another_program_replaced(s3, home, tmp_path):
    s3.put_object(Bucket="pictures", Key="a", Body=b"1", Metadata={"of": "the first"})
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "a").replace(home.object_path("s3://pictures/a"))
    found = s3.get_object(Bucket="pictures", Key="a")
    assert (found["Body"].read(), found["Metadata"]) == (b"2", {})


AWKWARD = [
    "a b/c d.png",
    "ключ/ä ö.png",
    "100%/+.png",
    "a&b<c>'\"",
    "a%20b",
    "~!*()",
    "x" * 255,
    "e" + "/é" * 300,
]


def test_awkward_keys_come_back_as_they_were(s3, home):
    for key in AWKWARD:
        put(s3, key, body=key.encode())
    assert keys(s3) == sorted(AWKWARD)
    for key in AWKWARD:
        assert s3.get_object(Bucket="pictures", Key=key)["Body"].read() == key.encode()
        assert home.object_path(f"s3://pictures/{key}").is_file()
        s3.copy_object(Bucket="pictures", Key="copy", CopySource={"Bucket": "pictures", "Key": key})
        assert s3.get_object(Bucket="pictures", Key="copy")["Body"].read() == key.encode()
    s3.delete_objects(Bucket="pictures", Delete={"Objects": [{"Key": key} for key in [*AWKWARD, "copy"]]})
    assert files(home) == []


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a//b", "InvalidRequest"),
        ("a/../b", "InvalidRequest"),
        ("..", "InvalidRequest"),
        ("./a", "InvalidRequest"),
        ("y" * 256, "InvalidRequest"),
        ("z/" * 513, "KeyTooLongError"),
        ("there/below", "InvalidRequest"),
        ("folder", "InvalidRequest"),
        ("there/", "InvalidRequest"),
    ],
)
def test_keys_that_no_file_can_have_are_refused(s3, home, key, expected):
    put(s3, "there", "folder/x")
    before = files(home)
    assert code(s3.put_object, Bucket="pictures", Key=key, Body=b"") == expected
    assert files(home) == before
    assert code(s3.get_object, Bucket="pictures", Key=key) == "NoSuchKey"
    s3.delete_object(Bucket="pictures", Key=key)
    assert files(home) == before


def test_a_folder_marker_is_an_object_that_keeps_its_folder(s3):
    put(s3, "empty/", body=b"")
    put(s3, "empty/a", "gone/b")
    s3.delete_objects(Bucket="pictures", Delete={"Objects": [{"Key": "empty/a"}, {"Key": "gone/b"}]})
    assert keys(s3) == ["empty/"]
    assert s3.get_object(Bucket="pictures", Key="empty/")["Body"].read() == b""
    assert s3.list_objects_v2(Bucket="pictures", Delimiter="/")["CommonPrefixes"] == [{"Prefix": "empty/"}]
    assert code(s3.put_object, Bucket="pictures", Key="full/", Body=b"x") == "InvalidRequest"
    s3.delete_object(Bucket="pictures", Key="empty/")
    assert keys(s3) == []
    s3.delete_bucket(Bucket="pictures")
    assert s3.list_buckets()["Buckets"] == []


def test_ranges(s3):
    put(s3, "a", body=b"0123456789")
    put(s3, "empty", body=b"")
    for wanted, expected in {
        "bytes=2-4": b"234",
        "bytes=7-": b"789",
        "bytes=-3": b"789",
        "bytes=8-99": b"89",
        "bytes=-99": b"0123456789",
    }.items():
        found = s3.get_object(Bucket="pictures", Key="a", Range=wanted)
        assert found["Body"].read() == expected
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert found["ContentRange"].endswith("/10")
    assert s3.get_object(Bucket="pictures", Key="a", Range="pages=1-2")["ContentLength"] == 10
    assert code(s3.get_object, Bucket="pictures", Key="a", Range="bytes=10-") == "InvalidRange"
    assert code(s3.get_object, Bucket="pictures", Key="empty", Range="bytes=0-0") == "InvalidRange"


def test_conditions(s3):
    put(s3, "a")
    head = s3.head_object(Bucket="pictures", Key="a")
    etag, modified = head["ETag"], head["LastModified"]
    for condition, expected in [
        ({"IfMatch": etag}, None),
        ({"IfMatch": '"other"'}, "PreconditionFailed"),
        ({"IfNoneMatch": etag}, "304"),
        ({"IfNoneMatch": '"other"'}, None),
        ({"IfModifiedSince": modified}, "304"),
        ({"IfUnmodifiedSince": modified}, None),
    ]:
        if expected is None:
            assert s3.get_object(Bucket="pictures", Key="a", **condition)["Body"].read() == b"x"
        else:
            assert code(s3.get_object, Bucket="pictures", Key="a", **condition) == expected
    assert code(s3.put_object, Bucket="pictures", Key="a", IfNoneMatch="*") == "PreconditionFailed"
    assert s3.put_object(Bucket="pictures", Key="b", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, Bucket="pictures", Key="a", IfMatch=etag) == "NotImplemented"


def test_copying_conditions_and_itself(s3):
    put(s3, "a")
    source = {"Bucket": "pictures", "Key": "a"}
    assert code(s3.copy_object, Bucket="pictures", Key="a", CopySource=source) == "InvalidRequest"
    wrong = {"CopySource": source, "CopySourceIfMatch": '"other"'}
    assert code(s3.copy_object, Bucket="pictures", Key="b", **wrong) == "PreconditionFailed"
    assert keys(s3) == ["a"]


def test_buckets(s3, home):
    s3.put_object(Bucket="pictures", Key="a")
    s3.create_bucket(Bucket="pictures")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["pictures"]
    assert s3.head_bucket(Bucket="pictures")["BucketRegion"] == home.region
    assert s3.get_bucket_location(Bucket="pictures")["LocationConstraint"] is None
    assert code(s3.delete_bucket, Bucket="pictures") == "BucketNotEmpty"
    assert code(s3.head_bucket, Bucket="missing") == "404"
    assert code(s3.list_objects_v2, Bucket="missing") == "NoSuchBucket"
    assert code(s3.put_object, Bucket="missing", Key="a") == "NoSuchBucket"
    assert code(s3.create_bucket, Bucket="Capitals-Not") == "InvalidBucketName"
    assert code(s3.head_bucket, Bucket="pictures", ExpectedBucketOwner="999999999999") == "403"


def test_what_is_not_there_is_refused_by_name(s3, server):
    assert code(s3.put_bucket_policy, Bucket="pictures", Policy="{}") == "NotImplemented"
    assert code(s3.put_object, Bucket="pictures", Key="a", Tagging="a=b") == "NotImplemented"
    status, answer = raw(server, "GET", "/pictures/a?torrent")
    assert status == 501
    assert b"has no GetObjectTorrent (GET object with ?torrent)" in answer
    assert keys(s3) == []


def test_presigned_url(s3, client):
    put(s3, "a b.txt", body=b"signed")
    for version in ("s3", "s3v4"):
        wanted = {"Bucket": "pictures", "Key": "a b.txt", "ResponseContentType": "text/x-own"}
        url = client("s3", signature_version=version).generate_presigned_url("get_object", wanted)
        with urlopen(url, timeout=20) as answer:
            assert answer.read() == b"signed"
            assert answer.headers["Content-Type"] == "text/x-own"


def test_bucket_in_the_host_name(s3, server):
    put(s3, "a")
    assert raw(server, "GET", "/a", headers={"Host": "pictures.localhost:1234"}) == (200, b"x")


def test_a_broken_upload_leaves_nothing(s3, home):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > MIB:
                raise OSError("unplugged")
            return super().read(size)

    with pytest.raises(OSError, match="unplugged"):
        s3.upload_fileobj(Broken(bytes(3 * MIB)), "pictures", "a")
    assert files(home) == []


def test_many_writers_and_deleters_at_once(s3):
    def write_and_delete(number):
        for _ in range(10):
            s3.put_object(Bucket="pictures", Key=f"a/b/{number}", Body=b"x")
            s3.delete_object(Bucket="pictures", Key=f"a/b/{number}")
        s3.put_object(Bucket="pictures", Key=f"c/{number}", Body=b"x", Metadata={"n": str(number)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_delete, range(8)))
    assert keys(s3) == [f"c/{number}" for number in range(8)]
    assert s3.head_object(Bucket="pictures", Key="c/5")["Metadata"] == {"n": "5"}
