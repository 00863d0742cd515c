"""What becomes of records at the start of a service: each by itself, so that a bad one is in nobody's way."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from local.home.disk import disk_fault
from local.home.store import Record, Store
from local.wire.errors import ServiceError

log = logging.getLogger(__name__)

# What a damaged record, or a folder in its place, leads to; anything else is an error of the service.
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, OSError, ServiceError)


def recover(
    store: Store,
    kind: str,
    whole: Callable[[Record], object],
    take_up: Callable[[str, Record], None],
    given_up: Callable[[str, float, str], Record],
) -> None:
    """Take up every record of a kind; close one that cannot be, and say so in it and in the log.

    Args:
        whole: raises one of DAMAGE for a record that the operations could not answer with.
        take_up: does what is to be done for the record of that name; the same.
        given_up: the members of a record that could not be taken up, from its name, when it was made (Unix
            seconds) and the reason. One that is not whole has no others; the store keeps what it was.

    Raises:
        OSError: the disk is full.
    """
    for name, created in store.names(kind):
        record = None
        try:
            found = store.get(kind, name)
            whole(found)
            record = found
            take_up(name, record)
        except DAMAGE as error:
            if disk_fault(error, store.path.parent):
                raise
            fault = (
                f"it has no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            )
            log.warning("%s %s could not be taken up, and is closed: %s", kind, name, fault)
            members = given_up(
                name, created, f"the local service started, and could not take this up: {fault}"
            )
            if record is None:
                store.set_aside(kind, name, members)
            else:
                store.keep(kind, name, partial(_add, members=members))


def _add(record: Record, members: Record) -> None:
    """Close a whole record: what it holds of the service's own stays."""
    record.update({key: value for key, value in members.items() if not (key[0] == "_" and key in record)})


def set_unreadable_aside(store: Store) -> None:
    """Take records that nobody can read out of the way of the others of their kind."""
    for kind, name in store.unreadable():
        log.warning("%s %s cannot be read: it is set aside in %s, and there is none", kind, name, store.path)
        store.set_aside(kind, name)


def sweep(paths: Iterable[Path]) -> None:
    """Remove files and folders that a killed service was still at work on."""
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            log.warning("%s, which an earlier service left, cannot be removed: %s", path, error)
