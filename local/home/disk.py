"""Errors of the home folder's disk: how to recognize them, and what a person reads."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

# Every failure of a full disk ends with this: nothing continues until a person has made room.
MAKE_ROOM = "make room and start again"


class NotRecorded(OSError):
    """A record cannot be written; the message is one line that says why, and what to do."""

    def __init__(self, database: Path, error: sqlite3.DatabaseError) -> None:
        if database_full(error):
            super().__init__(_full(database.parent, str(error)))
        else:
            super().__init__(f"{database} cannot be written ({error}); check its disk and start again")


def database_full(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite fails because it cannot grow the database, its log or (SHMSIZE) the log's index."""
    code = getattr(error, "sqlite_errorcode", None)  # Python's own errors have none
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def disk_fault(error: BaseException, home: Path) -> str | None:
    """The message for an error that the disk caused; None for every other error."""
    if isinstance(error, NotRecorded):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(home, os.strerror(error.errno))
    return None


def says_full(text: str) -> bool:
    """Whether a program says that the disk is full, in the words of the operating system."""
    return any(os.strerror(number) in text for number in (errno.ENOSPC, errno.EDQUOT))


def advice(error: OSError) -> str:
    """An error in words and, if the disk is full, what to do (added only once)."""
    text = str(error)
    return f"{text}; {MAKE_ROOM}" if says_full(text) and MAKE_ROOM not in text else text


def _full(folder: Path, reason: str) -> str:
    return f"the disk that holds {folder} is full ({reason}); {MAKE_ROOM}"
