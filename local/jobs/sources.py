"""The objects that a transform job reads, and the names of their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from local.home.home import Home
from local.home.names import unfit
from local.home.store import Record
from local.jobs.jobs import JobError
from local.s3.objects import Objects
from local.s3.transfer import matching, path_below
from local.wire.errors import ServiceError, invalid
from local.wire.texts import json_value


@dataclass(frozen=True)
class Source:
    """An object to transform; its result is <S3OutputPath>/<name>.out."""

    bucket: str
    key: str
    name: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"


def address(uri: str) -> tuple[str, str]:
    """The bucket and the key, or the prefix of keys, of an S3 URI.

    Raises:
        ServiceError: ValidationException.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise invalid(f"{uri!r} is not an S3 URI; expected s3://bucket/key")
    return bucket, key


def sources(home: Home, data: Record) -> list[Source]:
    """The objects of an S3DataSource, sorted.

    Raises:
        JobError: there are none, the manifest is malformed, or a result has no unique key.
        ServiceError: there is no such bucket or manifest.
    """
    read = _in_manifest if data["S3DataType"] == "ManifestFile" else _below_prefix
    found = sorted(read(home, data["S3Uri"]), key=str)
    if not found:
        raise _no_files(data["S3Uri"])
    often = Counter(source.name for source in found)
    results = {f"{source.name}.out" for source in found}
    for source in found:
        reason = (
            unfit(f"{source.name}.out")
            or (often[source.name] > 1 and "belongs to another object, too")
            or (_above(source.name, results) and "lies below that of another object, which is a file here")
        )
        if reason:
            raise JobError(f"ClientError: {source} has no result: the key {source.name}.out {reason}")
    return found


def _above(name: str, results: Collection[str]) -> bool:
    """Whether another result would be at the place of one of this result's folders."""
    return any(str(folder) in results for folder in PurePosixPath(name).parents)


def _below_prefix(home: Home, uri: str) -> Iterator[Source]:
    """The result of in/data.csv is data.csv.out, whether the prefix is "in" or "in/" (as in AWS's sample
    notebook tensorflow_batch_transform_mnist). Not published: for a prefix that ends within a name, such as
    "in/raw-", the whole name is kept.
    """
    bucket, prefix = address(uri)
    for key in matching(home, bucket, prefix):
        yield Source(bucket, key, path_below(prefix, key))


def _in_manifest(home: Home, uri: str) -> Iterator[Source]:
    """What a manifest lists: [{"prefix": "s3://bucket/a/"}, "b", "c/d"] (API: TransformS3DataSource)."""
    objects = Objects(home.s3)
    _, file = objects.open(*address(uri))
    try:
        if file is None:  # a folder marker
            raise ValueError
        with file:
            first, *names = json_value(file.read())
        start = first["prefix"]
        if not all(isinstance(text, str) for text in (start, *names)):
            raise ValueError
    except (ValueError, TypeError, LookupError):
        raise JobError(
            f"ClientError: {uri} is not a manifest; expected JSON like"
            ' [{"prefix": "s3://bucket/folder/"}, "key", ...]'
        ) from None
    for name in names:
        place = address(start + name)
        try:
            objects.find(*place)
        except ServiceError:
            raise _no_files(start + name) from None
        yield Source(*place, name.lstrip("/"))


def _no_files(uri: str) -> JobError:
    """In AWS's words (recorded in edumunozsala/sagemaker-pipeline-text-classification)."""
    return JobError(f"ClientError: S3 key: {uri} matched no files on s3")
