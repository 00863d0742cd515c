"""Records that outlive the process: one SQLite file of JSON documents."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from local.home import clock
from local.home.disk import NotRecorded, database_full
from local.home.files import close_to_others, make_file, make_folder

Record = dict[str, Any]

# How long a thread retries a write when the disk is full. Meanwhile a job that ends may free its folder.
# A person needs longer to make room, and Ctrl-C should not have to wait for that.
PATIENCE_S = 5.0
_RETRY_S = 0.2
_ASIDE = "unreadable "  # prefix of the kinds of records that are set aside
_BODY = "CAST(body AS BLOB)"  # also reads bytes that are not UTF-8


class _Damaged(Exception):
    """The file is not a database, or a damaged one."""


# Indexes that find the records of a kind together.
_PARENTS = {"pipeline-executions": "PipelineArn", "model-packages": "ModelPackageGroupName"}
# Members that may be long and that lists leave out, besides those that begin with an underscore.
_NEVER_LISTED = frozenset({"PipelineDefinition"})

# The columns of a record: keys, the summary for lists and, last because it is long, the whole record.
_Row = tuple[str | None, str | None, str, str]
_ROW = "parent, token, summary, body"
_TABLE = (
    "(kind TEXT, name TEXT, created REAL, parent TEXT, token TEXT, summary TEXT, body TEXT,"
    " PRIMARY KEY (kind, name))"
)
_INSERT = f"INSERT INTO records (kind, name, created, {_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?)"


class Store:
    """JSON documents by kind and name; thread-safe.

    A record is what the service's Describe call answers, times as Unix seconds. Keys that begin with
    an underscore are the local service's own and never leave it.

    Every method that writes raises NotRecorded if the disk is full; the record is then unchanged.

    A damaged file is set aside, as `damaged`, and replaced by a new one: the service must start.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.damaged: Path | None = None
        try:
            self._open(path)
        except _Damaged:
            self.damaged = _set_aside(path)
            self._open(path)

    def _open(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)
        make_file(path)
        # SQLite gives its side files the database's mode; an older service may have left some.
        for file in path.parent.glob(f"{path.name}*"):
            close_to_others(file)
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, str], _Row] = {}  # rows that wait for room, by kind and name
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise _Damaged
            self._connection.execute("PRAGMA journal_mode=WAL")
            # With WAL the file is never damaged; a power cut can lose only the last moments' records.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS records {_TABLE}")
            self._bring_up_to_date()
        except BaseException as error:
            self._connection.close()
            if not isinstance(error, sqlite3.DatabaseError):
                raise
            if database_full(error):
                raise NotRecorded(path, error) from None
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise _Damaged from None
            raise OSError(f"{path} cannot be used: {error}; move it away, or choose another folder") from None

    def _bring_up_to_date(self) -> None:
        """Copy an older service's table into one with today's columns, all or nothing; make the indexes."""
        connection = self._connection
        if "summary" not in {row[1] for row in connection.execute("PRAGMA table_info(records)")}:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ALTER TABLE records RENAME TO older")
            connection.execute(f"CREATE TABLE records {_TABLE}")
            rows = connection.execute(f"SELECT kind, name, created, {_BODY}, body FROM older ORDER BY rowid")
            for kind, name, created, readable, body in rows:
                try:
                    record = _parsed(readable)
                except ValueError:  # it is set aside when the service starts
                    connection.execute(_INSERT, (kind, name, created, None, None, None, body))
                    continue
                connection.execute(
                    _INSERT, (kind, name, record.get("CreationTime", created), *_row(kind, record))
                )
            connection.execute("DROP TABLE older")
            connection.execute("COMMIT")
        for index, columns in (("parent", "parent, created"), ("token", "token"), ("time", "created")):
            connection.execute(f"CREATE INDEX IF NOT EXISTS by_{index} ON records (kind, {columns})")

    def close(self) -> None:
        """Write the records that wait for disk space, if there is some by now, and close the file."""
        with self._lock:
            self._write_kept()
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for (kind, name), row in self._kept.items():
                    self._write(kind, name, row)
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # when the disk is full, SQLite itself rolls back
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise NotRecorded(self.path, error) from None
                raise
            self._kept.clear()

    def _write(self, kind: str, name: str, row: _Row) -> None:
        self._connection.execute(
            f"UPDATE records SET ({_ROW}) = (?, ?, ?, ?) WHERE kind = ? AND name = ?", (*row, kind, name)
        )

    def _write_kept(self) -> None:
        """Write the records that wait for disk space, if there is some by now."""
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
                created = record.get("CreationTime", clock.now())
                connection.execute(_INSERT, (kind, name, created, *_row(kind, record)))
            except sqlite3.IntegrityError:
                raise KeyError(name) from None

    def get(self, kind: str, name: str) -> Record:
        """The record of that name.

        Raises:
            KeyError: there is none.
            ValueError: it is damaged.
        """
        with self._lock:
            self._write_kept()
            row = self._connection.execute(
                f"SELECT {_BODY} FROM records WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            if row is None:
                raise KeyError(name)
            return _parsed(self._kept.get((kind, name), row)[-1])

    def summaries(
        self,
        kind: str,
        prefix: str = "",
        *,
        parent: str | None = None,
        created: tuple[float, float] | None = None,
        by_name: bool = False,
        ascending: bool = False,
        start: int = 0,
        count: int = -1,
    ) -> list[Record]:
        """The records as lists show them: all members but the long ones and the local service's own.

        Args:
            parent: as for `list`.
            created: from when to when, Unix seconds.
            by_name: sorted by name, not by the time of their creation.
            start: how many to skip.
            count: how many at most; -1 for all.
        """
        direction = "ASC" if ascending else "DESC"
        order = f"name {direction}" if by_name else f"created {direction}, rowid DESC"
        rest = f"ORDER BY {order} LIMIT {count} OFFSET {start}"
        return self._found("summary", kind, prefix, rest, parent=parent, created=created)

    def _found(
        self,
        column: str,
        kind: str,
        prefix: str,
        rest: str = "ORDER BY created DESC, rowid DESC",
        *,
        parent: str | None = None,
        token: str | None = None,
        holding: str = "",
        created: tuple[float, float] | None = None,
    ) -> list[Record]:
        conditions: dict[str, tuple[object, ...]] = {"kind = ?": (kind,)}
        if prefix:
            conditions["substr(name, 1, ?) = ?"] = (len(prefix), prefix)
        if parent is not None:
            conditions["parent = ?"] = (parent,)
        if token is not None:
            conditions["token = ?"] = (token,)
        if holding:
            conditions["instr(body, ?)"] = (holding,)
        if created is not None:
            conditions["created BETWEEN ? AND ?"] = created
        values = [value for each in conditions.values() for value in each]
        # Left alone, SQLite would use the index that sorts, and read every record.
        table = "records" if token is None else "records INDEXED BY by_token"
        selected = _BODY if column == "body" else column
        query = f"SELECT name, {selected} FROM {table} WHERE {' AND '.join(conditions)} {rest}"
        at = _ROW.split(", ").index(column)
        with self._lock:
            self._write_kept()
            rows = self._connection.execute(query, values).fetchall()
            waiting = {name: row[at] for (of_kind, name), row in self._kept.items() if of_kind == kind}
            found = [waiting.get(name, text) for name, text in rows]
        return [_parsed(text or b"") for text in found]

    def list(
        self,
        kind: str,
        prefix: str = "",
        *,
        parent: str | None = None,
        token: str | None = None,
        holding: str = "",
    ) -> list[Record]:
        """The records of a kind whose names begin with `prefix`, newest first.

        Args:
            parent: only those of this one, such as a pipeline's executions.
            token: only the record of the request with this token.
            holding: only those whose JSON text on disk contains this.
        """
        return self._found("body", kind, prefix, parent=parent, token=token, holding=holding)

    def kinds(self) -> Sequence[str]:
        """The kinds that have records, without those that are set aside."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT kind FROM records ORDER BY kind").fetchall()
        return [kind for (kind,) in rows if not kind.startswith(_ASIDE)]

    def names(self, kind: str) -> Sequence[tuple[str, float]]:
        """The names of the records of a kind and when each was made (Unix seconds), newest first."""
        with self._lock:
            return self._connection.execute(
                "SELECT name, created FROM records WHERE kind = ? ORDER BY created DESC, rowid DESC", (kind,)
            ).fetchall()

    def unreadable(self) -> Sequence[tuple[str, str]]:
        """Kind and name of every damaged record, without those that are set aside."""
        with self._lock:
            # Python may read what SQLite does not take for JSON, such as a NaN.
            doubtful = self._connection.execute(
                f"SELECT kind, name, {_BODY} FROM records WHERE kind NOT LIKE '{_ASIDE}%' AND"
                " CASE WHEN json_valid(body) THEN json_type(body) <> 'object' ELSE TRUE END"
            ).fetchall()
        return [(kind, name) for kind, name, body in doubtful if not _readable(body)]

    def set_aside(self, kind: str, name: str, instead: Record | None = None) -> None:
        """Move a record, unchanged, to another kind, and put another one, or none, in its place."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO records (kind, name, created, body)"
                " SELECT ? || kind, name, created, body FROM records WHERE kind = ? AND name = ?",
                (_ASIDE, kind, name),
            )
            if instead is None:
                connection.execute("DELETE FROM records WHERE kind = ? AND name = ?", (kind, name))
            else:
                self._write(kind, name, _row(kind, instead))

    def update(self, kind: str, name: str, change: Callable[[Record], None], patience_s: float = 0) -> Record:
        """Apply `change` to the record in one transaction and return it.

        Args:
            patience_s: how long to retry while the disk is full.

        Raises:
            KeyError: there is none of that name.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with self._transaction():
                    record = self.get(kind, name)
                    change(record)
                    self._write(kind, name, _row(kind, record))
                return record
            except NotRecorded:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_S)

    def keep(self, kind: str, name: str, change: Callable[[Record], None]) -> Record:
        """Like `update`, for facts that hold even if they cannot be written, such as the end of a job.

        If the disk is full, the record is kept in memory: every reader sees it, and it is written once there
        is space. If the service ends first, a later service finds the old record.
        """
        with self._lock:
            try:
                return self.update(kind, name, change)
            except NotRecorded:
                record = self.get(kind, name)
                change(record)
                self._kept[kind, name] = _row(kind, record)
                return record

    def replace(self, records: Iterable[tuple[str, str]], kind: str, name: str, record: Record) -> None:
        """Remove records, each by kind and name, and add one instead, in one transaction."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM records WHERE kind = ? AND name = ?", records)
            connection.execute(_INSERT, (kind, name, time.time(), *_row(kind, record)))

    def delete(self, kind: str, name: str) -> None:
        """Remove a record.

        Raises:
            KeyError: there is none of that name.
        """
        with self._transaction() as connection:
            gone = connection.execute("DELETE FROM records WHERE kind = ? AND name = ?", (kind, name))
            if gone.rowcount == 0:
                raise KeyError(name)


def _set_aside(path: Path) -> Path:
    """Rename a damaged database and SQLite's side files, adding the time; return the database's new path."""
    aside = path.with_name(f"{path.stem}.damaged-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
    for ending in ("", "-wal", "-shm"):
        if (file := path.with_name(path.name + ending)).exists():
            file.rename(aside.with_name(aside.name + ending))
    return aside


def _parsed(body: str | bytes) -> Record:
    record = json.loads(body)
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
    return record


def _readable(body: bytes) -> bool:
    with suppress(ValueError):
        _parsed(body)
        return True
    return False


def _row(kind: str, record: Record) -> _Row:
    listed = {
        key: value for key, value in record.items() if not key.startswith("_") and key not in _NEVER_LISTED
    }
    parent = record.get(_PARENTS.get(kind, ""))
    return parent, record.get("_token"), json.dumps(listed), json.dumps(record)
