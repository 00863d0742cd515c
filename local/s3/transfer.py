"""How jobs read and write buckets: as copies, which share nothing with the objects."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
import threading
from pathlib import Path

from local.home.files import make_file, make_folder

_COPY_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20


def copy_tree(source: Path, target: Path) -> int:
    """Copy the files of `source` (a file or a folder) to `target` and return how many there are.

    A copy is a file of its own, so that writing into one leaves the other as it was. Where
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


def archive(source: Path, target: Path) -> None:
    """Make `target` the tar.gz of a folder's content, whole or not at all."""
    make_folder(target.parent)
    partial = target.with_name(f".{target.name}.partial")
    make_file(partial)
    try:
        # Weights hardly compress: stored they are 8 % larger than at level 1, in a twentieth of its time.
        with tarfile.open(partial, "w:gz", compresslevel=0) as tar:
            for path in sorted(source.iterdir()):
                tar.add(path, arcname=path.name)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
