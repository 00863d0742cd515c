"""Archives that a command must not read to their end, or at all."""

import gzip
import io
import tarfile
from collections.abc import Callable

from entrypoints.archives import SMALL_BYTES

ZEROS = 16 << 20


def packed(*members: tarfile.TarInfo, data: bytes = b"") -> bytes:
    """A .tar.gz archive of these members, with only `data` as content."""
    headers = b"".join(member.tobuf(tarfile.GNU_FORMAT) for member in members)
    return gzip.compress(headers + data)


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


def bomb(name: str) -> bytes:
    """A real bomb: more zeros than are read, in a file's long name, which tarfile holds in memory."""
    size = SMALL_BYTES + ZEROS
    headers = member("././@LongLink", size, tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT)
    zeros = gzip.compress(bytes(ZEROS), 1) * (size // ZEROS)
    return gzip.compress(headers) + zeros + packed(member(name))


# The defect -> an archive that should hold the file `name`, and words of the refusal.
UNSAFE: dict[str, tuple[Callable[[str], bytes], str]] = {
    "a bomb": (bomb, "a bomb: "),
    "a large file": (lambda name: packed(member(name, 1 << 50)), "a bomb: "),
    "a large neighbor": (lambda name: packed(member("a", 1 << 50), member(name)), "a bomb: "),
    "a negative size": (lambda name: packed(member("a", -1), member(name)), "bytes"),
    "a symbolic link": (lambda name: packed(member(name, 0, tarfile.SYMTYPE, "/etc/passwd")), "is no file"),
    "a hard link": (lambda name: packed(member(name, 0, tarfile.LNKTYPE, "none")), "is no file"),
    "a pipe": (lambda name: packed(member(name, 0, tarfile.FIFOTYPE)), "is no file"),
    "a way out": (lambda name: packed(member("../a"), member(name)), "'../a' leads out of it"),
    "an absolute path": (lambda name: packed(member("/etc/a"), member(name)), "'/etc/a' leads out of it"),
    "half an archive": (lambda name: packed(member(name, 100))[:-20], "damaged: "),
    "no archive": (lambda _: b"{}", "damaged: "),
}


def archive_of(**files: bytes) -> bytes:
    """An intact archive of these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            tar.addfile(member(name, len(data)), io.BytesIO(data))
    return content.getvalue()
