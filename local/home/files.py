"""Folders and files of the home: accessible to their owner only, whatever the umask."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

# For the programs that the service starts: they write into the home, too.
UMASK = 0o077


def make_folder(path: Path) -> None:
    """Make a folder, with missing parents, unless it exists.

    Raises:
        NotADirectoryError: it, or a parent, is a file.
    """
    try:
        path.mkdir(0o700)
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(0o700, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def make_file(path: Path) -> None:
    """Make an empty file, unless it exists; opening it later does not change its mode."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def close_to_others(path: Path) -> None:
    """Remove everybody's permissions on a file or folder but the owner's."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & UMASK:
        path.chmod(mode & ~UMASK)


def close_tree_to_others(folder: Path) -> None:
    """The same for a folder and everything in it: unpacked files have the archive's modes."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            close_to_others(path)
