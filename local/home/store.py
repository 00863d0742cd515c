"""Records that outlive the process: one SQLite file of JSON documents."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from local.home.disk import NotRecorded, database_full
from local.home.files import close_to_others, make_file, make_folder

Record = dict[str, Any]

# How long a thread tries again what the disk does not take. Another job that ends gives back the room of its
# folder within that time. A person needs longer to make room, and Ctrl-C should not have to wait so long.
PATIENCE_S = 5.0
_RETRY_S = 0.2


class Store:
    """JSON documents by kind and name, safe to use from many threads.

    A record is what the service's Describe call answers, times as Unix seconds; keys that begin with
    an underscore are the local service's own and never leave it.

    Every method that writes raises NotRecorded if the disk does not take it; the record is then as it was.

    Raises:
        OSError: the file cannot be opened, or is not of this kind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent)
        make_file(path)
        # SQLite gives the files beside it the modes that it has; an older service may have left them.
        for file in path.parent.glob(f"{path.name}*"):
            close_to_others(file)
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, str], str] = {}  # bodies that wait for room, by kind and name
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            # With WAL the file is never damaged; what a power cut may cost is the last moments' records.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS records"
                " (kind TEXT, name TEXT, created REAL, body TEXT, PRIMARY KEY (kind, name))"
            )
        except sqlite3.DatabaseError as error:
            if database_full(error):
                raise NotRecorded(path, error) from None
            raise OSError(f"{path} cannot be used: {error}; move it away, or choose another folder") from None

    def close(self) -> None:
        """Write what waits for room, if there is some by now, and close the file."""
        with self._lock:
            self._write_kept()
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for (kind, name), body in self._kept.items():
                    self._write(kind, name, body)
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # when the disk is full, SQLite itself rolls back
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise NotRecorded(self._path, error) from None
                raise
            self._kept.clear()

    def _write(self, kind: str, name: str, body: str) -> None:
        self._connection.execute(
            "UPDATE records SET body = ? WHERE kind = ? AND name = ?", (body, kind, name)
        )

    def _write_kept(self) -> None:
        """Write the records that wait for room, if there is some by now."""
        if self._kept and not self._connection.in_transaction:
            with suppress(NotRecorded), self._transaction():
                pass

    def create(self, kind: str, name: str, record: Record) -> None:
        """Add a record.

        Raises:
            KeyError: there is one of that name.
        """
        with self._transaction() as connection:
            try:
                connection.execute(
                    "INSERT INTO records VALUES (?, ?, ?, ?)", (kind, name, time.time(), json.dumps(record))
                )
            except sqlite3.IntegrityError:
                raise KeyError(name) from None

    def get(self, kind: str, name: str) -> Record:
        """The record of that name.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            self._write_kept()
            row = self._connection.execute(
                "SELECT body FROM records WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            if row is None:
                raise KeyError(name)
            record: Record = json.loads(self._kept.get((kind, name), row[0]))
        return record

    def list(self, kind: str, prefix: str = "") -> list[Record]:
        """The records of a kind whose names begin with `prefix`, newest first."""
        with self._lock:
            self._write_kept()
            rows = self._connection.execute(
                "SELECT name, body FROM records WHERE kind = ? AND substr(name, 1, ?) = ?"
                " ORDER BY created DESC, rowid DESC",
                (kind, len(prefix), prefix),
            ).fetchall()
            bodies = [self._kept.get((kind, name), body) for name, body in rows]
        return [json.loads(body) for body in bodies]

    def update(self, kind: str, name: str, change: Callable[[Record], None], patience_s: float = 0) -> Record:
        """Apply `change` to the record in one transaction and return it.

        Args:
            patience_s: how long to try again what the disk does not take.

        Raises:
            KeyError: there is none of that name.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with self._transaction():
                    record = self.get(kind, name)
                    change(record)
                    self._write(kind, name, json.dumps(record))
                return record
            except NotRecorded:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_S)

    def keep(self, kind: str, name: str, change: Callable[[Record], None]) -> Record:
        """As `update`, for what has happened whether or not it can be written, such as the end of a job.

        What the disk does not take is kept in memory: every reader sees it, and it is written once there is
        room. If there is none before the service ends, a later service finds the record as it was.
        """
        with self._lock:
            try:
                return self.update(kind, name, change)
            except NotRecorded:
                record = self.get(kind, name)
                change(record)
                self._kept[kind, name] = json.dumps(record)
                return record

    def delete(self, kind: str, name: str) -> None:
        """Remove a record.

        Raises:
            KeyError: there is none of that name.
        """
        with self._transaction() as connection:
            gone = connection.execute("DELETE FROM records WHERE kind = ? AND name = ?", (kind, name))
            if gone.rowcount == 0:
                raise KeyError(name)
