"""What happens to records when a service starts: each by itself, so a bad one does not block the others."""

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

# What damaged records raise, or a folder in a file's place; anything else is a bug of the service.
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, OSError, ServiceError)


def recover(
    store: Store,
    kind: str,
    whole: Callable[[Record], object],
    take_up: Callable[[str, Record], None],
    given_up: Callable[[str, float, str], Record],
) -> None:
    """Continue with every record of a kind; close one that is damaged, and say so in it and in the log.

    Args:
        whole: raises one of DAMAGE for a record that the operations could not use in an answer.
        take_up: does what the record of that name needs; may raise the same.
        given_up: the members of a closed record, from its name, its creation time (Unix seconds) and the
            reason. A damaged record gets only these; the store keeps the original aside.

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
            log.warning("%s %s could not be continued, and is closed: %s", kind, name, fault)
            members = given_up(
                name, created, f"the local service started, and could not continue with this: {fault}"
            )
            if record is None:
                store.set_aside(kind, name, members)
            else:
                store.keep(kind, name, partial(_add, members=members))


def _add(record: Record, members: Record) -> None:
    """Close a record that is not damaged: the service's own members stay."""
    record.update({key: value for key, value in members.items() if not (key[0] == "_" and key in record)})


def set_unreadable_aside(store: Store) -> None:
    """Set aside unreadable records, so that the others of their kind stay usable."""
    for kind, name in store.unreadable():
        log.warning(
            "%s %s cannot be read: it is set aside in %s, and no longer exists", kind, name, store.path
        )
        store.set_aside(kind, name)


def sweep(paths: Iterable[Path]) -> None:
    """Remove files and folders that a killed service left unfinished."""
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            log.warning("%s, which an earlier service left, cannot be removed: %s", path, error)
