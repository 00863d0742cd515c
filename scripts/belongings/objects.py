"""What a deployment has in its bucket, below s3://BUCKET/NAME/.

The pipeline and its commands write code/, executions/, weights/ and scoring/ there. Everything else may be
pictures, which nobody can make again: it goes only when it is asked for by name. The pictures in scoring/ are
copies that score.py sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial

from botocore.exceptions import ClientError

import scripts.command as command
from scripts.belongings.thing import Thing, is_gone
from scripts.belongings.work import JOB_KINDS
from scripts.checks.check import Subject

CODE, RESULTS, WEIGHTS, SCORING = "code/", "executions/", "weights/", "scoring/"
OWN = (CODE, RESULTS, WEIGHTS, SCORING)
# S3 Standard in us-east-1, a GB and month: aws.amazon.com/s3/pricing, November 2026, rounded.
USD_PER_GB = 0.023
GB = 1 << 30


@dataclass
class Folder:
    """What lies below a prefix: the versions of its objects, as DeleteObjects takes them, and their size."""

    prefix: str
    versions: list[dict[str, str]] = field(default_factory=list)
    size_bytes: int = 0

    def words(self, bucket: str) -> str:
        """Where, how many and how much."""
        return f"s3://{bucket}/{self.prefix} ({len(self.versions)} objects, {size(self.size_bytes)})"


def size(size_bytes: float) -> str:
    """A size in words, e.g. "1.5 MB"."""
    for unit in ("bytes", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def own(subject: Subject, left_out: Collection[str], kept: Collection[str]) -> Iterator[Thing]:
    """What the pipeline and its commands wrote, a thing for each folder that holds something.

    Args:
        left_out: folders that stay.
        kept: keys that stay.
    """
    for name in OWN:
        if name not in left_out:
            yield from _things(subject, f"{subject.settings.name}/{name}", kept)


def pictures(subject: Subject, urls: Collection[str]) -> Iterator[Thing]:
    """The datasets that were asked for by name.

    Raises:
        Failure: a URL is not below this deployment's prefix, beside the pipeline's own folders.
    """
    for url in urls:
        yield from _things(subject, _prefix_of(subject, url), ())


def _prefix_of(subject: Subject, url: str) -> str:
    root = f"s3://{subject.settings.bucket}/{subject.settings.name}/"
    prefix = f"{url.rstrip('/')}/".removeprefix(root)
    if not f"{url.rstrip('/')}/".startswith(root) or prefix in {"", "/"} or prefix.startswith(OWN):
        command.fail(
            f"--pictures {url} is not the folder of a dataset below {root}; "
            f"remove others with {subject.aws('s3', 'rm', '--recursive', url)}"
        )
    return f"{subject.settings.name}/{prefix}"


def staying(subject: Subject, going: Collection[str]) -> list[Folder]:
    """The other folders below the deployment's prefix, with what is in them; `going` are prefixes that go."""
    name = f"{subject.settings.name}/"
    folders: dict[str, Folder] = {}
    for key, version, size_bytes in _listed(subject, name):
        if not key.startswith(tuple(going)):
            rest = key.removeprefix(name).split("/")
            prefix = name + "".join(f"{part}/" for part in rest[:-1][:2])
            folder = folders.setdefault(prefix, Folder(prefix))
            folder.versions.append(version)
            folder.size_bytes += size_bytes
    return list(folders.values())


def _things(subject: Subject, prefix: str, kept: Collection[str]) -> Iterator[Thing]:
    folder = _folder(subject, prefix, kept)
    if folder.versions:
        bucket = subject.settings.bucket
        yield Thing(
            "objects",
            folder.words(bucket),
            partial(_delete, subject, prefix, kept),
            subject.aws("s3", "rm", "--recursive", f"s3://{bucket}/{prefix}"),
            cost(subject, folder.size_bytes),
            after=("execution", *JOB_KINDS),
        )


def _folder(subject: Subject, prefix: str, kept: Collection[str]) -> Folder:
    folder = Folder(prefix)
    for key, version, size_bytes in _listed(subject, prefix):
        if key not in kept:
            folder.versions.append(version)
            folder.size_bytes += size_bytes
    return folder


def cost(subject: Subject, size_bytes: int) -> str:
    """What objects cost a month, in words; "" where that is nothing or not known."""
    usd = size_bytes / GB * USD_PER_GB
    if subject.local or subject.settings.region != "us-east-1" or usd < 0.005:
        return ""
    return f"about {usd:.2f} USD a month"


def _listed(subject: Subject, prefix: str) -> Iterator[tuple[str, dict[str, str], int]]:
    """Key, version and size (bytes) of what lies below a prefix: in a bucket with versions, all of them, the
    marks of deleted objects, too.
    """
    s3, bucket = subject.client("s3"), subject.settings.bucket
    try:
        versioned = "Status" in s3.get_bucket_versioning(Bucket=bucket)
    except ClientError as error:
        if not is_gone(error):
            raise
        return
    operation = "list_object_versions" if versioned else "list_objects_v2"
    for page in s3.get_paginator(operation).paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            yield item["Key"], {"Key": item["Key"]}, item["Size"]
        for item in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            yield item["Key"], {"Key": item["Key"], "VersionId": item["VersionId"]}, item.get("Size", 0)


def _delete(subject: Subject, prefix: str, kept: Collection[str]) -> None:
    """Remove what lies below a prefix now, 1,000 objects a request: a job that was stopped has written more.

    Raises:
        Failure: S3 kept one of them; the message names it and why.
    """
    s3, bucket = subject.client("s3"), subject.settings.bucket
    versions = _folder(subject, prefix, kept).versions
    for start in range(0, len(versions), 1000):
        batch = {"Objects": versions[start : start + 1000], "Quiet": True}
        for error in s3.delete_objects(Bucket=bucket, Delete=batch).get("Errors", []):
            command.fail(f"s3://{bucket}/{error.get('Key')} could not be deleted: {error.get('Message')}")
