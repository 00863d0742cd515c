"""S3's answers about an unconfigured bucket, and the operations that would configure it."""

import boto3
from moto import mock_aws

from local.wire.operations import service_model
from tests.local.s3.buckets import code, keys, put, raw

BUCKET = {"Bucket": "pictures"}
PLAIN = {
    "get_bucket_versioning": {},
    "get_bucket_accelerate_configuration": {},
    "get_bucket_logging": {},
    "get_bucket_notification_configuration": {},
    "get_bucket_request_payment": {"Payer": "BucketOwner"},
    "get_public_access_block": {
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
    },
    "get_bucket_encryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [
                {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
            ]
        }
    },
    "get_bucket_ownership_controls": {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    },
    "list_bucket_metrics_configurations": {"IsTruncated": False},
    "list_bucket_inventory_configurations": {"IsTruncated": False},
    "list_bucket_analytics_configurations": {"IsTruncated": False},
    "list_bucket_intelligent_tiering_configurations": {"IsTruncated": False},
}
MISSING = {
    "get_bucket_tagging": "NoSuchTagSet",
    "get_bucket_policy": "NoSuchBucketPolicy",
    "get_bucket_policy_status": "NoSuchBucketPolicy",
    "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "get_bucket_cors": "NoSuchCORSConfiguration",
    "get_bucket_website": "NoSuchWebsiteConfiguration",
    "get_bucket_replication": "ReplicationConfigurationNotFoundError",
    "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
}


def answered(call, **arguments):
    return {key: value for key, value in call(**arguments).items() if key != "ResponseMetadata"}


def test_a_bucket_says_what_a_new_one_says(s3):
    for name, expected in PLAIN.items():
        assert answered(getattr(s3, name), **BUCKET) == expected, name
        assert code(getattr(s3, name), Bucket="missing") == "NoSuchBucket", name
    for name, expected in MISSING.items():
        assert code(getattr(s3, name), **BUCKET) == expected, name
        assert code(getattr(s3, name), Bucket="missing") == "NoSuchBucket", name
    assert code(s3.get_bucket_metrics_configuration, **BUCKET, Id="a") == "NoSuchConfiguration"
    assert code(s3.get_bucket_inventory_configuration, **BUCKET, Id="a") == "NoSuchConfiguration"
    assert s3.get_bucket_acl(**BUCKET)["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert s3.get_bucket_location(**BUCKET)["LocationConstraint"] is None


def test_an_object_says_what_a_new_one_says(s3):
    put(s3, "a", body=b"four")
    where = {**BUCKET, "Key": "a"}
    assert answered(s3.get_object_tagging, **where) == {"TagSet": []}
    grants = s3.get_object_acl(**where)["Grants"]
    assert [(grant["Grantee"]["Type"], grant["Permission"]) for grant in grants] == [
        ("CanonicalUser", "FULL_CONTROL")
    ]
    found = s3.get_object_attributes(**where, ObjectAttributes=["ETag", "ObjectSize"])
    assert (found["ETag"], found["ObjectSize"]) == (s3.head_object(**where)["ETag"].strip('"'), 4)
    for name in ("get_object_retention", "get_object_legal_hold"):
        assert code(getattr(s3, name), **where) == "InvalidRequest"
    for name in ("get_object_tagging", "get_object_acl"):
        assert code(getattr(s3, name), **BUCKET, Key="b") == "NoSuchKey"


def test_every_object_has_one_version_whose_id_is_null(s3):
    put(s3, "a", "b/c", "b/d", "e")
    pages = list(
        s3.get_paginator("list_object_versions").paginate(**BUCKET, PaginationConfig={"PageSize": 2})
    )
    versions = [version for page in pages for version in page.get("Versions", [])]
    assert len(pages) == 2
    assert [version["Key"] for version in versions] == ["a", "b/c", "b/d", "e"]
    assert {(version["VersionId"], version["IsLatest"]) for version in versions} == {("null", True)}
    grouped = s3.list_object_versions(**BUCKET, Delimiter="/")
    assert grouped["CommonPrefixes"] == [{"Prefix": "b/"}]
    assert s3.get_object(**BUCKET, Key="a", VersionId="null")["Body"].read() == b"x"
    assert code(s3.get_object, **BUCKET, Key="a", VersionId="other") == "InvalidArgument"
    objects = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
    assert len(s3.delete_objects(**BUCKET, Delete={"Objects": objects})["Deleted"]) == 4
    assert keys(s3) == []


def test_what_would_configure_is_refused_by_its_name(s3, server):
    """Every operation that changes a subresource of a bucket or an object."""
    put(s3, "a")
    model = service_model("s3")
    names = 0
    for name in model.operation_names:
        http = model.operation_model(name).http
        path, _, subresource = (
            http["requestUri"].replace("{Bucket}", "pictures").replace("{Key+}", "a").partition("?")
        )
        if http["method"] == "GET" or subresource in ("", "uploads", "delete"):
            continue
        status, answer = raw(server, http["method"], f"{path}?{subresource}", b"<Any/>")
        assert (status, b"<Code>NotImplemented</Code>" in answer) == (501, True), (name, answer)
        assert name in answer.decode() or f"{name}Configuration" in answer.decode()
        names += 1
    assert names > 40
    assert keys(s3) == ["a"]


def test_the_configuration_is_what_moto_has_too(s3):
    """Where both answer, compared with an independent implementation of S3."""
    with mock_aws():
        other = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        other.create_bucket(**BUCKET)
        for name in ("get_bucket_versioning", "get_bucket_accelerate_configuration"):
            assert answered(getattr(other, name), **BUCKET) == answered(getattr(s3, name), **BUCKET), name
        for name, expected in MISSING.items():
            if name != "get_bucket_policy_status":
                assert code(getattr(other, name), **BUCKET) == expected, name
