"""A new model compared with the champion: what decides, and the message if they cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entrypoints import comparison
from entrypoints.comparison import (
    Answered,
    Champion,
    compare,
    deciding_bound,
    difference,
    fewest_pictures,
    mcnemar,
    paired,
)
from entrypoints.metrics import one_each

CLASSES = ["ants", "bees"]
CHAMPION = Champion("insects/7", "which endpoint insects serves", Path("champion"))
Compare = Callable[..., dict[str, Any]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compare:
    """Compares answers: R is right, anything else wrong."""

    def call(
        new: str,
        old: str,
        metric: str = "accuracy",
        margin: float = 0.03,
        seen: tuple[list[bool] | None, list[bool] | None] = (None, None),
        classes: list[str] = CLASSES,
    ) -> dict[str, Any]:
        labels = np.arange(len(new)) % 2
        answers = [(labels + [answer != "R" for answer in said]) % 2 for said in (new, old)]
        theirs = {"classes": classes, "predicted": [CLASSES[place] for place in answers[1]], "seen": seen[1]}
        monkeypatch.setattr(comparison, "ask", lambda *_: theirs)
        files = [Path(str(number)) for number in range(len(new))]
        answered = Answered(CLASSES, files, labels, answers[0], one_each(labels), seen[0])
        return compare(CHAMPION, answered, metric, margin)

    return call


def test_the_interval_of_bonett_and_price() -> None:
    """One alone is right on 8 and on 2 of 40: 9/42 - 3/42, +- 1.96 sqrt((12/42 - (6/42)^2) / 42)."""
    new = np.array(38 * [True] + 2 * [False])
    old = np.array(30 * [True] + 8 * [False] + 2 * [True])
    found = paired(new, old, one_each(new.astype(np.int64)))
    assert found == pytest.approx((0.15, -0.0129, 0.2986), abs=1e-4)
    assert mcnemar(new, old) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_a_bad_model_does_not_replace_a_good_one(compared: Compare, metric: str) -> None:
    """11.5 % against 100 %, as when the threshold was lowered."""
    found = compared(23 * "R" + 177 * "-", 200 * "R", metric)
    assert found["compared"] == "true"
    assert found["difference_bound"] == found["difference"]["low"] < -0.8
    assert found["difference_bound_text"].startswith("its lower bound, -0.9")
    assert (
        " 0.115 against 1, difference -0.885 (95 % interval " in found["comparison"] or metric == "macro_f1"
    )


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_a_model_that_answers_alike_is_as_good(compared: Compare, metric: str) -> None:
    found = compared(190 * "R" + 10 * "-", 190 * "R" + 10 * "-", metric)
    assert found["difference"]["value"] == 0
    assert -0.03 <= found["difference_bound"] < 0


def test_where_few_pictures_cannot_show_it_the_model_must_not_be_shown_to_be_worse(compared: Compare) -> None:
    assert fewest_pictures(0.03) == 91
    at_90 = compared(90 * "R", 90 * "R")
    assert at_90["difference_bound"] == at_90["difference"]["high"] > 0
    assert "since fewer than 91 pictures cannot show less" in at_90["difference_bound_text"]
    at_91 = compared(91 * "R", 91 * "R")
    assert -0.03 <= at_91["difference_bound"] == at_91["difference"]["low"] < 0
    assert compared(3 * "R" + 27 * "-", 30 * "R")["difference_bound"] < -0.6


def test_pictures_that_either_was_trained_on_are_left_out(compared: Compare) -> None:
    seen = ([True] + 9 * [False], 2 * [False] + 2 * [True] + 6 * [False])
    found = compared("RRRRRRRRR-", "----RRRRR-", seen=seen)
    assert (found["pictures"], found["left_out"]) == (7, 3)
    assert found["difference"]["value"] == pytest.approx(1 / 7)
    assert "(3 left out: one of the two was trained on them)" in found["comparison"]
    assert "does not say" not in found["comparison"]
    assert "does not say which of them it was trained on" in compared(20 * "R", 20 * "R")["comparison"]


@pytest.mark.parametrize(
    ("said", "options"),
    [
        (
            "which endpoint insects serves: 4 test pictures to compare on",
            {"seen": (None, 6 * [True] + 4 * [False])},
        ),
        ("only one of the two knows the class 'wasps'", {"classes": [*CLASSES, "wasps"]}),
    ],
)
def test_where_there_is_nothing_to_compare_it_is_said(
    compared: Compare, said: str, options: dict[str, Any]
) -> None:
    found = compared(10 * "-", 10 * "R", **options)
    assert found["compared"] == "false"
    assert found["comparison"].startswith("Not compared with insects/7, ") and said in found["comparison"]


def test_an_artifact_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Runs in its own process, like an artifact's code."""
    (tmp_path / "model.tar.gz").write_bytes(b"no archive")
    labels = np.array([0, 1])
    answered = Answered(CLASSES, [tmp_path / "1", tmp_path / "2"], labels, labels, one_each(labels), None)
    found = compare(Champion("insects/7", "which serves", tmp_path), answered, "accuracy", 0.03)
    assert found["compared"] == "false"
    assert (
        "its artifact cannot be used here: " in found["comparison"]
        and "cannot be unpacked" in found["comparison"]
    )


def test_no_champion() -> None:
    labels = np.array([0, 1])
    answered = Answered(CLASSES, [], labels, labels, one_each(labels), None)
    found = compare(Champion("-", "insects has no approved version", Path()), answered, "accuracy", 0.03)
    assert (found["compared"], found["comparison"]) == (
        "false",
        "Not compared: insects has no approved version",
    )


def test_copies_count_once() -> None:
    labels = np.zeros(300, np.int64)
    new = np.array(290 * [0] + 10 * [1])
    alone = difference("accuracy", 2, labels, new, labels, one_each(labels))
    thrice = difference("accuracy", 2, labels, new, labels, labels.cumsum() + np.arange(300) // 3)
    assert (alone.effective, thrice.effective) == (300, 100)
    assert thrice.difference.low < alone.difference.low
    assert deciding_bound(thrice, 0.03)[0] == thrice.difference.low
