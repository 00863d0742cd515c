"""Multipart uploads."""

import os

from boto3.s3.transfer import TransferConfig

from tests.local.s3.buckets import MIB, code, files, keys


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


def test_multipart_errors(s3, home):
    upload = s3.create_multipart_upload(Bucket="pictures", Key="a")["UploadId"]
    where = {"Bucket": "pictures", "Key": "a", "UploadId": upload}
    one, two = (s3.upload_part(**where, PartNumber=number, Body=b"%d" % number)["ETag"] for number in (1, 2))
    assert [part["ETag"] for part in s3.list_parts(**where)["Parts"]] == [one, two]
    assert [item["UploadId"] for item in s3.list_multipart_uploads(Bucket="pictures")["Uploads"]] == [upload]
    assert keys(s3) == []

    def complete(*parts):
        chosen = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}
        return code(s3.complete_multipart_upload, **where, MultipartUpload=chosen)

    assert complete((1, two)) == "InvalidPart"
    assert complete((3, two)) == "InvalidPart"
    assert complete((2, two), (1, one)) == "InvalidPartOrder"
    assert complete((1, one), (2, two)) == "EntityTooSmall"
    assert code(s3.upload_part, **where, PartNumber=10_001, Body=b"") == "InvalidArgument"
    s3.abort_multipart_upload(**where)
    assert complete((1, one)) == "NoSuchUpload"
    assert files(home) == []
