"""The pictures to score: found in a folder and sent to S3, or found in S3 and left there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import scripts.command as command
from entrypoints.contract import MAX_BODY_BYTES
from entrypoints.folders import is_litter, is_picture
from entrypoints.image import ImageError
from scripts.invoke import body_of
from scripts.pictures import in_order, sources
from scripts.scoring.ledger import Ledger

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

BATCH = 1000  # objects noted at a time


@dataclass(frozen=True)
class _Found:
    """A picture of a folder: its object, or the reason why it is not sent."""

    file: str
    size: int
    changed: int
    object: str = ""
    reason: str | None = None


def send(folder: Path, bucket: str, prefix: str, s3: S3Client, ledger: Ledger) -> Iterator[str]:
    """Send the pictures of a folder to s3://bucket/prefix, and yield each one's name when it is done.

    Each is an object named by the SHA-256 of its content: what is there already is not sent again, and copies
    are scored once. What is no picture, as predict.py sees it, is noted with the reason.

    Raises:
        OSError: the folder cannot be read.
        ClientError: S3 refused.
    """
    number = ledger.begin()
    for keys in _batches(_listed(s3, bucket, prefix)):
        ledger.sent([key.removeprefix(prefix) for key, _ in keys])

    def one(path: Path) -> _Found | str:
        file = command.shown(path.relative_to(folder).as_posix())
        try:
            status = path.stat()
            if ledger.is_listed(file, status.st_size, status.st_mtime_ns, number):
                return file
            if not path.is_file():
                return _Found(file, 0, status.st_mtime_ns, reason="is not a regular file")
            body, _ = body_of(path)
        except ImageError as error:
            return _Found(file, status.st_size, status.st_mtime_ns, reason=str(error))
        except OSError as error:
            return _Found(file, 0, 0, reason=f"cannot be read ({error.strerror})")
        key = hashlib.sha256(body).hexdigest()
        if not ledger.is_sent(key):
            s3.put_object(Bucket=bucket, Key=f"{prefix}{key}", Body=body)
            ledger.sent([key])
        return _Found(file, status.st_size, status.st_mtime_ns, key)

    paths = (source.content for source in sources([folder]))
    for found in in_order(one, (path for path in paths if isinstance(path, Path))):
        if isinstance(found, _Found):
            ledger.add(found.file, found.object, found.size, found.changed, number, found.reason)
        yield found if isinstance(found, str) else found.file
    ledger.end_of_list(number)


def read_in_place(bucket: str, prefix: str, s3: S3Client, ledger: Ledger) -> Iterator[str]:
    """Note the pictures under s3://bucket/prefix, and yield each one's name.

    Only names and sizes are looked at; what the bytes are is for the model to say.

    Raises:
        ClientError: S3 refused.
    """
    number = ledger.begin()
    for key, size in _listed(s3, bucket, prefix):
        name = key.removeprefix(prefix)
        if any(is_litter(part) for part in name.split("/")) or not is_picture(Path(name)):
            continue
        file = command.shown(name)
        if not ledger.is_listed(file, size, 0, number):
            reason = None
            if size > MAX_BODY_BYTES:
                reason = f"has over {MAX_BODY_BYTES:,} bytes, more than the model takes"
            elif not size:
                reason = "is empty"
            ledger.add(file, name, size, 0, number, reason)
        yield file
    ledger.end_of_list(number)


def require(s3: S3Client, bucket: str, prefix: str) -> None:
    """Refuse a prefix under which there is nothing.

    Raises:
        Failure: it is so.
        ClientError: S3 refused.
    """
    if next(_listed(s3, bucket, prefix), None) is None:
        command.fail(f"nothing is in s3://{bucket}/{prefix}; name a prefix with pictures")


def _listed(s3: S3Client, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Key and size of the objects under a prefix, without folder markers."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                yield item["Key"], item["Size"]


def _batches(items: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    batch: list[tuple[str, int]] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
