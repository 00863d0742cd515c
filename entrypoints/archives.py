"""Archives of models, of code and of what trainings left, read no further than an honest one goes.

Weights hardly compress, and text to a tenth: an archive that promises a hundred times its size is a bomb.
"""

from __future__ import annotations

import contextlib
import gzip
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any
from zlib import error as ZlibError

RATIO_MAX = 100
SMALL_BYTES = 256 << 20  # unpacked; up to this, any ratio will do. As large a file may be held in memory
# What tarfile makes of a damaged archive, besides its own errors.
DAMAGE = (EOFError, OSError, ZlibError, LookupError, ValueError, ArithmeticError, RecursionError)


class UnsafeArchive(ValueError):
    """An archive that must not be read; the message is one line."""


class Gzipped(gzip.GzipFile):
    """A .tar.gz archive, unpacked, wherever a header points.

    Args:
        file: the archive.
        packed: its size in bytes.

    Raises:
        UnsafeArchive: it is asked for more than an honest archive holds.
    """

    def __init__(self, file: IO[bytes] | Any, packed: int) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._most = max(SMALL_BYTES, RATIO_MAX * packed)
        self._told = f"a bomb: {packed:,} bytes unpack to more than {self._most:,}"

    def require(self, size: int) -> None:
        """Refuse what takes more than this number of bytes."""
        if size > self._most:
            raise UnsafeArchive(self._told)

    def read(self, size: int | None = -1) -> bytes:
        """As GzipFile's; tarfile holds all of a member's own header at once."""
        if size is not None and size >= 0:
            self.require(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As GzipFile's, which unpacks on its way."""
        self.require(offset)
        return super().seek(offset, whence)


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[Gzipped]:
    """A .tar.gz archive on the disk, unpacked."""
    with archive.open("rb") as file, Gzipped(file, archive.stat().st_size) as stream:
        yield stream


def extract(
    archive: Path, folder: Path, check: Callable[[tarfile.TarInfo], None] = lambda _member: None
) -> None:
    """Unpack a .tar.gz archive, verified to its end, by tarfile's "data" filter.

    Args:
        check: raises for a member that is not to be unpacked for another reason.

    Raises:
        UnsafeArchive: it is a bomb.
        tarfile.TarError: a path or a link leads out of the folder; it is damaged, as tarfile says it.
        DAMAGE: it is damaged; the disk is full.
    """
    with opened(archive) as stream:

        def admitted(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
            if member.size < 0:  # tarfile would go back, and never end
                raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
            stream.require(member.offset_data + member.size)
            check(member)
            return tarfile.data_filter(member, path)

        with tarfile.open(fileobj=stream, mode="r:") as tar:
            tar.extractall(folder, filter=admitted)
        # At a header that is none, tarfile ends as at the end; and it never comes to gzip's checksum.
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header at byte {tar.offset:,} of the tar archive, nor its end")
        while stream.read(1 << 20):
            pass


def read_members(file: IO[bytes] | Any, packed: int, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The names and contents of files in a .tar.gz archive, as it comes; nothing is written to the disk.

    The archive is verified to its end if all of them are taken.

    Args:
        file: the archive, the body of an S3 object perhaps.
        packed: its size in bytes.
        wanted: names of files at its root.

    Raises:
        UnsafeArchive: it is damaged or a bomb, has a path that leads out of it, or a link where a file should
            be.
    """
    try:
        with Gzipped(file, packed) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    _check(member, stream)
                    name = member.name.removeprefix("./")
                    if name not in wanted:
                        continue
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is None or member.size > SMALL_BYTES:
                        raise UnsafeArchive(f"{name!r} is no file of up to {SMALL_BYTES:,} bytes")
                    yield name, content.read()
            # tarfile reads no further than the tar archive's end; gzip's checksum and length come after it.
            while stream.read(1 << 20):
                pass
    except UnsafeArchive:
        raise
    except (tarfile.TarError, *DAMAGE) as error:
        raise UnsafeArchive(f"damaged: {type(error).__name__}: {error}") from None


def _check(member: tarfile.TarInfo, stream: Gzipped) -> None:
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise UnsafeArchive(f"{member.name!r} leads out of it")
    if member.size < 0:
        raise UnsafeArchive(f"{member.name!r} has {member.size} bytes")
    stream.require(member.offset_data + member.size)
