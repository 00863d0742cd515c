"""Folders and files of the home: their owner's alone, whatever the umask; copied, never shared."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
from pathlib import Path

# Of the programs that the service starts: what they write lies in the home, too.
UMASK = 0o077
_COPY_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20


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
    """Make an empty file, unless it is there; whoever opens it afterwards leaves its mode as it is."""
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


def copy_tree(source: Path, target: Path) -> int:
    """Copy the files of `source` (a file or a folder) to `target` and return how many there are.

    A copy is a file of its own, so that whoever writes into one of the two leaves the other as it was. Where
    the file system can share blocks until then (a reflink), it does. Each file appears whole or not at all.
    Symbolic links are not followed, as SageMaker does not; they and special files are left out.

    Raises:
        ValueError: a symbolic link stands where `target` needs a folder.
    """
    if source.is_symlink():
        return 0
    if source.is_file():
        make_folder(target.parent)
        _copy(source, target)
        return 1
    count = 0
    for name, _, files in os.walk(source):
        folder = Path(name)
        inside = target / folder.relative_to(source)
        if inside.is_symlink():
            raise ValueError(f"{inside} is a symbolic link, which is not followed; put a folder in its place")
        regular = [path for path in map(folder.joinpath, files) if stat.S_ISREG(path.lstat().st_mode)]
        if regular:
            make_folder(inside)
        for path in regular:
            _copy(path, inside / path.name)
        count += len(regular)
    return count


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{threading.get_ident()}.partial")
    make_file(partial)
    try:
        with source.open("rb") as old, partial.open("wb") as new:
            # Linux shares blocks in copy_file_range where it can. Some systems and file systems lack it.
            with contextlib.suppress(AttributeError, OSError):
                while os.copy_file_range(old.fileno(), new.fileno(), _COPY_BYTES):
                    pass
            shutil.copyfileobj(old, new, _BLOCK_BYTES)  # goes on where that stopped
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
