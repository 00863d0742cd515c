"""Model data that is damaged, malformed or hostile: no server starts from it, and its endpoint says why."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.endpoints.model_server import LaunchError, launch
from local.home.home import Home
from tests.local.endpoint_service import APP, Service, deleted, restarted, serving


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as service:
        yield service


def member(name: str, size: int = 0, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of an archive, with this many bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info, b"w" * max(size, 0)


def tar(*members: tuple[tarfile.TarInfo, bytes], app_py: str = "app.py") -> bytes:
    """An uncompressed tar archive of a model that can be served, and these members."""
    app = tarfile.TarInfo(app_py)
    app.size = len(APP)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in ((app, APP.encode()), *members):
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def negative() -> bytes:
    """An archive whose last member has -512 bytes, so that a reader would find the same member again."""
    content = bytearray(tar(member("weights", 512)))
    start = content.index(b"weights\0")
    content[start + 124 : start + 136] = b"\xff" * 10 + (-512 + 65536).to_bytes(2, "big")
    checksum, _ = tarfile.calc_chksums(bytes(content[start : start + 512]))
    content[start + 148 : start + 156] = b"%06o\0 " % checksum
    return gzip.compress(bytes(content))


def damaged() -> bytes:
    """An archive of stored blocks, as the local service writes them: all of it parses after the damage."""
    content = bytearray(gzip.compress(tar(member("weights", 200_000)), 0))
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(byte ^ 1 for byte in content[middle : middle + 4000])
    return bytes(content)


def bomb(kind: bytes = tarfile.REGTYPE) -> bytes:
    """1 GB of zeros in 1 MB, as gzip allows: the same 16 MB repeated."""
    zeros = tarfile.TarInfo("zeros")
    zeros.size, zeros.type = 1 << 30, kind
    return gzip.compress(zeros.tobuf()) + 64 * ZEROS


ZEROS = gzip.compress(bytes(16 << 20))
WHOLE = gzip.compress(tar(member("weights", 2000)))
DEEP = "/".join("d" * 1200)
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "4,000 bytes changed": (damaged, "BadGzipFile: CRC check failed"),
    "another checksum": (lambda: WHOLE[:-8] + bytes(4) + WHOLE[-4:], "BadGzipFile: CRC check failed"),
    "another length": (lambda: WHOLE[:-4] + bytes(4), "BadGzipFile: Incorrect length"),
    "no checksum": (lambda: WHOLE[:-8], "EOFError: Compressed file ended before"),
    "cut short": (lambda: WHOLE[: len(WHOLE) // 2], "EOFError: Compressed file ended before"),
    "damaged behind the tar's end": (
        lambda: WHOLE + gzip.compress(b"more")[:-8] + bytes(8),
        "BadGzipFile: CRC check failed",
    ),
    "something behind it": (lambda: WHOLE + b"something", "BadGzipFile: Not a gzipped file"),
    "not compressed": (lambda: tar(), "BadGzipFile: Not a gzipped file"),
    "not an archive": (lambda: gzip.compress(b"text"), "ReadError: truncated header"),
    "empty": (lambda: b"", "ReadError: empty file"),
    "one deep name": (lambda: gzip.compress(tar(member(DEEP))), "is more than 100 folders deep"),
    "deep folders": (
        lambda: gzip.compress(
            tar(*(member(DEEP[: 2 * depth + 1], type=tarfile.DIRTYPE) for depth in range(600)))
        ),
        "is more than 100 folders deep",
    ),
    "a long name": (lambda: gzip.compress(tar(member("n" * 300))), "OSError: [Errno 36]"),
    "NUL in a name": (
        lambda: gzip.compress(tar(member("n", pax_headers={"path": "a\0b"}))),
        "ValueError: embedded null byte",
    ),
    "a link out of it": (
        lambda: gzip.compress(tar(member("l", type=tarfile.SYMTYPE, linkname="/etc"))),
        "AbsoluteLinkError",
    ),
    "a pipe": (lambda: gzip.compress(tar(member("p", type=tarfile.FIFOTYPE))), "SpecialFileError"),
    "a device": (lambda: gzip.compress(tar(member("d", type=tarfile.CHRTYPE))), "SpecialFileError"),
    "a time that there is not": (
        lambda: gzip.compress(tar(member("t", pax_headers={"mtime": "9" * 30}))),
        "OverflowError",
    ),
    "a map of no numbers": (
        lambda: gzip.compress(tar(member("s", pax_headers={"GNU.sparse.map": "x,y"}))),
        "ValueError: invalid literal",
    ),
    "a size below zero": (negative, "ReadError: "),  # what follows depends on the version of Python
    "a header that is none": (
        lambda: gzip.compress(tar(member("weights", 512)).replace(b"weights", b"Weights")),
        "ReadError: no header at byte ",
    ),
    "a bomb": (lambda: bomb(), "UnsafeArchive: a bomb: 1,"),
    "a bomb in a member's own header": (
        lambda: bomb(tarfile.XHDTYPE), "UnsafeArchive: a bomb: 1,"
    ),
    "a bomb behind the tar's end": (
        lambda: gzip.compress(tar()) + bomb(), "UnsafeArchive: a bomb: 1,"
    ),
    "no end": (
        lambda: gzip.compress(tar()[: 512 * (1 + -(-len(APP) // 512))]),
        "ReadError: no header at byte ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_endpoint_of_it_fails_and_can_be_deleted(service: Service, kind: str) -> None:
    archive, complaint = ARCHIVES[kind]
    service.config("one")
    service.home.object_path("s3://bucket/one.tar.gz").write_bytes(archive())
    described = service.create("one")
    assert described["EndpointStatus"] == "Failed"
    reason = described["FailureReason"]
    assert reason.startswith(
        "Endpoint e: s3://bucket/one.tar.gz: the model data cannot be unpacked: it is damaged or not a safe "
        ".tar.gz archive; put a whole one there and deploy it again: "
    )
    assert complaint in reason
    assert "\n" not in reason
    assert list(service.home.folder("endpoints", "e").rglob("ml-*")) == []
    assert deleted(service)
    assert not service.home.folder("endpoints", "e").exists()


def test_archives_in_two_parts_and_with_padding_are_whole(service: Service) -> None:
    content = tar(member("weights", 2000))
    service.config("one")
    parts = gzip.compress(content[:700]) + gzip.compress(content[700:]) + bytes(100)
    service.home.object_path("s3://bucket/one.tar.gz").write_bytes(parts)
    assert service.create("one")["EndpointStatus"] == "InService"


def test_an_update_to_it_keeps_the_old_model(service: Service) -> None:
    service.config("one")
    service.config("two")
    service.home.object_path("s3://bucket/two.tar.gz").write_bytes(damaged())
    service.create("one")
    described = service.update("two")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "one")
    assert "PendingDeploymentSummary" not in described
    assert "BadGzipFile: CRC check failed" in described["FailureReason"]
    assert service.invoke(b"x") == b"hello:x"


def test_more_than_the_disk_holds_is_not_begun_and_tried_again(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.config("one")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 0, 10))  # type: ignore[attr-defined]
        described = service.create("one")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == (
        "Endpoint e, which the local service tries again when it next starts: s3://bucket/one.tar.gz: "
        "[Errno 28] No space left on device: 'app.py'; fix that on this machine, then deploy it again"
    )
    with restarted(service, tmp_path) as again:
        assert again.describe()["EndpointStatus"] == "Creating"
        described = again.settled()
        assert described["EndpointStatus"] == "InService"
        assert "FailureReason" not in described
        assert again.invoke(b"x") == b"hello:x"


MEMBERS = st.builds(
    member,
    st.text(min_size=1, max_size=20),
    st.integers(0, 600),
    type=st.sampled_from([tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, b"Z"]),
    linkname=st.sampled_from(["other.py", "none", "a/b"]),
    pax_headers=st.dictionaries(
        st.sampled_from(["path", "linkpath", "size", "mtime", "GNU.sparse.major", "GNU.sparse.map"]),
        st.sampled_from(["1", "-512", "9" * 30, "x,y", "nan", "a\0b", "a/b", ".."]) | st.text(max_size=5),
        max_size=3,
    ),
)
CHANGES = st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(MEMBERS, max_size=5), CHANGES, CHANGES)
def test_whatever_lies_in_it_is_refused_and_leaves_nothing(
    members: list[tuple[tarfile.TarInfo, bytes]],
    before: list[tuple[int, int]],
    after: list[tuple[int, int]],
) -> None:
    """An archive without app.py of odd members, with bytes changed before and after it is compressed."""
    content = bytearray(tar(*members, app_py="other.py"))
    for place, byte in before:
        content[place % len(content)] = byte
    packed = bytearray(gzip.compress(bytes(content), 1))
    for place, byte in after:
        packed[place % len(packed)] = byte
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "model.tar.gz")
        archive.write_bytes(packed)
        with pytest.raises((LaunchError, OSError), match=r"the model data|No space left on device"):
            launch(Home(Path(folder)), archive, Path(folder, "endpoint"), {}).stop()
        assert list(Path(folder, "endpoint").iterdir()) == []
