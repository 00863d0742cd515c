"""Untrusted archives: none writes outside its folder, and none fills the disk."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from entrypoints.archives import SMALL_BYTES, UnsafeArchive
from local.home.archives import ZIP_BYTES_MAX, check_tar, unzip


def info(name, **fields):
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def link(name, target, kind=tarfile.SYMTYPE):
    return info(name, type=kind, linkname=target)


@pytest.fixture
def pack(tmp_path):
    def pack(*members):
        path = tmp_path / "sourcedir.tar.gz"
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
            for member in members:
                tar.addfile(member, io.BytesIO(bytes(member.size)))
        return path

    return pack


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([info("../out")], "'../out' leads out of it"),
        ([info("a"), info("a/../../out")], "leads out of it"),
        ([info("a/../b")], "leads out of it"),
        ([info("/etc/cron.d/x")], "leads out of it"),
        ([link("l", "/etc")], "'l' leads out of it to '/etc'"),
        ([link("a/l", "../../etc")], "leads out of it to '../../etc'"),
        ([link("l", "../x", tarfile.LNKTYPE)], "leads out of it to '../x'"),
        ([link("l", "a"), info("l/x")], "'l/x' leads through the link 'l'"),
        ([info("l/x"), link("l", "a")], "'l/x' leads through the link 'l'"),
        ([link("l", "."), link("m", "l/../../x")], "leads out of it"),
        ([link("a/l", "."), link("a/m", "l/../../x")], "leads through the link 'a/l'"),
        ([link("./l", "a"), info("l/x")], "leads through the link 'l'"),
        ([info("p", type=tarfile.FIFOTYPE)], "'p' is a device or a pipe"),
        ([info("d", type=tarfile.CHRTYPE)], "'d' is a device or a pipe"),
        ([info("d", type=tarfile.BLKTYPE)], "'d' is a device or a pipe"),
        ([info("a", size=SMALL_BYTES // 2), info("b", size=SMALL_BYTES // 2 + 1)], "a bomb: "),
    ],
)
def test_a_tar_archive_that_would_do_harm_is_refused(pack, members, complaint):
    with pytest.raises(UnsafeArchive) as caught:
        check_tar(pack(*members))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_stays_inside_is_taken(pack):
    deep = [info("./package/a.py", size=3), info("b.py"), link("package/l", "../b.py"), link("h", "b.py")]
    check_tar(pack(info(".", type=tarfile.DIRTYPE), *deep, link("k", "b.py", tarfile.LNKTYPE), info("..a")))


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08" + bytes(20)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UnsafeArchive, match=r"^damaged: "):
        check_tar(path)


def zipped(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("a.py", b""), ("../out", b"x")], "'../out' leads out of it"),
        ([("/etc/x", b"x")], "'/etc/x' leads out of it"),
        ([("n" * 300, b"x")], "damaged: OSError: "),
        ([("a", b"x"), ("a/b", b"x")], "damaged: NotADirectoryError: "),
        ([(str(n), bytes(1 << 20)) for n in range(250)], f"must be smaller than {ZIP_BYTES_MAX} bytes"),
    ],
)
def test_a_zip_archive_that_would_do_harm_is_refused(tmp_path, members, complaint):
    with pytest.raises(UnsafeArchive) as caught:
        unzip(zipped(*members), tmp_path / "code")
    assert complaint in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["code"])


def test_a_zip_archive_that_lies_about_its_size_is_refused(tmp_path):
    content = zipped(("a", bytes(10_000))).getvalue()
    small = content.replace((10_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(UnsafeArchive, match=r"^damaged: BadZipFile"):
        unzip(io.BytesIO(small), tmp_path)
    assert sum(path.stat().st_size for path in Path(tmp_path).rglob("*")) <= 10


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_a_device_in_a_zip_archive_is_refused(tmp_path, mode):
    member = zipfile.ZipInfo("l")
    member.create_system, member.external_attr = 3, (mode | 0o777) << 16
    with pytest.raises(UnsafeArchive, match="'l' is a link or a device"):
        unzip(zipped((member, "/etc/passwd")), tmp_path)
    assert list(tmp_path.iterdir()) == []
