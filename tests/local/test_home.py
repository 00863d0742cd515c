import pytest

from local.home import Home


def test_an_object_is_a_file_under_its_bucket(tmp_path):
    home = Home(tmp_path)
    assert home.object_path("s3://b/a/c d.txt") == tmp_path / "s3" / "b" / "a" / "c d.txt"
    assert home.object_path("s3://b/a/") == tmp_path / "s3" / "b" / "a"
    assert home.object_path("s3://b") == home.object_path("s3://b/") == tmp_path / "s3" / "b"


@pytest.mark.parametrize(
    "uri", ["s3://b//etc/passwd", "s3://b/a//c", "s3://b/../c", "s3://..", "s3://../c", "s3:///c", "b/c"]
)
def test_no_uri_leaves_the_home_folder(tmp_path, uri):
    with pytest.raises(ValueError, match=r"s3:|S3"):
        Home(tmp_path).object_path(uri)
