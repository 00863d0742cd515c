"""ETags equal S3's, for any way to create an object."""

import hashlib
import os
import sqlite3
import time

import pytest

from local.s3.etags import EMPTY, ETags
from local.s3.listing import list_objects
from local.s3.objects import Objects
from local.s3.operations import S3
from tests.local.s3.buckets import MIB, put

OLD = 1_700_000_000


def md5(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def etags(s3, key: str) -> set[str]:
    """The object's ETag as each operation reports it."""
    where = {"Bucket": "pictures", "Key": key}
    listed = s3.list_objects_v2(Bucket="pictures", Prefix=key)["Contents"][0]["ETag"]
    return {s3.head_object(**where)["ETag"], s3.get_object(**where)["ETag"], listed}


def test_the_etag_of_a_single_put_and_of_its_copy_is_the_md5(s3):
    answered = s3.put_object(Bucket="pictures", Key="a", Body=b"one")["ETag"]
    assert etags(s3, "a") == {answered} == {md5(b"one")}
    source = {"Bucket": "pictures", "Key": "a"}
    copied = s3.copy_object(Bucket="pictures", Key="b", CopySource=source)["CopyObjectResult"]["ETag"]
    assert etags(s3, "b") == {copied} == {md5(b"one")}
    put(s3, "a", body=b"two")
    assert etags(s3, "a") == {md5(b"two")}
    put(s3, "folder/", body=b"")
    assert etags(s3, "folder/") == {EMPTY} == {md5(b"")}


def test_the_etag_of_a_multipart_upload_is_of_its_parts_and_outlives_the_service(s3, home):
    where = {"Bucket": "pictures", "Key": "big"}
    upload = where | {"UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    bodies = [bytes(5 * MIB), b"end"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate(bodies, 1)
    ]
    assert [part["ETag"] for part in parts] == [md5(body) for body in bodies]
    answered = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"]
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    assert etags(s3, "big") == {answered} == {f'"{hashlib.md5(digests).hexdigest()}-2"'}
    again = S3(home)
    assert again._objects.find("pictures", "big").etag == answered
    again.close()
    copied = s3.copy_object(Bucket="pictures", Key="copy", CopySource=where)["CopyObjectResult"]["ETag"]
    assert copied == md5(b"".join(bodies))  # CopyObject is one put
    with sqlite3.connect(home.s3 / ".etags.sqlite") as database:
        paths = [row[0] for row in database.execute("SELECT path FROM etags")]
    assert sorted(paths) == [os.fsencode(home.s3 / "pictures" / key) for key in ("big", "copy")]


def test_a_file_that_a_job_wrote_is_read_once_and_again_when_it_has_changed(s3, home, monkeypatch):
    path = home.s3 / "pictures" / "results" / "report.json"
    path.parent.mkdir()
    path.write_bytes(b"one")
    os.utime(path, (OLD, OLD))
    assert etags(s3, "results/report.json") == {md5(b"one")}
    read = []
    monkeypatch.setattr("local.s3.etags._read", lambda descriptor: read.append(descriptor))
    assert etags(s3, "results/report.json") == {md5(b"one")}
    assert read == []
    monkeypatch.undo()
    path.write_bytes(b"two")
    os.utime(path, (OLD + 1, OLD + 1))
    assert etags(s3, "results/report.json") == {md5(b"two")}


def test_a_file_that_may_still_change_within_its_time_stamp_is_read_again(tmp_path):
    path, known = tmp_path / "a", ETags(tmp_path / "etags.sqlite")
    now = time.time_ns()
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(now, now))
        assert known.of(path, path.stat()) == md5(content)
    known.close()


def test_metadata_goes_with_the_object_that_it_was_given_with(s3, home):
    s3.put_object(Bucket="pictures", Key="a", Body=b"one", Metadata={"made": "by hand"})
    path = home.s3 / "pictures" / "a"
    assert s3.head_object(Bucket="pictures", Key="a")["Metadata"] == {"made": "by hand"}
    (home.s3 / "other").write_bytes(b"two")
    (home.s3 / "other").rename(path)
    assert s3.head_object(Bucket="pictures", Key="a")["Metadata"] == {}


def test_an_object_that_vanishes_while_it_is_listed_is_left_out(s3, home, monkeypatch):
    put(s3, "a", "b")
    (home.s3 / "pictures" / "c").write_bytes(b"x")
    known = ETags._known

    def vanish(self, files):
        (home.s3 / "pictures" / "c").unlink(missing_ok=True)
        return known(self, files)

    monkeypatch.setattr(ETags, "_known", vanish)
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="pictures")["Contents"]] == ["a", "b"]


def test_a_page_looks_its_etags_up_and_keeps_them_together(tmp_path):
    objects = Objects(tmp_path)
    objects.create_bucket("pictures")
    for number in range(1000):
        (tmp_path / "pictures" / f"{number:03}").write_bytes(b"%d" % number)
        os.utime(tmp_path / "pictures" / f"{number:03}", (OLD, OLD))
    statements = []
    objects.etags.open().set_trace_callback(statements.append)
    first = list_objects(objects, "pictures", {}).body
    assert first.count(b"<ETag>") == 1000
    assert [statements.count(each) for each in ("BEGIN", "COMMIT")] == [1, 1]
    assert sum(each.startswith("SELECT") for each in statements) <= 3
    statements.clear()
    assert list_objects(objects, "pictures", {}).body == first
    assert 0 < len(statements) <= 2


def test_a_database_that_is_none_is_refused_in_a_line(tmp_path):
    (tmp_path / "etags.sqlite").write_bytes(b"no database, but some other file" * 100)
    with pytest.raises(OSError, match=r"etags.sqlite cannot be written \(file is not a database\)"):
        ETags(tmp_path / "etags.sqlite").open()
