"""How jobs read and write buckets: copies that share nothing with the objects."""

import errno
import os
import stat
import tarfile
from pathlib import Path

import pytest

from local.home.home import Home
from local.s3 import transfer
from local.s3.objects import Objects
from tests.local.job_requests import put

pytestmark = pytest.mark.usefixtures("umask")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def keys(home: Home) -> list[str]:
    return [found.key for found in Objects(home.s3).list("b")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A job's output folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_what_a_job_read_and_leaves_unchanged_is_stored_once(home, out):
    for name, text in (("a/1.png", "one"), ("b/1.png", "two"), ("b/2.png", "few"), ("b/3.png", "old")):
        put(home, f"s3://b/in/{name}", text)
    put(home, "s3://b/out/b/3.png", "new")
    old = home.object_path("s3://b/out/b/3.png").stat().st_ino
    transfer.download(home, "s3://b/in/", out)
    assert all(path.stat().st_nlink == 1 for path in out.rglob("*.png"))
    (out / "b" / "2.png").write_text("FEW")
    (out / "b" / "4.png").write_text("few")
    transfer.upload(home, [(out, "s3://b/out")], read=["s3://b/in/", "s3://none/in"])

    def inode(key: str) -> int:
        return home.object_path(f"s3://b/{key}").stat().st_ino

    texts = [home.object_path(f"s3://b/{key}").read_text() for key in keys(home) if key.startswith("out")]
    assert texts == ["one", "two", "FEW", "old", "few"]
    assert [inode(f"out/{key}") == inode(f"in/{key}") for key in ("a/1.png", "b/1.png")] == [True, True]
    assert inode("out/b/2.png") != inode("in/b/2.png")
    # An existing object has not become older.
    assert inode("out/b/3.png") not in (inode("in/b/3.png"), old)
    # It is affected neither by the job's changes to its file nor by the other object's deletion.
    (out / "a" / "1.png").write_text("changed")
    Objects(home.s3).delete("b", "in/a/1.png")
    assert home.object_path("s3://b/out/a/1.png").read_text() == "one"
    assert home.object_path("s3://b/out/a/1.png").stat().st_nlink == 1


def test_where_no_links_can_be_made_there_are_copies(home, out, monkeypatch):
    put(home, "s3://b/in/1.png", "one")
    transfer.download(home, "s3://b/in/", out)

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    transfer.upload(home, [(out, "s3://b/out")], read=["s3://b/in"])
    assert home.object_path("s3://b/out/1.png").read_text() == "one"


@pytest.mark.parametrize("shared", [True, False], ids=["copy_file_range", "by hand"])
def test_a_copy_and_its_source_are_two_files(home, out, monkeypatch, shared):
    if not shared:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    content = os.urandom(3 << 20)
    put(home, "s3://b/in/a b/é.bin", "")
    source = home.object_path("s3://b/in/a b/é.bin")
    source.write_bytes(content)
    put(home, f"s3://b/in/{'n' * 255}", "")
    assert transfer.download(home, "s3://b/in/", out) == 2
    copy = out / "a b" / "é.bin"
    assert copy.read_bytes() == content
    assert (mode(copy), mode(copy.parent)) == (0o600, 0o700)
    with copy.open("r+b") as file:
        file.write(b"changed")
    assert source.read_bytes() == content
    # A program may move its input into its output.
    transfer.upload(home, [(out, "s3://b/out")])
    assert len({path.stat().st_ino for path in home.s3.rglob("*é.bin")}) == 2
    assert files(home.s3 / "b" / "out") == ["a b/é.bin", "n" * 255]


KEYS = ("data/raw-1/x", "data/raw-2.csv", "data/raw", "data/flowers/a/1", "data/flowers-v2/a/1", "other")


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        # https://github.com/aws/sagemaker-python-sdk/issues/3612: "data/train" gives "train-data.csv".
        ("data/raw-", ["raw-1/x", "raw-2.csv"]),
        ("data/raw", ["raw", "raw-1/x", "raw-2.csv"]),
        ("data/raw-2.csv", ["raw-2.csv"]),
        ("data/flowers", ["a/1", "flowers-v2/a/1"]),
        ("data/flowers/", ["a/1"]),
        ("data/f", ["flowers-v2/a/1", "flowers/a/1"]),
        ("data/", [key.removeprefix("data/") for key in KEYS[:-1]]),
        ("", KEYS),
        ("missing", []),
        ("data/raw/", []),
    ],
)
def test_a_prefix_is_the_beginning_of_a_key(home, out, prefix, found):
    for key in KEYS:
        put(home, f"s3://b/{key}", key)
    assert transfer.download(home, f"s3://b/{prefix}", out) == len(found)
    assert files(out) == sorted(found)


def test_objects_that_would_be_one_file_are_refused(home, out):
    for key in ("data/a/ab", "data/ab"):
        put(home, f"s3://b/{key}", key)
    with pytest.raises(ValueError, match=r"the objects 'data/a/ab' and 'data/ab' would be the same file"):
        transfer.download(home, "s3://b/data/a", out)


def test_links_and_special_files_are_left_out(home, out, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    put(home, "s3://b/x", "x")
    for folder in (out, home.s3 / "b"):
        (folder / "folder").symlink_to(outside)
        (folder / "file").symlink_to(outside / "secret")
        os.mkfifo(folder / "pipe")
    (tmp_path / "link").symlink_to(outside)
    transfer.upload(
        home, [(out, "s3://b/out"), (tmp_path / "link", "s3://b/out"), (out / "file", "s3://b/y")]
    )
    assert keys(home) == ["x"]
    assert transfer.download(home, "s3://b/", tmp_path / "in") == 1
    assert files(tmp_path / "in") == ["x"]


def test_nothing_is_written_through_a_link(home, out, tmp_path):
    (out / "sub").mkdir()
    (out / "sub" / "a").write_text("new")
    put(home, "s3://b/x", "x")
    (tmp_path / "outside").mkdir()
    (home.s3 / "b" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=r"leads through the symbolic link .*/b/sub"):
        transfer.upload(home, [(out, "s3://b")])
    assert not list((tmp_path / "outside").iterdir())


def test_an_upload_replaces_and_leaves_the_old_file_to_who_has_it_open(home, out):
    put(home, "s3://b/file", "old")
    (out / "new").write_text("new")
    with home.object_path("s3://b/file").open() as reader:
        transfer.upload(home, [(out / "new", "s3://b/file")])
        assert reader.read() == "old"
    assert home.object_path("s3://b/file").read_text() == "new"


@pytest.mark.parametrize("uri", ["s3://absent/x", "s3://Bad_Bucket/x", "b/x"])
def test_no_bucket_is_made_on_the_way(home, out, uri):
    (out / "x").write_text("x")
    for trees, archives in (([(out, uri)], []), ([], [(out, uri)])):
        with pytest.raises(ValueError, match=f"the bucket of {uri} does not exist|{uri!r} is not an S3 URI"):
            transfer.upload(home, trees, archives)
    assert [path.name for path in home.s3.iterdir()] == [".temporary"]


@pytest.mark.parametrize(
    "there", [("a/b",), ("a",), ()], ids=["a folder is there", "a file is there", "both are new"]
)
def test_a_key_beside_another_up_to_a_slash_is_refused_and_nothing_is_uploaded(home, out, there):
    put(home, "s3://b/other", "x")
    for key in there:
        put(home, f"s3://b/out/{key}", "x")
    before = keys(home)
    (out / "first").write_text("x")
    wanted = [(out / "first", "s3://b/out/first"), (out / "first", "s3://b/out/a/b")]
    if there != ("a",):
        wanted.append((out / "first", "s3://b/out/a"))
    with pytest.raises(ValueError, match=r"the key of s3://b/out/a(/b)? cannot exist beside another key"):
        transfer.upload(home, wanted)
    assert keys(home) == before


@pytest.mark.parametrize("archived", [False, True])
def test_an_upload_that_fails_or_is_under_way_shows_nothing(home, out, monkeypatch, archived):
    put(home, "s3://b/x", "x")
    (out / "1").write_text("x")
    (out / "2").write_text("x")
    seen = []

    def full(*_: object, **__: object) -> None:
        seen.append(files(home.s3 / "b"))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile if archived else transfer.shutil, "copyfileobj", full)
    pairs = [(out, "s3://b/out")]
    with pytest.raises(OSError, match="No space left"):
        transfer.upload(home, [] if archived else pairs, pairs if archived else [])
    assert seen == [["x"]] and files(home.s3) == ["b/x"]


def test_of_a_folder_only_what_has_changed_and_come_to_rest_is_uploaded(home, out):
    put(home, "s3://b/x", "x")
    (out / "sub").mkdir()
    for name in ("sub/a", "old", "half.tmp"):
        (out / name).write_text("1")
    os.utime(out / "old", (1e9, 1e9))  # a program may set it; the object would look newer
    transfer.upload_changes(home, out, "s3://b/out", settled_s=60, unfinished=".tmp")
    assert keys(home) == ["x"]

    def look() -> dict[str, tuple[str, int]]:
        transfer.upload_changes(home, out, "s3://b/out", unfinished=".tmp")
        found = {name: home.object_path(f"s3://b/out/{name}") for name in files(home.s3 / "b" / "out")}
        return {name: (path.read_text(), path.stat().st_ino) for name, path in found.items()}

    first = look()
    assert {name: content for name, (content, _) in first.items()} == {"old": "1", "sub/a": "1"}
    assert first["old"][1] != (out / "old").stat().st_ino
    (out / "old").write_text("2")
    os.utime(out / "old", (1e9, 1e9))
    second = look()
    assert second["old"][0] == "2"
    assert second["sub/a"] == first["sub/a"], "nothing changed there, so nothing was copied"


def test_a_file_that_changes_or_vanishes_during_its_copy_is_not_uploaded(home, out, monkeypatch):
    put(home, "s3://b/x", "x")
    for name in ("changes", "stays", "vanishes"):
        (out / name).write_text(name)
    copy = transfer._copy

    def disturbed(source: Path, target: Path) -> None:
        if source.name == "vanishes":
            source.unlink()
        copy(source, target)
        if source.name == "changes":
            source.write_text("later")

    monkeypatch.setattr(transfer, "_copy", disturbed)
    transfer.upload_changes(home, out, "s3://b/out")
    assert files(home.s3) == ["b/out/stays", "b/x"]


def test_a_text_is_put_like_everything_else(home):
    put(home, "s3://b/a", "x")
    transfer.write(home, "s3://b/text", "é")
    assert home.object_path("s3://b/text").read_text(encoding="utf-8") == "é"
    assert mode(home.object_path("s3://b/text")) == 0o600
    for uri, reason in (("s3://absent/x", "does not exist"), ("s3://b/a/b", "cannot exist beside")):
        with pytest.raises(ValueError, match=reason):
            transfer.write(home, uri, "x")
    assert not (home.s3 / "absent").exists()


def test_an_archive_keeps_links_as_links_and_leaves_special_files_out(home, out):
    put(home, "s3://b/x", "x")
    (out / "folder").mkdir()
    (out / "folder" / "weights").write_text("w")
    (out / "link").symlink_to("folder/weights")
    (out / "away").symlink_to("/etc")
    os.mkfifo(out / "folder" / "pipe")
    transfer.upload(home, [], [(out, "s3://b/model.tar.gz")])
    with tarfile.open(home.object_path("s3://b/model.tar.gz")) as archive:
        assert archive.getnames() == ["away", "folder", "folder/weights", "link"]
        assert (archive.getmember("link").linkname, archive.getmember("away").linkname) == (
            "folder/weights",
            "/etc",
        )
