"""How jobs read and write buckets: copies that share nothing with the objects."""

import os
import stat
from pathlib import Path

import pytest

from local.s3.transfer import copy_tree

pytestmark = pytest.mark.usefixtures("umask")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("shared", [True, False], ids=["copy_file_range", "by hand"])
def test_a_copy_and_its_source_are_two_files(tmp_path, monkeypatch, shared):
    if not shared:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    content = os.urandom(3 << 20)
    (tmp_path / "source" / "a b").mkdir(parents=True)
    (tmp_path / "source" / "a b" / "é.bin").write_bytes(content)
    (tmp_path / "source" / ("n" * 255)).write_bytes(b"")
    assert copy_tree(tmp_path / "source", tmp_path / "target") == 2
    copy = tmp_path / "target" / "a b" / "é.bin"
    assert copy.read_bytes() == content
    assert (mode(copy), mode(copy.parent)) == (0o600, 0o700)
    with copy.open("r+b") as file:
        file.write(b"changed")
    assert (tmp_path / "source" / "a b" / "é.bin").read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["a b", "n" * 255]


def test_one_file_is_copied_and_a_missing_source_is_none(tmp_path):
    (tmp_path / "a").write_text("x")
    assert copy_tree(tmp_path / "a", tmp_path / "b" / "c") == 1
    assert (tmp_path / "b" / "c").read_text() == "x"
    assert copy_tree(tmp_path / "missing", tmp_path / "d") == 0
    assert not (tmp_path / "d").exists()


def test_links_and_special_files_are_left_out(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    source = tmp_path / "source"
    source.mkdir()
    (source / "folder").symlink_to(outside)
    (source / "file").symlink_to(outside / "secret")
    os.mkfifo(source / "pipe")
    (tmp_path / "link").symlink_to(outside)
    assert copy_tree(source, tmp_path / "target") == 0
    assert copy_tree(tmp_path / "link", tmp_path / "target") == 0
    assert not (tmp_path / "target").exists()


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "sub" / "a").write_text("new")
    (tmp_path / "outside").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=r"target/sub is a symbolic link, which is not followed"):
        copy_tree(tmp_path / "source", tmp_path / "target")
    (tmp_path / "outside" / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "outside" / "a")
    copy_tree(tmp_path / "source" / "sub" / "a", tmp_path / "link")
    assert (tmp_path / "outside" / "a").read_text() == "old"
    assert (tmp_path / "link").read_text() == "new"


def test_a_copy_replaces_and_leaves_the_old_file_to_who_has_it_open(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    with (tmp_path / "old").open() as reader:
        copy_tree(tmp_path / "new", tmp_path / "old")
        assert reader.read() == "old"
    assert (tmp_path / "old").read_text() == "new"


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("x")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("local.s3.transfer.shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        copy_tree(tmp_path / "source", tmp_path / "target")
    assert not list((tmp_path / "target").iterdir())
