import os
import stat

import pytest

from local.home.home import Home


def test_an_object_is_a_file_under_its_bucket(tmp_path):
    home = Home(tmp_path)
    assert home.object_path("s3://b/a/c d.txt") == tmp_path / "s3" / "b" / "a" / "c d.txt"
    assert home.object_path("s3://b/a/") == tmp_path / "s3" / "b" / "a"
    assert home.object_path("s3://b") == home.object_path("s3://b/") == tmp_path / "s3" / "b"


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://b//etc/passwd", "s3://b/a//c", "s3://b/../c", "s3://..", "s3://../c", "s3:///c", "b/c"),
        *("s3://.uploads/a", "s3://.headers", "s3://B/a", "s3://b..c/a", "s3://b\0/a"),
        *("s3://b/a\0", "s3://b/.", f"s3://b/{'x' * 256}", f"s3://b/{'x/' * 513}"),
    ],
)
def test_no_uri_leaves_the_home_folder(tmp_path, uri):
    with pytest.raises(ValueError, match=r"s3:|S3"):
        Home(tmp_path).object_path(uri)


def test_no_uri_leads_through_a_symbolic_link(tmp_path):
    home = Home(tmp_path / "home")
    (home.s3 / "bucket").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (home.s3 / "linked").symlink_to(tmp_path / "outside")
    (home.s3 / "bucket" / "link").symlink_to(tmp_path / "outside")
    for path in ("linked", "linked/a", "bucket/link", "bucket/link/", "bucket/link/a"):
        with pytest.raises(
            ValueError, match=r"leads through the symbolic link .*/link.*; replace it by what it"
        ):
            home.object_path(f"s3://{path}")
    assert home.object_path("s3://bucket/a/link") == home.s3 / "bucket" / "a" / "link"


def test_a_home_is_its_owners_alone_also_one_that_others_could_enter(tmp_path):
    before = os.umask(0)
    try:
        (tmp_path / "old" / "s3").mkdir(parents=True)
        for name in ("new", "old"):
            home = Home(tmp_path / name)
            home.make()
            assert [stat.S_IMODE(path.stat().st_mode) for path in (home.root, home.s3)] == [0o700, 0o700]
    finally:
        os.umask(before)
