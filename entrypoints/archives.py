"""Archives of models, code and training outputs, read within the limits of honest ones.

Weights hardly compress, text to a tenth: an archive that unpacks to a hundred times its size is a bomb.
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
SMALL_BYTES = 256 << 20  # unpacked; up to this, any ratio is fine, and a file may be held in memory
# What tarfile raises for a damaged archive, besides its own errors.
DAMAGE = (EOFError, OSError, ZlibError, LookupError, ValueError, ArithmeticError, RecursionError)


class UnsafeArchive(ValueError):
    """An archive that must not be read; the message is one line."""


class Gzipped(gzip.GzipFile):
    """A .tar.gz archive, unpacked, wherever a header points.

    Args:
        file: the archive.
        packed: its size in bytes.

    Raises:
        UnsafeArchive: a read goes beyond the size of an honest archive.
    """

    def __init__(self, file: IO[bytes] | Any, packed: int) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._most = max(SMALL_BYTES, RATIO_MAX * packed)
        self._told = f"a bomb: {packed:,} bytes unpack to more than {self._most:,}"

    def require(self, size: int) -> None:
        """Refuse an archive that unpacks to more than this number of bytes."""
        if size > self._most:
            raise UnsafeArchive(self._told)

    def read(self, size: int | None = -1) -> bytes:
        """Like GzipFile's; tarfile holds the whole header of a member at once."""
        if size is not None and size >= 0:
            self.require(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Like GzipFile's, which unpacks everything on the way."""
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
        check: raises for a member that must not be unpacked for another reason.

    Raises:
        UnsafeArchive: it is a bomb.
        tarfile.TarError: a path or a link leads out of the folder, or tarfile finds damage.
        DAMAGE: it is damaged, or the disk is full.
    """
    with opened(archive) as stream:

        def admitted(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
            if member.size < 0:  # tarfile would go back and loop for ever
                raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
            stream.require(member.offset_data + member.size)
            check(member)
            return tarfile.data_filter(member, path)

        with tarfile.open(fileobj=stream, mode="r:") as tar:
            tar.extractall(folder, filter=admitted)
        # tarfile takes an invalid header for the end, and never reads gzip's checksum.
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header at byte {tar.offset:,} of the tar archive, nor its end")
        while stream.read(1 << 20):
            pass


def read_members(file: IO[bytes] | Any, packed: int, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Stream the names and contents of files in a .tar.gz archive; nothing is written to the disk.

    Consuming all of them verifies the archive to its end.

    Args:
        file: the archive; it may be the body of an S3 object.
        packed: its size in bytes.
        wanted: names of files at its root.

    Raises:
        UnsafeArchive: it is damaged or a bomb, has a path that leads out of it, or a link in place of a file.
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
            # tarfile stops at the end of the tar archive; gzip's checksum and length follow.
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
