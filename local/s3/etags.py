"""ETags: the MD5 of an object's content or, for a multipart upload, of its parts' MD5s, plus their number."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from local.home.disk import NotRecorded, database_full
from local.home.files import make_file
from local.s3.metadata import Identity
from local.wire.errors import ServiceError
from local.wire.http import BLOCK_BYTES

SETTLED_NS = 1_000_000_000
PATHS_AT_ONCE = 500  # SQLite allows at least 999 values in a query
EMPTY = '"d41d8cd98f00b204e9800998ecf8427e"'


class Hashed:
    """Writes through to a file and computes the ETag."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.md5(usedforsecurity=False)

    def write(self, block: bytes) -> int:
        """Write a block, and return its length."""
        self._digest.update(block)
        return self._file.write(block)

    @property
    def etag(self) -> str:
        """The ETag of the bytes written so far."""
        return f'"{self._digest.hexdigest()}"'


def multipart_etag(parts: Sequence[str]) -> str:
    """The ETag of an object from its parts' ETags (user guide, "Checking object integrity")."""
    digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in parts)
    return f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'


class ETags:
    """A cache of files' ETags, in SQLite beside the buckets, by path, size and time of the last change.

    A file that did not come through S3, such as a job's output, is read once, when its ETag is needed. The
    database is opened only then: whoever just lists or reads objects does not need it.
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

    def of(self, path: str | Path, status: os.stat_result, file: BinaryIO | None = None) -> str:
        """The ETag of the file at `path`, or of `file`, which was opened there.

        Raises:
            ServiceError: NoSuchKey, the file is gone.
        """
        try:
            if (kept := self._kept(path, status)) is not None:
                return kept
            etag, now = _read_now(path, file)
        except FileNotFoundError:
            raise ServiceError("NoSuchKey", "The specified key does not exist.", 404) from None
        self._insert([(now, etag)])
        return etag

    def of_all(self, files: Sequence[Identity]) -> dict[Identity, str]:
        """The ETags of many files, looked up and stored together; a file that is gone has none."""
        found = self._known(files)
        read: list[tuple[Identity, str]] = []
        for file in files:
            if file not in found:
                with suppress(FileNotFoundError):
                    found[file], now = _read_now(os.fsdecode(file[0]))
                    read.append((now, found[file]))
        self._insert(read)
        return found

    def _kept(self, path: str | Path, status: os.stat_result) -> str | None:
        with self._lock:
            try:
                found = self.open().execute(
                    "SELECT etag FROM etags WHERE path = ? AND size = ? AND modified = ?",
                    identity(path, status),
                )
                row = found.fetchone()
            except sqlite3.DatabaseError as error:
                if not database_full(error):
                    raise NotRecorded(self._path, error) from None
                return None
        return row and str(row[0])

    def _known(self, files: Sequence[Identity]) -> dict[Identity, str]:
        found: dict[Identity, str] = {}
        if not files:
            return found
        paths = [path for path, _, _ in files]
        with self._lock:
            try:
                # The range from first to last is mostly the page itself; this takes a quarter of the time.
                query = "SELECT * FROM etags WHERE path BETWEEN ? AND ? LIMIT ?"
                rows = self.open().execute(query, (min(paths), max(paths), 2 * len(paths)))
                found.update((row[:3], row[3]) for row in rows)
                rest = [file[0] for file in files if file not in found]
                for at in range(0, len(rest), PATHS_AT_ONCE):
                    paths = rest[at : at + PATHS_AT_ONCE]
                    query = f"SELECT * FROM etags WHERE path IN ({', '.join('?' * len(paths))})"
                    found.update((row[:3], row[3]) for row in self.open().execute(query, paths))
            except sqlite3.DatabaseError as error:
                if not database_full(error):
                    raise NotRecorded(self._path, error) from None
        return found

    def _insert(self, read: Sequence[tuple[Identity, str]]) -> None:
        # Within a tick of the file system's clock a file may change and keep its time.
        settled = time.time_ns() - SETTLED_NS
        rows = [(*file, etag) for file, etag in read if file[2] < settled]
        if not rows:
            return
        with self._lock:
            try:
                with self.open() as connection:
                    connection.execute("BEGIN")
                    connection.executemany("INSERT OR REPLACE INTO etags VALUES (?, ?, ?, ?)", rows)
            except sqlite3.DatabaseError as error:
                if not database_full(error):  # else it is read again next time
                    raise NotRecorded(self._path, error) from None

    def keep(self, path: Path, status: os.stat_result, etag: str) -> None:
        """Store the ETag of a file that is about to get this path, and forget older ones there.

        Raises:
            NotRecorded: the disk is full.
        """
        with self._lock:
            try:
                row = (*identity(path, status), etag)
                self.open().execute("DELETE FROM etags WHERE path = ?", row[:1])
                self.open().execute("INSERT INTO etags VALUES (?, ?, ?, ?)", row)
            except sqlite3.DatabaseError as error:
                raise NotRecorded(self._path, error) from None

    def forget(self, path: Path) -> None:
        """Forget the ETags of a removed file, or of all files in a removed folder."""
        name = os.fsencode(path)
        with self._lock:
            try:
                self.open().execute(
                    "DELETE FROM etags WHERE path = ? OR (path > ? AND path < ?)",
                    (name, name + b"/", name + b"0"),
                )
            except sqlite3.DatabaseError as error:
                if not database_full(error):  # a stale one does no harm
                    raise NotRecorded(self._path, error) from None


def identity(path: str | Path, status: os.stat_result) -> Identity:
    """The key under which a file's ETag is stored."""
    return os.fsencode(path), status.st_size, status.st_mtime_ns


def _read_now(path: str | Path, file: BinaryIO | None = None) -> tuple[str, Identity]:
    """The ETag of the file at `path` now, or open as `file`, and its key.

    The file may have been replaced since the folder was read.
    """
    with nullcontext(file) if file else Path(path).open("rb") as source:
        now = identity(path, os.fstat(source.fileno()))
        return _read(source.fileno()), now


def _read(descriptor: int) -> str:
    """The ETag of a file's content; the file's position does not change."""
    digest = hashlib.md5(usedforsecurity=False)
    at = 0
    while block := os.pread(descriptor, BLOCK_BYTES, at):
        digest.update(block)
        at += len(block)
    return f'"{digest.hexdigest()}"'
