"""An archive is read only as far as a valid one would go."""

import io

import pytest

from entrypoints.archives import UnsafeArchive, read_members
from tests.entrypoints.archives import UNSAFE, archive_of

NAMES = ["model.json", "steps.csv"]


def members(archive):
    return list(read_members(io.BytesIO(archive), len(archive), NAMES))


def test_the_files_of_an_archive():
    files = {"./model.json": b"{}", "folder/steps.csv": b"no", "steps.csv": b"1,2"}
    assert members(archive_of(**files)) == [("model.json", b"{}"), ("steps.csv", b"1,2")]
    assert members(archive_of(other=b"")) == []


@pytest.mark.parametrize("kind", UNSAFE)
def test_an_archive_that_would_do_harm_is_refused(kind):
    make, words = UNSAFE[kind]
    with pytest.raises(UnsafeArchive) as caught:
        members(make("model.json"))
    assert words in str(caught.value) and "\n" not in str(caught.value)
