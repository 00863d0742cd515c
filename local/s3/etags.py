"""ETags: the MD5 of an object's content or, of a multipart upload, of its parts' MD5s, with their number."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from local.home.disk import NotRecorded, database_full
from local.home.files import make_file
from local.wire.errors import ServiceError
from local.wire.http import BLOCK_BYTES

SETTLED_NS = 1_000_000_000
EMPTY = '"d41d8cd98f00b204e9800998ecf8427e"'


class Hashed:
    """Writes through to a file and knows the ETag of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.md5(usedforsecurity=False)

    def write(self, block: bytes) -> int:
        """Write a block, and return its length."""
        self._digest.update(block)
        return self._file.write(block)

    @property
    def etag(self) -> str:
        """The ETag of what was written so far."""
        return f'"{self._digest.hexdigest()}"'


def multipart_etag(parts: Sequence[str]) -> str:
    """The ETag of an object whose parts have these (user guide, "Checking object integrity")."""
    digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in parts)
    return f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'


class ETags:
    """What is known of files' ETags, in SQLite beside the buckets, by path, size and time of the last change.

    A file that came some other way than through S3, such as a job's output, is read once when somebody asks.
    Nothing is opened before: who only lists or reads objects has no use for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        """The connection to the file.

        Raises:
            OSError: the file cannot be used.
        """
        if self._opened is None:
            make_file(self._path)
            try:
                connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS etags (path BLOB, size INTEGER, modified INTEGER, etag TEXT,"
                    " PRIMARY KEY (path, size, modified)) WITHOUT ROWID"
                )
            except sqlite3.DatabaseError as error:
                raise NotRecorded(self._path, error) from None
            self._opened = connection
        return self._opened

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def of(self, path: Path, status: os.stat_result, file: BinaryIO | None = None) -> str:
        """The ETag of the file at `path`, or of `file`, which was opened there.

        Raises:
            ServiceError: NoSuchKey, there is none any more.
        """
        try:
            if (kept := self._kept(path, status)) is not None:
                return kept
            with nullcontext(file) if file else path.open("rb") as source:
                # What stands there now, which somebody may have put there since.
                status = os.fstat(source.fileno())
                etag = _read(source.fileno())
        except FileNotFoundError:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", 404) from None
        # Within a tick of the file system's clock a file may change and keep its time.
        if time.time_ns() - status.st_mtime_ns > SETTLED_NS:
            self._insert(path, status, etag)
        return etag

    def _kept(self, path: Path, status: os.stat_result) -> str | None:
        with self._lock:
            try:
                found = self.open().execute(
                    "SELECT etag FROM etags WHERE path = ? AND size = ? AND modified = ?",
                    _identity(path, status),
                )
                row = found.fetchone()
            except sqlite3.DatabaseError as error:
                if not database_full(error):
                    raise NotRecorded(self._path, error) from None
                return None
        return row and str(row[0])

    def _insert(self, path: Path, status: os.stat_result, etag: str) -> None:
        with self._lock:
            try:
                self.open().execute(
                    "INSERT OR REPLACE INTO etags VALUES (?, ?, ?, ?)", (*_identity(path, status), etag)
                )
            except sqlite3.DatabaseError as error:
                if not database_full(error):  # else it is read again next time
                    raise NotRecorded(self._path, error) from None

    def keep(self, path: Path, status: os.stat_result, etag: str) -> None:
        """Keep the ETag of a file that is about to get this path, and forget those of others there.

        Raises:
            NotRecorded: the disk does not take it.
        """
        with self._lock:
            try:
                row = (*_identity(path, status), etag)
                self.open().execute("DELETE FROM etags WHERE path = ?", row[:1])
                self.open().execute("INSERT INTO etags VALUES (?, ?, ?, ?)", row)
            except sqlite3.DatabaseError as error:
                raise NotRecorded(self._path, error) from None

    def forget(self, path: Path) -> None:
        """Forget the ETags of a file, or of all files in a folder, that are there no more."""
        name = os.fsencode(path)
        with self._lock:
            try:
                self.open().execute(
                    "DELETE FROM etags WHERE path = ? OR (path > ? AND path < ?)",
                    (name, name + b"/", name + b"0"),
                )
            except sqlite3.DatabaseError as error:
                if not database_full(error):  # one that is kept too long does no harm
                    raise NotRecorded(self._path, error) from None


def _identity(path: Path, status: os.stat_result) -> tuple[bytes, int, int]:
    return os.fsencode(path), status.st_size, status.st_mtime_ns


def _read(descriptor: int) -> str:
    """The ETag of a file's content; where the file stands does not change."""
    digest = hashlib.md5(usedforsecurity=False)
    at = 0
    while block := os.pread(descriptor, BLOCK_BYTES, at):
        digest.update(block)
        at += len(block)
    return f'"{digest.hexdigest()}"'
