"""The bucket, and the pictures that an execution would read from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from config.parameters import DATASET
from scripts.checks.check import Result, Subject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

NAME = "bucket"
BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def bucket(subject: Subject) -> Iterator[Result]:
    """Whether the bucket is there, may be used and is in the settings' region."""
    name, region = subject.settings.bucket, subject.settings.region
    try:
        answer = subject.client("s3").head_bucket(Bucket=name)
    except ClientError as error:
        code = _code(error)
        if code == "404":
            yield Result(
                NAME,
                "failure",
                f"bucket {name} does not exist",
                f"create it with {subject.aws('s3', 'mb', f's3://{name}')}, or set bucket",
            )
        elif code == "403":
            yield Result(
                NAME,
                "failure",
                f"bucket {name} belongs to someone else or these credentials may not use it",
                "set bucket in pipeline.toml, or --set bucket=NAME, to one of this account",
            )
        else:
            raise
        return
    where = answer.get("BucketRegion") or region
    if where == region:
        yield Result(NAME, "ok", f"{name} is in {region}")
    else:
        yield Result(
            NAME,
            "failure",
            f"bucket {name} is in {where} and the pipeline in {region}, where its jobs refuse it",
            f"set bucket to one in {region}, or region to {where}",
        )


def owner(subject: Subject) -> Iterator[Result]:
    """Whether the bucket is the account's own, which a name alone does not tell."""
    account = subject.client("sts").get_caller_identity()["Account"]
    s3, name = subject.client("s3"), subject.settings.bucket
    if not _may_be_used(s3, Bucket=name):
        return  # `bucket` says why
    if _may_be_used(s3, Bucket=name, ExpectedBucketOwner=account):
        yield Result("bucket owner", "ok", f"account {account}")
    else:
        yield Result(
            "bucket owner",
            "failure",
            f"bucket {name} is not of account {account}, and its owner could read every picture",
            "set bucket in pipeline.toml, or --set bucket=NAME, to one of this account",
        )


def _may_be_used(s3: S3Client, **request: Any) -> bool:
    try:
        s3.head_bucket(**request)
    except ClientError as error:
        if _code(error) in {"403", "404"}:
            return False
        raise
    return True


def versioning(subject: Subject) -> Iterator[Result]:
    """Whether what is overwritten or deleted by mistake can come back."""
    name = subject.settings.bucket
    answer = _ask(subject, "get_bucket_versioning")
    if answer is None:
        return
    if answer.get("Status") == "Enabled":
        yield Result("versioning", "ok", "enabled")
    elif subject.local:
        yield Result("versioning", "ok", "the local service has none")
    else:
        yield Result(
            "versioning",
            "warning",
            "off: a picture or a model that is overwritten or deleted by mistake is lost",
            subject.aws(
                *("s3api", "put-bucket-versioning", f"--bucket={name}"),
                "--versioning-configuration=Status=Enabled",
            ),
        )


def encryption(subject: Subject) -> Iterator[Result]:
    """How new objects are encrypted. All buckets are, since 2023-01-05 (S3 user guide, "Default encryption
    FAQ").
    """
    answer = _ask(subject, "get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError")
    if answer is None:
        return
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    default: dict[str, Any] = next((rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules), {})
    algorithm = default.get("SSEAlgorithm")
    if algorithm is None:
        yield Result(
            "encryption",
            "warning",
            "off",
            subject.aws(
                *("s3api", "put-bucket-encryption", f"--bucket={subject.settings.bucket}"),
                "--server-side-encryption-configuration="
                '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}',
            ),
        )
    elif key := default.get("KMSMasterKeyID"):
        yield Result(
            "encryption", "ok", f"{algorithm} with {key}, which the roles must be allowed to use, too"
        )
    else:
        yield Result("encryption", "ok", str(algorithm))


def public_access(subject: Subject) -> Iterator[Result]:
    """Whether the bucket can be opened to the public."""
    answer = _ask(subject, "get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
    if answer is None:
        return
    blocked = answer.get("PublicAccessBlockConfiguration", {})
    if all(blocked.get(name) for name in BLOCKS):
        yield Result("public access", "ok", "blocked")
    else:
        missing = [name for name in BLOCKS if not blocked.get(name)]
        yield Result(
            "public access",
            "warning",
            f"not blocked ({', '.join(missing)} off): one wrong policy would publish the pictures",
            subject.aws(
                *("s3api", "put-public-access-block", f"--bucket={subject.settings.bucket}"),
                f"--public-access-block-configuration={','.join(f'{name}=true' for name in BLOCKS)}",
            ),
        )


def pictures(subject: Subject) -> Iterator[Result]:
    """Whether there is anything where an execution would look for pictures."""
    url = subject.parameters[DATASET]
    place, _, prefix = url.removeprefix("s3://").partition("/")
    try:
        listed = subject.client("s3").list_objects_v2(Bucket=place, Prefix=prefix, MaxKeys=1)
        found = listed.get("KeyCount", 0)
    except ClientError as error:
        if _code(error) != "NoSuchBucket":
            raise
        found = 0
    if found:
        yield Result("pictures", "ok", f"there are some in {url}")
    else:
        yield Result(
            "pictures",
            "warning",
            f"there are none in {url}, the {DATASET} of an execution",
            subject.python("upload_dataset.py", "FOLDER", "--to", url),
        )


def _ask(subject: Subject, operation: str, none: str = "") -> dict[str, Any] | None:
    """The answer about the bucket's configuration, empty for the error `none`; None without a bucket."""
    try:
        answer: dict[str, Any] = getattr(subject.client("s3"), operation)(Bucket=subject.settings.bucket)
    except ClientError as error:
        if _code(error) == "NoSuchBucket":
            return None
        if _code(error) == none:
            return {}
        raise
    return answer


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
