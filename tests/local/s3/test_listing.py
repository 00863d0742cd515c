"""The content of S3's listings, page by page."""

import boto3
from moto import mock_aws

from tests.local.s3.buckets import code, keys, put


def test_empty_folders_and_symlinks_are_no_objects(s3, home, tmp_path):
    (home.s3 / "pictures/empty/deeper").mkdir(parents=True)
    (home.s3 / "pictures/link").symlink_to(tmp_path)
    (home.s3 / "pictures/link.txt").symlink_to(home.database)
    assert keys(s3) == []
    assert "CommonPrefixes" not in s3.list_objects_v2(Bucket="pictures", Delimiter="/")
    assert code(s3.get_object, Bucket="pictures", Key="link.txt") == "NoSuchKey"


def test_a_listing_sees_a_file_as_soon_as_it_is_there(s3, home):
    folder = home.s3 / "pictures/job"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:02}").touch()
        assert len(keys(s3, Prefix="job/")) == number + 1


def test_listing_continues_page_by_page(s3):
    expected = sorted(
        f"{folder}{number}" for folder in ("", "a-", "a/", "a/b/", "a0/") for number in range(5)
    )
    put(s3, *expected)
    assert keys(s3, PaginationConfig={"PageSize": 2}) == expected
    pages = s3.get_paginator("list_objects").paginate(Bucket="pictures", PaginationConfig={"PageSize": 3})
    assert [item["Key"] for page in pages for item in page["Contents"]] == expected
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="pictures", Delimiter="/", PaginationConfig={"PageSize": 2}
    )
    assert [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])] == ["a/", "a0/"]


LISTED = ["a", "b-1", "b/", "b/1", "b/2/x", "b/2/y", "b0", "c d/é", "c d/f", "d%/+"]
LISTINGS = [
    {},
    {"Prefix": "b"},
    {"Prefix": "b/"},
    {"Prefix": "b/2"},
    {"Prefix": "none/"},
    {"Prefix": "../"},
    {"Delimiter": "/"},
    {"Delimiter": "/", "Prefix": "b"},
    {"Delimiter": "/", "Prefix": "b/"},
    {"Delimiter": "2", "Prefix": "b"},
    {"Delimiter": "-"},
    {"MaxKeys": 3},
    {"MaxKeys": 0},
    {"Delimiter": "/", "MaxKeys": 2},
    {"StartAfter": "b/1"},
    {"StartAfter": "b/2", "Delimiter": "/"},
    {"StartAfter": "b-"},
]


def parsed(answer):
    """A listing's content, except times, ETags, tokens and moto's own details."""
    names = ("Prefix", "Delimiter", "MaxKeys", "IsTruncated", "KeyCount", "CommonPrefixes", "StartAfter")
    told = {name: answer[name] for name in names if name in answer}
    return told, [(item["Key"], item["Size"]) for item in answer.get("Contents", [])]


def test_listings_are_those_of_moto(s3):
    def answers(client):
        put(client, *(key for key in LISTED if not key.endswith("/")))
        put(client, "b/", body=b"")
        return [
            (listing, parsed(client.list_objects_v2(Bucket="pictures", **listing))) for listing in LISTINGS
        ]

    ours = answers(s3)
    with mock_aws():
        theirs = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        theirs.create_bucket(Bucket="pictures")
        assert ours == answers(theirs)
