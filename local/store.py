"""Records that outlive the process: one SQLite file of JSON documents."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.files import close_to_others, make_file, make_folder

Record = dict[str, Any]


class Store:
    """JSON documents by kind and name, safe to use from many threads.

    A record is what the service's Describe call answers, times as Unix seconds; keys that begin with
    an underscore are the local service's own and never leave it.

    Raises:
        OSError: the file cannot be opened, or is not of this kind.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        make_file(path)
        # SQLite gives the files beside it the modes that it has; an older service may have left them.
        for file in path.parent.glob(f"{path.name}*"):
            close_to_others(file)
        self._lock = threading.RLock()
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
            raise OSError(f"{path} cannot be used: {error}; move it away, or choose another folder") from None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

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
            row = self._connection.execute(
                "SELECT body FROM records WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        if row is None:
            raise KeyError(name)
        record: Record = json.loads(row[0])
        return record

    def list(self, kind: str, prefix: str = "") -> list[Record]:
        """The records of a kind whose names begin with `prefix`, newest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT body FROM records WHERE kind = ? AND substr(name, 1, ?) = ?"
                " ORDER BY created DESC, rowid DESC",
                (kind, len(prefix), prefix),
            ).fetchall()
        return [json.loads(body) for (body,) in rows]

    def update(self, kind: str, name: str, change: Callable[[Record], None]) -> Record:
        """Apply `change` to the record in one transaction and return it.

        Raises:
            KeyError: there is none of that name.
        """
        with self._transaction():
            record = self.get(kind, name)
            change(record)
            self._connection.execute(
                "UPDATE records SET body = ? WHERE kind = ? AND name = ?", (json.dumps(record), kind, name)
            )
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
