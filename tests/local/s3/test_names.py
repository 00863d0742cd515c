"""S3 stays in its folder, for any names in requests and any symbolic links."""

import io
from pathlib import Path
from urllib.parse import quote

import pytest

from local.home.home import Home
from local.s3.operations import S3
from local.wire.http import HttpRequest
from tests.local.s3.buckets import code, keys, put, raw

SECRET = b"not an object"


@pytest.fixture(autouse=True)
def outside(home, s3, tmp_path) -> Path:
    """A folder outside the home; one of its files, and one in the home outside s3/, are secrets."""
    put(s3, "a", "folder/b")
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    (home.root / "secret").write_bytes(SECRET)
    return folder


def everything(home: Home) -> dict[str, bytes | None]:
    """The files in the home and next to it: their content, None for folders."""
    top = home.root.parent
    return {
        str(path.relative_to(top)): path.read_bytes() if path.is_file() else None
        for path in top.rglob("*")
        if not path.name.startswith(".etags")
    }


BUCKETS = [
    "..", ".", ".uploads", ".temporary", ".headers", "%2e%2e", "..%5c", "a..b", "a.", "-a", "Pictures", "a_b",
    "a%00", "%C3%A9", "...",
]  # fmt: skip
KEYS = [
    "../secret", "../../secret", "folder/../../../secret", "%2e%2e/%2E%2E/secret", "..%2f..%2fsecret",
    "/etc/passwd", "//a", "./a", "folder/./b", "folder//b", "..", ".", "a%00", "folder/..", "x" * 256,
]  # fmt: skip


@pytest.mark.parametrize("bucket", BUCKETS)
def test_no_folder_but_a_bucket_is_a_bucket(server, home, bucket):
    before = everything(home)
    for key in ("secret", "", "%2fsecret", "../secret", "pictures/a"):
        for method in ("GET", "PUT", "DELETE"):
            status, answer = raw(server, method, f"/{bucket}/{key}")
            assert (status, b"<Code>InvalidBucketName</Code>" in answer) == (400, True), (method, key, answer)
    assert raw(server, "HEAD", f"/{bucket}/secret")[0] == 400
    assert raw(server, "POST", f"/{bucket}/secret?uploads")[0] == 400
    assert everything(home) == before


@pytest.mark.parametrize("key", KEYS)
def test_no_key_leaves_its_bucket(server, home, key):
    before = everything(home)
    status, answer = raw(server, "GET", f"/pictures/{key}")
    assert (status, b"<Code>NoSuchKey</Code>" in answer) == (404, True)
    for method, query in (("PUT", ""), ("POST", "?uploads")):
        status, answer = raw(server, method, f"/pictures/{key}{query}", b"x" if method == "PUT" else b"")
        assert (status, b"<Code>InvalidRequest</Code>" in answer) == (400, True), answer
        assert b"The local S3 keeps objects as files; the key" in answer
    assert raw(server, "DELETE", f"/pictures/{key}")[0] == 204
    assert everything(home) == before


@pytest.mark.parametrize("host", ["...localhost", ".localhost", "..localhost", ".uploads.localhost:80"])
def test_no_host_names_what_is_not_a_bucket(server, home, host):
    """It works neither with the server, which refuses such a host, nor with S3 behind it."""
    before = everything(home)
    for path in ("/secret", "/", "/pictures/a", "//secret", "/../secret"):
        for method in ("GET", "PUT", "DELETE"):
            assert raw(server, method, path, headers={"Host": host})[0] == 403
            answer = S3(home).handle(HttpRequest(method, path, {}, {"host": host}, io.BytesIO()))
            assert (answer.status, b"<Code>InvalidBucketName</Code>" in answer.body) == (400, True)
    assert everything(home) == before


def test_a_host_is_the_same_in_capitals(server):
    assert raw(server, "GET", "/a", headers={"Host": "Pictures.LocalHost:80"}) == (200, b"x")
    assert raw(server, "GET", "/../../secret", headers={"Host": "pictures.localhost"})[0] == 404


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("../secret", "InvalidBucketName"),
        ("/../secret", "InvalidBucketName"),
        ("%2E%2E/secret", "InvalidBucketName"),
        ("..%2Fsecret", "InvalidBucketName"),
        ("./pictures/a", "InvalidBucketName"),
        ("//pictures/a", "InvalidArgument"),
        (".headers/pictures/a", "InvalidBucketName"),
        ("pictures/../../secret", "NoSuchKey"),
        ("pictures/%2e%2e/%2e%2e/secret", "NoSuchKey"),
        ("pictures//etc/passwd", "NoSuchKey"),
        ("pictures/a%00", "NoSuchKey"),
        ("../secret?versionId=1", "NotImplemented"),
        ("pictures/link/secret", "NoSuchKey"),
        ("linked/secret", "NoSuchBucket"),
    ],
)
def test_nothing_but_an_object_is_copied(server, s3, home, outside, source, expected):
    (home.s3 / "pictures" / "link").symlink_to(outside)
    (home.s3 / "linked").symlink_to(outside)
    upload = s3.create_multipart_upload(Bucket="pictures", Key="copy")["UploadId"]
    before = everything(home)
    for path in ("/pictures/copy", f"/pictures/copy?partNumber=1&uploadId={upload}"):
        status, answer = raw(server, "PUT", path, headers={"x-amz-copy-source": source})
        assert status >= 400 and f"<Code>{expected}</Code>".encode() in answer, answer
    assert everything(home) == before


@pytest.mark.parametrize(
    "prefix", ["../", "../../outside/", "folder/../../", "link/", "link/s", "/", "/etc/", "./"]
)
def test_a_listing_stays_in_its_bucket(s3, home, outside, prefix):
    (home.s3 / "pictures" / "link").symlink_to(outside)
    assert keys(s3, Prefix=prefix) == []
    assert "CommonPrefixes" not in s3.list_objects_v2(Bucket="pictures", Prefix=prefix, Delimiter="/")


def test_keys_that_begin_with_a_dot_are_listed(s3):
    put(s3, ".hidden", "folder/..two")
    assert keys(s3, Prefix=".") == [".hidden"]
    assert keys(s3, Prefix="folder/..") == ["folder/..two"]


def test_a_list_of_keys_deletes_objects_only(s3, home, outside):
    (home.s3 / "pictures" / "link").symlink_to(outside)
    unfit = ["../../secret", "/../../secret", "link/secret", "link", "link/", "folder/../../../secret"]
    before = everything(home)
    s3.delete_objects(Bucket="pictures", Delete={"Objects": [{"Key": key} for key in unfit]})
    assert everything(home) == before


@pytest.mark.parametrize("upload", ["..", "../../secret", "x" * 5000, "%00"])
def test_an_upload_is_what_was_begun(server, home, upload):
    before = everything(home)
    for method, query, body in (
        ("PUT", "partNumber=1&", b"x"),
        ("POST", "", b"<CompleteMultipartUpload/>"),
        ("GET", "", b""),
        ("DELETE", "", b""),
    ):
        status, answer = raw(server, method, f"/pictures/a?{query}uploadId={upload}", body)
        assert (status, b"<Code>NoSuchUpload</Code>" in answer) == (404, True), answer
    assert everything(home) == before


@pytest.mark.parametrize("name", ["ab", "a" * 64, "a..b", "Capitals", ".uploads", "a_b"])
def test_a_name_that_no_bucket_can_have_makes_none(server, home, name):
    before = everything(home)
    assert raw(server, "PUT", f"/{name}")[0] == 400
    assert everything(home) == before


def test_a_link_in_the_place_of_a_bucket_is_none(s3, home, outside):
    (home.s3 / "linked").symlink_to(outside)
    before = everything(home)
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["pictures"]
    for call in (s3.list_objects_v2, s3.delete_bucket, s3.list_multipart_uploads):
        assert code(call, Bucket="linked") == "NoSuchBucket"
    for call in (s3.get_object, s3.put_object, s3.delete_object, s3.create_multipart_upload):
        assert code(call, Bucket="linked", Key="secret") == "NoSuchBucket"
    assert code(s3.head_bucket, Bucket="linked") == "404"
    assert code(s3.create_bucket, Bucket="linked") == "BucketAlreadyExists"
    assert everything(home) == before


def test_a_link_in_the_place_of_a_folder_is_not_followed(s3, home, outside):
    (home.s3 / "pictures" / "folder" / "link").symlink_to(outside)
    upload = s3.create_multipart_upload(Bucket="pictures", Key="folder/link/part")["UploadId"]
    where = {"Bucket": "pictures", "Key": "folder/link/part", "UploadId": upload}
    part = {"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=b"x")["ETag"]}
    before = everything(home)
    assert code(s3.get_object, Bucket="pictures", Key="folder/link/secret") == "NoSuchKey"
    assert code(s3.head_object, Bucket="pictures", Key="folder/link/secret") == "404"
    for key in ("folder/link/secret", "folder/link/new", "folder/link/new/below", "folder/link/"):
        assert code(s3.put_object, Bucket="pictures", Key=key) == "InvalidRequest"
        s3.delete_object(Bucket="pictures", Key=key)
    assert code(s3.complete_multipart_upload, **where, MultipartUpload={"Parts": [part]}) == "InvalidRequest"
    assert keys(s3) == ["a", "folder/b"]
    assert everything(home) == before


def test_an_object_takes_the_place_of_a_link_and_leaves_what_it_points_to(s3, home, outside):
    for name, target in (("file", outside / "secret"), ("dir", outside)):
        (home.s3 / "pictures" / name).symlink_to(target)
        assert code(s3.get_object, Bucket="pictures", Key=name) == "NoSuchKey"
        put(s3, name, body=b"new")
        assert s3.get_object(Bucket="pictures", Key=name)["Body"].read() == b"new"
    assert list(outside.iterdir()) == [outside / "secret"]
    assert (outside / "secret").read_bytes() == SECRET


def test_a_bucket_that_holds_a_link_is_not_deleted(s3, home, outside):
    s3.create_bucket(Bucket="almost-empty")
    (home.s3 / "almost-empty" / "link").symlink_to(outside)
    assert code(s3.delete_bucket, Bucket="almost-empty") == "BucketNotEmpty"
    (home.s3 / "almost-empty" / "link").unlink()
    s3.delete_bucket(Bucket="almost-empty")
    assert (outside / "secret").read_bytes() == SECRET


@pytest.mark.parametrize("value", ["text/html\r\nx-evil: 1", "a\nb", "\0", "\x1b[2J", "日本"])
@pytest.mark.parametrize("name", ["content-type", "content-disposition", "cache-control", "expires"])
def test_a_query_writes_no_header_but_its_own(server, name, value):
    status, answer = raw(server, "GET", f"/pictures/a?response-{name}={quote(value)}")
    assert (status, b"<Code>InvalidArgument</Code>" in answer) == (400, True), answer
    assert raw(server, "GET", f"/pictures/a?response-{name}=a%20b") == (200, b"x")


def test_a_form_gives_an_object_no_header_that_nothing_can_send(s3, server, client):
    form = client("s3").generate_presigned_post(
        "pictures", "posted", {"x-amz-meta-a": "1\r\nx-evil: 1"}, [["starts-with", "$x-amz-meta-a", ""]]
    )
    boundary = "b" * 20
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in (*form["fields"].items(), ("file", "x"))
    ]
    body = ("".join(parts) + f"--{boundary}--\r\n").encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, answer = raw(server, "POST", "/pictures", body, headers)
    assert (status, b"<Code>InvalidArgument</Code>" in answer) == (400, True), answer
    assert "posted" not in keys(s3)


@pytest.mark.parametrize("length", [256, 4096])
def test_a_long_name_is_not_a_bucket(server, length):
    status, answer = raw(server, "GET", f"/{'n' * length}/a")
    assert (status, b"<Code>InvalidBucketName</Code>" in answer) == (400, True), answer
