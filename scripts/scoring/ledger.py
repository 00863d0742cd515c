"""What a scoring has done so far: a SQLite file in its output folder, from which a later start goes on.

Its size grows with the pictures, and this process's memory does not.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scripts.command as command

FILE, LOCK = "scoring.sqlite", "scoring.lock"
_TABLES = """
create table if not exists notes (name text primary key, value text not null) without rowid;
create table if not exists pictures (
    file text primary key,          -- as it is shown
    object text not null,           -- its key in the manifest; '' for a picture that is not sent
    bytes integer not null,
    changed integer not null,       -- when the file was last changed, in ns; 0 in S3
    pass integer not null,          -- the start that found it last
    job text not null default '',   -- the transform job that it is in
    label text,
    probability real,
    known integer,
    reason text                     -- why it has no label
) without rowid;
create index if not exists objects on pictures (object);
create table if not exists sent (object text primary key) without rowid;  -- what is in S3 already
"""


@dataclass(frozen=True)
class Counts:
    """How many pictures there are, have a label, have a reason why not, and are left."""

    pictures: int
    scored: int
    refused: int

    @property
    def left(self) -> int:
        return self.pictures - self.scored - self.refused


@dataclass(frozen=True)
class Row:
    """A picture's result."""

    file: str
    label: str
    probability: float
    known: bool | None  # None: the model cannot tell


class Ledger:
    """The pictures of a scoring, and what became of each. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger of a folder, or begin it.

        Raises:
            Failure: the file is not a ledger, or another process has it.
            OSError: the folder cannot be made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._lock = threading.RLock()
        self._holder = (folder / LOCK).open("w")
        try:
            fcntl.flock(self._holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._holder.close()
            command.fail(f"another score.py works in {folder}; wait for it, or name another --output")
        # Nothing is lost by a kill of this process; a power failure may cost the last answers, which S3 has.
        self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
            self._database.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self.close()
            command.fail(f"{self._path} is damaged or in use ({error}); name another --output")

    def close(self) -> None:
        """Let others use the folder."""
        self._database.close()
        self._holder.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def notes(self) -> dict[str, str]:
        """What was noted, by name."""
        return dict(self._all("select name, value from notes"))

    def note(self, **values: str) -> None:
        """Note or replace values."""
        for name, value in values.items():
            self._do("insert or replace into notes values (?, ?)", name, value)

    def forget(self, name: str) -> None:
        """Remove a note."""
        self._do("delete from notes where name = ?", name)

    def begin(self) -> int:
        """The number of this start; `end_of_list` forgets pictures that it does not find."""
        number = int(self.notes().get("pass", "0")) + 1
        self.note(**{"pass": str(number)})
        return number

    def is_listed(self, file: str, size: int, changed: int, number: int) -> bool:
        """Whether a picture is in the ledger as it is now; then it is marked as found."""
        return bool(
            self._do(
                "update pictures set pass = ? where file = ? and bytes = ? and changed = ?",
                number, file, size, changed,
            )
        )  # fmt: skip

    def add(self, file: str, key: str, size: int, changed: int, number: int, reason: str | None) -> None:
        """Add a picture, or replace what was known of an earlier one of that name."""
        self._do(
            "insert or replace into pictures (file, object, bytes, changed, pass, reason) "
            "values (?, ?, ?, ?, ?, ?)",
            file, key, size, changed, number, reason,
        )  # fmt: skip

    def end_of_list(self, number: int) -> None:
        """Forget the pictures that this start has not found."""
        self._do("delete from pictures where pass != ?", number)

    def is_sent(self, key: str) -> bool:
        """Whether an object is known to be in S3."""
        return bool(self._all("select 1 from sent where object = ?", key))

    def sent(self, keys: Sequence[str]) -> None:
        """Note that objects are in S3."""
        with self._lock:
            self._database.executemany("insert or ignore into sent values (?)", [(key,) for key in keys])

    def counts(self) -> Counts:
        ((pictures, scored, refused),) = self._all(
            "select count(*), count(label), count(reason) from pictures"
        )
        return Counts(pictures, scored, refused)

    def largest_bytes(self) -> int:
        """The size of the largest picture that is left; 0 for none."""
        ((largest,),) = self._all(f"select coalesce(max(bytes), 0) from pictures where {_LEFT}")
        return int(largest)

    def left(self, most: int) -> list[str]:
        """Objects of pictures that are left, each once, in order."""
        found = self._all(f"select distinct object from pictures where {_LEFT} order by object limit ?", most)
        return [key for (key,) in found]

    def assign(self, keys: Sequence[str], job: str) -> None:
        """Note the transform job that scores these objects."""
        with self._lock:
            self._database.executemany(
                "update pictures set job = ? where object = ?", [(job, key) for key in keys]
            )

    def left_of(self, job: str) -> int:
        """How many pictures of a job are left."""
        ((number,),) = self._all(f"select count(*) from pictures where job = ? and {_LEFT}", job)
        return int(number)

    def is_left(self, key: str) -> bool:
        """Whether there is a picture of this object without label and reason."""
        return bool(self._all(f"select 1 from pictures where object = ? and {_LEFT} limit 1", key))

    def is_object(self, key: str) -> bool:
        """Whether a picture has this object."""
        return bool(self._all("select 1 from pictures where object = ? limit 1", key))

    def answer(self, key: str, answer: Mapping[str, Any]) -> None:
        """Note what the model says of an object, as entrypoints/answer.py reads it."""
        known = int(answer["known"]) if "known" in answer else None
        self._do(
            "update pictures set label = ?, probability = ?, known = ?, reason = null where object = ?",
            answer["label"], answer["probabilities"][answer["label"]], known, key,
        )  # fmt: skip

    def refuse(self, key: str, reason: str) -> None:
        """Note why an object has no label."""
        self._do(f"update pictures set reason = ? where object = ? and {_LEFT}", reason, key)

    def refuse_rest_of(self, job: str, reason: str) -> None:
        """The same of all that is left of a job."""
        self._do(f"update pictures set reason = ? where job = ? and {_LEFT}", reason, job)

    def rows(self) -> Iterator[Row]:
        """The pictures with a label, in the order of their names."""
        query = "select file, label, probability, known from pictures where label is not null order by file"
        for file, label, probability, known in self._each(query):
            yield Row(file, label, probability, None if known is None else bool(known))

    def refused(self) -> Iterator[tuple[str, str]]:
        """File and reason of the pictures without a label."""
        yield from self._each("select file, reason from pictures where reason is not null order by file")

    def _do(self, statement: str, *values: Any) -> int:
        """Run a statement; the number of rows that it changed."""
        with self._lock:
            return self._database.execute(statement, values).rowcount

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _each(self, query: str) -> Iterator[tuple[Any, ...]]:
        with closing(self._database.execute(query)) as cursor:
            yield from cursor


_LEFT = "label is null and reason is null"
