"""A full disk for a store: SQLite itself refuses to grow the file, with its own message for a full disk."""

import sqlite3
import uuid

from local.home.store import Store

MESSAGE = r"the disk that holds .* is full \(database or disk is full\); make room and start again"


def fill(store: Store) -> None:
    """Leave no room for any record that grows.

    Holds the store's own lock: other threads use the same connection and could replace SQLite's last error
    before this one has read it.
    """
    with store._lock:
        connection = store._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")
        for size in (2000, 200, 20, 0):
            try:
                while True:
                    row = (str(uuid.uuid4()), "x" * size)
                    connection.execute(
                        "INSERT INTO records (kind, name, created, body) VALUES ('x', ?, 0, ?)", row
                    )
            except sqlite3.OperationalError:
                continue


def make_room(store: Store) -> None:
    """The disk is no longer full."""
    with store._lock:
        store._connection.execute("PRAGMA max_page_count=1000000")
