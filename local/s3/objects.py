"""Buckets and objects as files: s3://bucket/key is <root>/bucket/key."""

from __future__ import annotations

import bisect
import functools
import os
import stat
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from local.home.files import make_file, make_folder
from local.home.names import BUCKET_CHARACTERS, KEY_BYTES, is_bucket_name, symlink_on_the_way, unfit
from local.home.recovery import sweep
from local.s3.etags import EMPTY, SETTLED_NS, ETags, identity
from local.s3.metadata import Metadata, Object
from local.wire.errors import ServiceError

# Beside the buckets: no bucket can have this name.
TEMPORARY = ".temporary"


class Objects:
    """Objects are ordinary files, written under a temporary name and renamed, never changed in place.

    So an open object can be read to its end, and a file that another program renames into a bucket is an
    object at once. What a file cannot hold (metadata, a content type that its name does not imply) is in
    <root>/.headers and is removed with the object. A folder marker (an empty object with a key that ends in
    "/") is a folder; a folder without a marker is not an object. Symbolic links are never buckets, folders or
    objects: nothing is read or written through them.

    A file system cannot have a key "a" beside "a/b", "..", an empty part between slashes or a part over
    255 bytes: putting one is an InvalidRequest.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / TEMPORARY
        self.metadata = Metadata(root / ".headers", self.temporary)
        self._placing = threading.Lock()
        make_folder(self._temporary)
        self.etags = ETags(root / ".etags.sqlite")

    def sweep(self) -> None:
        """Remove temporary files that an earlier service did not rename."""
        sweep(self._temporary.iterdir())

    def buckets(self) -> list[tuple[str, float]]:
        """Names and times (the folder's last change, Unix seconds), sorted."""
        return sorted(
            (path.name, path.stat().st_mtime)
            for path in self.root.iterdir()
            if is_bucket_name(path.name) and _is_folder(path)
        )

    def require_bucket(self, bucket: str) -> None:
        """Raise InvalidBucketName for an impossible name, NoSuchBucket for a missing bucket."""
        _check_bucket_name(bucket)
        if not _is_folder(self.root / bucket):
            raise ServiceError("NoSuchBucket", f"The specified bucket does not exist: {bucket}", 404)

    def create_bucket(self, bucket: str) -> bool:
        """Make a bucket; return whether it is new.

        Raises:
            ServiceError: InvalidBucketName, BucketAlreadyExists (something else is in its place).
        """
        _check_bucket_name(bucket)
        if len(bucket) not in BUCKET_CHARACTERS:
            raise _invalid_bucket_name(bucket)
        path = self.root / bucket
        try:
            path.mkdir(0o700)
        except FileExistsError:
            if not _is_folder(path):
                raise ServiceError(
                    "BucketAlreadyExists",
                    f"{path} is not a folder; move it away, then create the bucket",
                    409,
                ) from None
            return False
        return True

    def delete_bucket(self, bucket: str) -> None:
        """Remove an empty bucket.

        Raises:
            ServiceError: InvalidBucketName, NoSuchBucket, BucketNotEmpty.
        """
        if next(self.list(bucket), None) is not None:
            raise ServiceError("BucketNotEmpty", f"The bucket to delete is not empty: {bucket}", 409)
        with self._placing:
            for folder, _, _ in os.walk(self.root / bucket, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:
                    raise ServiceError(
                        "BucketNotEmpty",
                        f"{folder} holds something that is not an object, such as a symbolic link; move it"
                        " away, then delete the bucket",
                        409,
                    ) from None

    def list(self, bucket: str, prefix: str = "", after: str = "", grouped: bool = False) -> Iterator[Object]:
        """Objects with a key that begins with `prefix` and comes after `after`, in key order.

        Grouped, a folder below the prefix gives one object only, and only if the folder's own key (with
        its slash) comes after `after`.
        """
        self.require_bucket(bucket)
        start = prefix.rpartition("/")[2]
        base = prefix.removesuffix(start)
        if not base or self._reachable(bucket, base):
            yield from self._walk(bucket, base, start, after, grouped)

    def _walk(self, bucket: str, base: str, start: str, after: str, grouped: bool) -> Iterator[Object]:
        if base and not start and base > after and (marker := self._look(bucket, base)):
            yield marker
        folder = f"{self.root / bucket}/{base}"
        names = _names(Path(folder))
        reached = after[len(base) :].partition("/")[0] if after.startswith(base) else ""
        for name in names[bisect.bisect_left(names, max(start, reached)) :]:
            key = base + name
            if not name.startswith(start):
                return
            if not name.endswith("/"):
                if key > after and (found := self._file(key, folder + name)):
                    yield found
            elif grouped:
                if key > after and (witness := next(self._walk(bucket, key, "", "", False), None)):
                    yield witness
            elif key > after or after.startswith(key):
                yield from self._walk(bucket, key, "", after, False)

    def _look(self, bucket: str, key: str) -> Object | None:
        if not key.endswith("/"):
            return self._file(key, str(self.root / bucket / key))
        try:
            status = self.metadata.path(bucket, key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Object(key, 0, status.st_mtime, lambda: EMPTY)

    def _file(self, key: str, path: str) -> Object | None:
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        find_etag = partial(self.etags.of, path, status)
        return Object(key, status.st_size, status.st_mtime, find_etag, identity(path, status))

    def _reachable(self, bucket: str, key: str) -> bool:
        """Whether a file can have the key, and no symbolic link is on the path to its folder."""
        return unfit(key) is None and self._symlink(bucket, key) is None

    def _symlink(self, bucket: str, key: str) -> Path | None:
        return symlink_on_the_way(self.root / bucket, key.split("/")[:-1])

    def find(self, bucket: str, key: str) -> Object:
        """The object of that key.

        Raises:
            ServiceError: InvalidBucketName, NoSuchBucket, NoSuchKey.
        """
        self.require_bucket(bucket)
        found = self._look(bucket, key) if self._reachable(bucket, key) else None
        if found is None:
            raise ServiceError("NoSuchKey", f"The specified key does not exist: {key}", 404)
        return found

    def open(self, bucket: str, key: str) -> tuple[Object, BinaryIO | None]:
        """The object and its content, open for reading; None for a folder marker.

        Raises:
            ServiceError: InvalidBucketName, NoSuchBucket, NoSuchKey.
        """
        found = self.find(bucket, key)
        if key.endswith("/"):
            return found, None
        path = self.root / bucket / key
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise ServiceError("NoSuchKey", f"The specified key does not exist: {key}", 404) from None
        status = os.fstat(file.fileno())
        return Object(key, status.st_size, status.st_mtime, partial(self.etags.of, path, status, file)), file

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """An empty file on the buckets' file system; removed afterwards, unless it was renamed."""
        path = self._temporary / uuid.uuid4().hex
        make_file(path)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def put(
        self, bucket: str, key: str, content: Path, etag: str, headers: Mapping[str, str], new: bool = False
    ) -> Object:
        """Make the file `content`, from `temporary`, the object of that key and ETag, in one step.

        With `new`, refuse to replace an object.

        Raises:
            ServiceError: InvalidBucketName, NoSuchBucket, KeyTooLongError, InvalidRequest (no file can have
                this key, or not here), PreconditionFailed (`new`, and there is one).
        """
        check_key(key)
        now = time.time_ns()
        # The kernel's own stamp moves in steps of milliseconds, too coarse to tell one content from another.
        os.utime(content, ns=(now, now))
        status = content.stat()
        found = Object(key, status.st_size, status.st_mtime, lambda: etag)
        path = self.root / bucket / key
        with self._placing:
            self.require_bucket(bucket)
            if link := self._symlink(bucket, key):
                raise ServiceError(
                    "InvalidRequest",
                    f"The local S3 keeps objects as files and does not follow symbolic links; {link} is one",
                )
            if new and self._look(bucket, key):
                raise ServiceError("PreconditionFailed", f"The key {key!r} exists", 412)
            try:
                if key.endswith("/"):
                    return self._put_marker(bucket, found, headers)
                make_folder(path.parent)
                if _is_folder(path):
                    raise IsADirectoryError
                self.metadata.keep(bucket, found, headers)
                self.etags.keep(path, status, etag)
                content.replace(path)
            except (NotADirectoryError, IsADirectoryError):
                raise ServiceError(
                    "InvalidRequest",
                    f"The local S3 keeps objects as files; the key {key!r} cannot exist beside another key "
                    "that is the same up to a slash, since one name is a file or a folder",
                ) from None
        return found

    def _put_marker(self, bucket: str, found: Object, headers: Mapping[str, str]) -> Object:
        if found.size:
            raise ServiceError(
                "InvalidRequest",
                f"The local S3 keeps the key {found.key!r} as a folder, which cannot have content",
            )
        make_folder(self.root / bucket / found.key)
        self.metadata.mark(bucket, found.key, headers)
        return self.find(bucket, found.key)

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object, if there is one, and the folders that no other key needs."""
        self.require_bucket(bucket)
        if not self._reachable(bucket, key):
            return
        with self._placing:
            if self._look(bucket, key) is None:
                return
            path = self.root / bucket / key
            if not key.endswith("/"):
                path.unlink()
                self.etags.forget(path)
            self.metadata.forget(bucket, key)
            folder = key[:-1] if key.endswith("/") else key.rpartition("/")[0]
            # rmdir refuses where another key still needs the folder.
            with suppress(OSError):
                while folder and not self._look(bucket, folder + "/"):
                    (self.root / bucket / folder).rmdir()
                    folder = folder.rpartition("/")[0]


def check_key(key: str) -> None:
    """Refuse a key that no file can have.

    Raises:
        ServiceError: KeyTooLongError, InvalidRequest.
    """
    if (reason := unfit(key)) is not None:
        code = "KeyTooLongError" if len(key.encode()) > KEY_BYTES else "InvalidRequest"
        raise ServiceError(code, f"The local S3 keeps objects as files; the key {key!r} {reason}")


def _check_bucket_name(bucket: str) -> None:
    if not is_bucket_name(bucket):
        raise _invalid_bucket_name(bucket)


def _invalid_bucket_name(bucket: str) -> ServiceError:
    return ServiceError("InvalidBucketName", f"The specified bucket is not valid: {bucket!r}")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _names(folder: Path) -> Sequence[str]:
    """Names of the files in a folder and, with a slash, of its folders, in key order."""
    try:
        changed = folder.stat().st_mtime_ns
        # A change within one tick of the file system's clock leaves the time as it is.
        settled = time.time_ns() - changed > SETTLED_NS
        return _settled_names(folder, changed) if settled else _scan(folder)
    except (FileNotFoundError, NotADirectoryError):
        return ()


@functools.lru_cache(maxsize=8)
def _settled_names(folder: Path, changed: int) -> Sequence[str]:  # noqa: ARG001
    return _scan(folder)


def _scan(folder: Path) -> Sequence[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name + "/" if entry.is_dir() else entry.name for entry in entries if not entry.is_symlink()
        )
