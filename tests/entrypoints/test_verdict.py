"""gate.json: whether a model passes does not depend on luck, and the sentences say both numbers."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from entrypoints.metrics import one_each, worth
from entrypoints.verdict import cut, gate, percent

CLASSES = ["ants", "bees"]


def judged(
    labels: list[int], predicted: list[int], metric: str = "accuracy", groups: list[int] | None = None
) -> dict[str, Any]:
    found = np.array(labels)
    groups_of = one_each(found) if groups is None else np.array(groups)
    return gate(metric, worth(CLASSES, found, np.array(predicted), np.full(len(labels), 0.9), groups_of))


@pytest.mark.parametrize(("ants", "bees"), [(95, 5), (300, 4)])
def test_a_model_that_always_answers_the_same_class_is_no_better_than_guessing(ants: int, bees: int) -> None:
    found = judged(ants * [0] + bees * [1], (ants + bees) * [0])
    assert found["value"] > 0.9
    assert found["accuracy_lower_bound"] <= found["majority_accuracy"]
    share = cut(ants / (ants + bees))
    assert found["guessing"].startswith(f"Test accuracy {share} (95 % interval ")
    assert found["guessing"].endswith(f" is not above {share}, which always answering 'ants' reaches")
    assert judged(ants * [0] + bees * [1], (ants + bees) * [0], "balanced_accuracy")["value"] == 0.5


def test_a_model_that_tells_the_classes_apart_is_better_than_guessing() -> None:
    found = judged(95 * [0] + 5 * [1], 95 * [0] + 5 * [1])
    assert found["accuracy_lower_bound"] > found["majority_accuracy"] == 0.95


def test_two_right_pictures_are_no_proof() -> None:
    found = judged([0, 1], [0, 1])
    assert (found["value"], found["accuracy_lower_bound"] < 0.5) == (1.0, True)
    assert found["accuracy_lower_bound"] <= found["majority_accuracy"]
    said = "Test accuracy 1 (95 % interval 0.3423 to 1) on 2 pictures of 2 classes"
    assert found["measured"] == f"{said} (fewer than 30 say little)"


def test_eight_of_eight_come_with_what_they_are_worth() -> None:
    assert "1 (95 % interval 0.6755 to 1) on 8 pictures" in judged(4 * [0, 1], 4 * [0, 1])["measured"]


def test_pictures_that_are_alike_are_said_to_be() -> None:
    found = judged(30 * [0, 1], 30 * [0, 1], groups=[number // 3 for number in range(60)])
    assert found["measured"].endswith(
        "on 60 pictures, 20 of them different, of 2 classes (fewer than 30 say little)"
    )


def test_the_metric_is_the_one_that_was_asked_for() -> None:
    found = judged(60 * [0] + 40 * [1], 80 * [0] + 20 * [1], "macro_f1")
    assert found["measured"].startswith("Test macro F1 0.7619 (95 % interval ")
    assert found["value_text"] == "0.7619"
    assert found["lower_bound_text"] == cut(found["lower_bound"])
    assert found["lower_bound"] < found["value"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.89999, "0.8999"), (0.57, "0.57"), (1.0, "1"), (-0.02, "-0.02")]
)
def test_a_share_is_cut_so_that_what_is_too_low_looks_too_low(value: float, text: str) -> None:
    assert cut(value) == text


def test_the_numbers_are_plain_and_few() -> None:
    assert len(json.dumps(judged([0, 1], [0, 1]))) < 1000


def test_the_model_packages_metadata_takes_what_it_says() -> None:
    """CustomerMetadataValue in the API reference: letters, separators, numbers and _.:/=+-@ only."""
    said = judged([0, 1], [0, 1])["metadata"]
    assert said["accuracy"] == "1 from 0.3423 to 1 on 2 pictures"
    assert all(re.fullmatch(r"[\w .:/=+@-]{1,256}", text) for text in said.values())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (267 / 269, "99.25 %"),
        (0.89999, "89.99 %"),
        (0.9, "90 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.29, "29 %"),
    ],
)
def test_a_percentage_is_cut_as_the_gates_numbers_are(value: float, shown: str) -> None:
    assert percent(value) == shown
    assert float(cut(value)) * 100 == pytest.approx(float(shown.removesuffix(" %")))
