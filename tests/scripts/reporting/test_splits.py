"""SplitDataset's results."""

from __future__ import annotations

import base64
import io
import json
import shutil

import pytest
from PIL import Image

from scripts.reporting import page, splits
from scripts.reporting.parts import Missing
from scripts.reporting.store import spread


def test_counts_samples_and_rejected_files(report):
    data = report.data
    assert data.classes == ["daisies", "roses", "tulips"]
    assert data.counts["train"] == {"daisies": 8, "roses": 8, "tulips": 8}
    assert "<li>left out: 2 files that systems leave behind (Thumbs.db 2)</li>" in page.render(report)
    assert data.rejected == [("daisies/notes.txt", "is not an image")]
    assert [len(pictures) for pictures in data.samples.values()] == [splits.MAX_PER_CLASS] * 3
    picture = data.samples["roses"][0]
    assert picture.file == "00000.png"
    content = base64.b64decode(picture.uri.partition("base64,")[2])
    assert Image.open(io.BytesIO(content)).size == (72, 72)


def test_copies_and_groups(report):
    copies = report.data.copies
    assert copies.counts == {"identical bytes": 5, "near copies": 3}
    assert (copies.groups, copies.held) == (2, 7)
    first, second = copies.largest
    assert (first.pictures, first.split, list(first.why)) == (4, "train", ["identical bytes", "near copies"])
    assert [picture.file for picture in second.samples] == ["00000.png", "00001.png", "00002.png"]
    assert all(picture.uri for picture in first.samples)
    assert copies.conflicts == [("near copies", ["daisies/9.png", "roses/9.png"])]
    html = page.render(report)
    assert "7 pictures are in 2 groups that go into one split each" in html
    assert "Pictures under two classes" in html


def test_no_copies_and_a_split_that_looked_for_none(account, collect):
    summary = json.loads(account.path("split/summary/summary.json").read_text())
    found_nothing = summary | {"copies": {}, "groups": {}, "largest_groups": [], "conflicts": []}
    account.put("split/summary/summary.json", found_nothing)
    assert "no picture is a copy of another" in page.render(collect())
    for key in ("copies", "groups", "largest_groups", "conflicts"):
        del summary[key]
    account.put("split/summary/summary.json", summary)
    assert "An earlier version of the split" in page.render(collect())


def test_samples_are_spread_over_a_class():
    assert spread(list(range(11)), 3) == [0, 5, 10]
    assert spread([1, 2], 3) == [1, 2]
    assert spread([1, 2], 1) == [1]


def test_a_damaged_picture_and_a_missing_class(account, collect):
    (account.path("split/train/roses/00000.png")).write_bytes(b"no picture")
    shutil.rmtree(account.path("split/train/tulips"))
    report = collect()
    assert report.data.samples["roses"][0].uri == ""
    assert report.data.samples["tulips"] == []
    assert "no sample in S3" in page.render(report)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"classes": [], "counts": [], "rejected": []}'])
def test_a_summary_that_is_none(account, collect, text):
    account.put("split/summary/summary.json", text)
    assert "summary.json is not" in collect().data.reason


def test_a_summary_that_is_gone(account, collect):
    account.path("split/summary/summary.json").unlink()
    report = collect()
    assert isinstance(report.data, Missing)
    assert "summary.json is not in S3: it was never uploaded, or has been deleted." in report.data.reason
