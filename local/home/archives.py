"""Untrusted archives, checked before they are unpacked: files stay in the folder, and fit on the disk."""

from __future__ import annotations

import errno
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from entrypoints.archives import DAMAGE, UnsafeArchive, opened

# Lambda developer guide, "Lambda quotas": a deployment package, unzipped.
ZIP_BYTES_MAX = 262_144_000
# System errors that an archive can cause; None is for errors without an errno.
_OWN_ERRORS = {
    None, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ,
}  # fmt: skip


def check_tar(archive: Path) -> None:
    """Refuse an unsafe .tar.gz archive before a program unpacks it unchecked, as SageMaker's toolkits do.

    Raises:
        UnsafeArchive: it is damaged or a bomb; a member has an absolute path, a "..", or is a device or a
            pipe; a link leads out of it or through another link.
    """
    links: dict[str, str] = {}
    names: list[str] = []
    total = 0
    try:
        with opened(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                total += max(member.size, 0)
                stream.require(total)
                _check_member(member)
                names.append(member.name)
                if member.issym() or member.islnk():
                    links[str(PurePosixPath(member.name))] = member.linkname
                    beside = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
                    names.append(str(beside / member.linkname))
                    _check_name(member.linkname, member.name, member.issym())
    except UnsafeArchive:
        raise
    except (tarfile.TarError, *DAMAGE) as error:
        raise _damaged(error) from None
    for name in names:
        for place in _on_the_way(name):
            if place in links:
                raise UnsafeArchive(f"{name!r} leads through the link {place!r}")


def _check_member(member: tarfile.TarInfo) -> None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise UnsafeArchive(f"{member.name!r} is a device or a pipe")
    if member.size < 0:  # tarfile would seek backwards, and never end
        raise UnsafeArchive(f"{member.name!r} has {member.size} bytes")
    _check_name(member.name, member.name, False)


def _check_name(path: str, member: str, relative: bool) -> None:
    """Refuse a member's path, or a link's target, that is not below the archive's root."""
    depth = len(PurePosixPath(member).parts) - 1 if relative else 0
    for part in path.split("/"):
        depth += (part not in {"", ".", ".."}) - (part == "..")
        if depth < 0 or path.startswith("/") or (part == ".." and not relative):
            raise UnsafeArchive(f"{member!r} leads out of it" + (f" to {path!r}" if path != member else ""))


def _on_the_way(path: str) -> Iterator[str]:
    """The folders on a path."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if parts:
            yield "/".join(parts)
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)


def unzip(file: Any, folder: Path) -> None:
    """Unpack a zip archive.

    Raises:
        UnsafeArchive: it is damaged, encrypted, or larger than Lambda takes; a path leads out of it, or a
            member is a link (zipfile would write it as a file that contains the link's target).
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) >= ZIP_BYTES_MAX:
                raise UnsafeArchive(f"Unzipped size must be smaller than {ZIP_BYTES_MAX} bytes")
            for member in members:
                _check_name(member.filename, member.filename, False)
                # Archives made on Unix have file types; in others every member is a file.
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise UnsafeArchive(f"{member.filename!r} is a link or a device, not a file")
            archive.extractall(folder)
    except UnsafeArchive:
        raise
    # RuntimeError: an encrypted archive.
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, *DAMAGE) as error:
        raise _damaged(error) from None


def _damaged(error: Exception) -> Exception:
    """The error to raise for one in reading or unpacking: a full disk is not the archive's fault."""
    if isinstance(error, OSError) and error.errno not in _OWN_ERRORS:
        return error
    return UnsafeArchive(f"damaged: {type(error).__name__}: {error}")
