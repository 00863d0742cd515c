"""TrainModel's findings on labels that may be wrong."""

from __future__ import annotations

import json

import pytest

from scripts.reporting import page
from scripts.reporting import suspects as reported
from scripts.reporting.parts import Missing
from tests.scripts.reporting import answers
from tests.scripts.reporting.conftest import CLASSES


def part_of(html):
    """The section's text, its white space as a reader sees it."""
    section = html.partition('<section id="suspects">')[2].partition("</section>")[0]
    return " ".join(section.split())


def test_suspects_with_their_pictures_and_how_to_leave_them_out(report, html):
    suspects = report.training.suspects
    assert (suspects.judged, suspects.pictures, suspects.found) == (30, 30, 4)
    first, *_, last = suspects.first
    assert (first.file, first.label, first.suggested) == ("train/daisies/00000.png", "daisies", "roses")
    assert (first.self_confidence, first.suggested_confidence) == (0.01, 0.9)
    assert first.picture.uri and not last.picture.uri
    part = part_of(html)
    assert "4 labels of training and validation may be wrong" in part
    assert '<div class="bad"><dt>perhaps</dt><dd>roses</dd>' in part
    assert "picture not in S3" in part
    assert "python scripts/upload_dataset.py DIR --exclude suspects.json --delete" in part
    assert f"aws s3 cp {answers.PREFIX}/train/{answers.TRAINING_JOB}/output/output.tar.gz ." in part
    assert "The mean of two probabilities." in part
    assert "30 of 30 pictures of training and validation were judged" in part


def test_of_many_the_first_are_shown_and_the_rest_is_said(collect, monkeypatch):
    monkeypatch.setattr(reported, "SHOWN", 3)
    report = collect()
    assert len(report.training.suspects.first) == 3
    assert "One more is not shown." in part_of(page.render(report))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"found": 0, "suspects": []}, "None: no label of training and validation looks wrong."),
        (
            {"left_out": "at least two classes need 5 pictures"},
            "No label was judged: at least two classes need 5",
        ),
    ],
)
def test_where_there_are_none_one_sentence_says_why(account, collect, changed, sentence):
    content = answers.suspects(CLASSES) | changed
    account.put_output({**account.tables, "suspects.json": json.dumps(content)})
    part = part_of(page.render(collect()))
    assert sentence in part and "<img" not in part


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "left no suspects.json; an earlier version of it ran"),
        ({"suspects.json": "{"}, "suspects.json of the training cannot be read"),
        ({"suspects.json": "[]"}, "suspects.json of the training cannot be read"),
        ({"suspects.json": '{"suspects": [{"file": 1}]}'}, "suspects.json of the training cannot be read"),
    ],
)
def test_a_file_that_is_gone_or_damaged(account, collect, files, reason):
    account.put_output({**account.tables, **files})
    report = collect()
    assert isinstance(report.training.suspects, Missing) and reason in report.training.suspects.reason
    assert not isinstance(report.training.steps, Missing)
    assert reason in part_of(page.render(report))
