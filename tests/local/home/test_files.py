"""The owners of files in the home."""

import stat
from pathlib import Path

import pytest

from local.home.files import close_tree_to_others, make_file, make_folder

pytestmark = pytest.mark.usefixtures("umask")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_their_owners_alone(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_file(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700, 0o700, 0o600]


def test_what_is_there_stays(tmp_path):
    (tmp_path / "file").write_text("x")
    make_file(tmp_path / "file")
    make_folder(tmp_path)
    assert (tmp_path / "file").read_text() == "x"
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError):
            make_folder(path)


def test_a_tree_is_closed_and_nothing_behind_its_links(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (tmp_path / "tree" / "folder").mkdir(parents=True)
    (tmp_path / "tree" / "folder" / "program").write_text("x")
    (tmp_path / "tree" / "folder" / "program").chmod(0o755)
    (tmp_path / "tree" / "link").symlink_to(outside)
    close_tree_to_others(tmp_path / "tree")
    assert mode(tmp_path / "tree") == mode(tmp_path / "tree" / "folder") == 0o700
    assert mode(tmp_path / "tree" / "folder" / "program") == 0o700
    assert mode(outside) == 0o644
