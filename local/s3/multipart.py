"""Multipart uploads: parts are kept beside the buckets until they become one object."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.home.files import make_folder
from local.home.recovery import sweep
from local.s3.etags import multipart_etag
from local.s3.metadata import Object
from local.s3.objects import Objects, check_key
from local.wire.errors import ServiceError
from local.wire.http import BLOCK_BYTES

PARTS = 10_000
PART_BYTES_MIN = 5 << 20


@dataclass(frozen=True)
class Part:
    """One uploaded part; `modified` in seconds since 1970."""

    number: int
    size: int
    modified: float
    etag: str


class Uploads:
    """Uploads in progress: <root>/.uploads/<upload id>/ has upload.json and one file per part."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._root = objects.root / ".uploads"

    def sweep(self) -> None:
        """Delete all uploads and their parts."""
        for folder in self._root.glob("*"):
            self._objects.etags.forget(folder)
            sweep([folder])

    def create(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Begin an upload and return its id.

        Raises:
            ServiceError: InvalidBucketName, NoSuchBucket, KeyTooLongError, InvalidRequest (no file can have
                this key).
        """
        self._objects.require_bucket(bucket)
        check_key(key)
        upload = uuid.uuid4().hex
        record = {"bucket": bucket, "key": key, "headers": dict(headers)}
        with self._objects.temporary() as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")
            make_folder(self._root / upload)
            temporary.replace(self._root / upload / "upload.json")
        return upload

    def put(self, bucket: str, key: str, upload: str, number: int, content: Path, etag: str) -> Part:
        """Make the file `content`, with this ETag, part `number` (1 to 10,000) of the upload."""
        folder, _ = self._folder(bucket, key, upload)
        if not 1 <= number <= PARTS:
            raise ServiceError(
                "InvalidArgument", f"Part number must be an integer between 1 and {PARTS}, inclusive"
            )
        path = folder / str(number)
        self._objects.etags.keep(path, content.stat(), etag)
        content.replace(path)
        return self._part(path)

    def parts(self, bucket: str, key: str, upload: str) -> list[Part]:
        """The parts that have arrived, by number."""
        folder, _ = self._folder(bucket, key, upload)
        paths = (path for path in folder.iterdir() if path.name.isdigit())
        return sorted(map(self._part, paths), key=lambda part: part.number)

    def list(self, bucket: str) -> list[tuple[str, str, float]]:
        """Key, upload id and time (Unix seconds) of the bucket's uploads, sorted."""
        self._objects.require_bucket(bucket)
        found = []
        for path in self._root.glob("*/upload.json"):
            record = json.loads(path.read_bytes())
            if record["bucket"] == bucket:
                found.append((record["key"], path.parent.name, path.stat().st_mtime))
        return sorted(found)

    def complete(
        self, bucket: str, key: str, upload: str, chosen: Sequence[tuple[int, str]], new: bool
    ) -> Object:
        """Join the chosen parts (number, ETag), in this order, into the object.

        Raises:
            ServiceError: NoSuchUpload, InvalidPart, InvalidPartOrder, EntityTooSmall, and what
                Objects.put raises; the parts are then kept.
        """
        folder, record = self._folder(bucket, key, upload)
        there = {part.number: part for part in self.parts(bucket, key, upload)}
        numbers = [number for number, _ in chosen]
        if not numbers or any(
            number not in there or there[number].etag.strip('"') != etag.strip('"') for number, etag in chosen
        ):
            raise ServiceError("InvalidPart", "One or more of the specified parts could not be found")
        if numbers != sorted(set(numbers)):
            raise ServiceError("InvalidPartOrder", "The list of parts was not in ascending order")
        if any(there[number].size < PART_BYTES_MIN for number in numbers[:-1]):
            raise ServiceError("EntityTooSmall", "Only the last part may be smaller than 5 MiB")
        with self._objects.temporary() as temporary:
            with temporary.open("wb") as target:
                for number in numbers:
                    with (folder / str(number)).open("rb") as source:
                        shutil.copyfileobj(source, target, BLOCK_BYTES)
            etag = multipart_etag([there[number].etag for number in numbers])
            found = self._objects.put(bucket, key, temporary, etag, record["headers"], new)
        self._remove(folder)
        return found

    def abort(self, bucket: str, key: str, upload: str) -> None:
        """Delete the upload and its parts."""
        folder, _ = self._folder(bucket, key, upload)
        self._remove(folder)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder)
        self._objects.etags.forget(folder)

    def _part(self, path: Path) -> Part:
        status = path.stat()
        etag = self._objects.etags.of(path, status)
        return Part(int(path.name), status.st_size, status.st_mtime, etag)

    def _folder(self, bucket: str, key: str, upload: str) -> tuple[Path, dict[str, Any]]:
        record: dict[str, Any] = {}
        if re.fullmatch("[0-9a-f]{32}", upload):
            with suppress(FileNotFoundError):
                record = json.loads((self._root / upload / "upload.json").read_bytes())
        if (record.get("bucket"), record.get("key")) != (bucket, key):
            raise ServiceError(
                "NoSuchUpload", f"The specified multipart upload does not exist: {upload}", 404
            )
        return self._root / upload, record
