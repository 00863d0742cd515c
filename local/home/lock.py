"""Who keeps a home folder: one service, or a command that must not meet one."""

from __future__ import annotations

import contextlib
import fcntl
import json
from pathlib import Path
from typing import IO

from local.home.files import close_to_others, make_file

LOCK = "service.json"


class HomeInUse(Exception):
    """Another service keeps this home folder; the message is one line."""


def lock(home: Path) -> tuple[IO[str], bool]:
    """Keep a home folder for this process, as long as the returned file is open.

    Returns:
        The file, in which a service says where it answers and which it empties when it ends; and whether the
        service that kept it before was killed.

    Raises:
        HomeInUse: another process keeps it.
    """
    path = home / LOCK
    make_file(path)
    close_to_others(path)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        text = file.read()
        file.close()
        where = ""
        with contextlib.suppress(ValueError, KeyError, TypeError):  # it is just being written, or damaged
            holder = json.loads(text)
            where = f" (process {holder['pid']}, {holder['url']})"
        raise HomeInUse(
            f"{home} is in use by another local service{where};"
            " stop that one, talk to it with --local URL, or choose another folder with --home"
        ) from None
    file.seek(0)
    return file, bool(file.read())
