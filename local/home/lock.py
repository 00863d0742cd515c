"""Who holds a home folder: one service, or a command that must not run beside one."""

from __future__ import annotations

import contextlib
import fcntl
import json
from pathlib import Path
from typing import IO

from local.home.files import close_to_others, make_file

LOCK = "service.json"


class HomeInUse(Exception):
    """Another service holds this home folder; the message is one line."""


def lock(home: Path) -> tuple[IO[str], bool]:
    """Lock a home folder for this process, while the returned file is open.

    Returns:
        The file, in which a service writes its address and which it empties when it ends; and whether the
        previous service was killed.

    Raises:
        HomeInUse: another process holds it.
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
        with contextlib.suppress(ValueError, KeyError, TypeError):  # it is being written, or damaged
            holder = json.loads(text)
            where = f" (process {holder['pid']}, {holder['url']})"
        raise HomeInUse(
            f"{home} is in use by another local service{where};"
            " stop that one, use it with --local URL, or choose another folder with --home"
        ) from None
    file.seek(0)
    return file, bool(file.read())
