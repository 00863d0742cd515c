"""Folders and files of the home: their owner's alone, whatever the umask."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

# Of the programs that the service starts: what they write lies in the home, too.
UMASK = 0o077


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, unless it is there.

    Raises:
        NotADirectoryError: it, or one above it, is a file.
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
    """Make an empty file, unless it is there; opening it later does not change its mode."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def close_to_others(path: Path) -> None:
    """Take from everybody but the owner what they may do with a file, or enter a folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & UMASK:
        path.chmod(mode & ~UMASK)


def close_tree_to_others(folder: Path) -> None:
    """The same for a folder and everything in it: what an archive held comes with the archive's modes."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            close_to_others(path)
