from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from entrypoints.metrics import multiclass_metrics, one_each, reliability, wilson, worth

CLASSES = ["ants", "bees", "wasps"]


def test_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(3, size=200)
    predicted = np.where(generator.random(200) < 0.7, labels, generator.integers(2, size=200))
    ours = multiclass_metrics(CLASSES, labels, predicted)
    weighted = {"average": "weighted", "zero_division": 0}
    expected = {
        "accuracy": sklearn.accuracy_score(labels, predicted),
        "weighted_recall": sklearn.recall_score(labels, predicted, **weighted),
        "weighted_precision": sklearn.precision_score(labels, predicted, **weighted),
        "weighted_f0_5": sklearn.fbeta_score(labels, predicted, beta=0.5, **weighted),
        "weighted_f1": sklearn.f1_score(labels, predicted, **weighted),
        "weighted_f2": sklearn.fbeta_score(labels, predicted, beta=2, **weighted),
        "accuracy_best_constant_classifier": np.bincount(labels).max() / 200,
    }
    assert {name: ours[name]["value"] for name in expected} == pytest.approx(expected)
    matrix = sklearn.confusion_matrix(labels, predicted).tolist()
    assert [list(row.values()) for row in ours["confusion_matrix"].values()] == matrix
    accuracy = expected["accuracy"]
    assert ours["accuracy"]["standard_deviation"] == pytest.approx(
        (accuracy * (1 - accuracy) / 200) ** 0.5, rel=0.2
    )
    assert ours == multiclass_metrics(CLASSES, labels, predicted)


def test_a_class_without_images() -> None:
    ours = multiclass_metrics(CLASSES, np.array([0, 1]), np.array([0, 0]))
    assert ours["accuracy"]["value"] == 0.5
    assert ours["confusion_matrix"]["bees"] == {"ants": 1, "bees": 0, "wasps": 0}
    assert ours["weighted_precision"]["value"] == 0.25


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        multiclass_metrics(CLASSES, np.array([], int), np.array([], int))


def measured(
    labels: list[int], predicted: list[int], groups: list[int] | None = None, classes: int = 3
) -> dict[str, Any]:
    found = np.array(labels)
    return worth(
        CLASSES[:classes],
        found,
        np.array(predicted),
        np.full(len(labels), 0.75),
        one_each(found) if groups is None else np.array(groups),
    )


def bounds(found: dict[str, Any], name: str) -> tuple[float, float, float]:
    return found[name]["low"], found[name]["value"], found[name]["high"]


def test_wilsons_interval() -> None:
    """8 of 10, worked out by hand in Brown, Cai and DasGupta's notation; 8 of 8, whose upper bound is 1."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(8, 8) == pytest.approx((0.6756, 1), abs=1e-4)


def test_means_over_classes_agree_with_scikit_learn_and_lie_in_their_intervals() -> None:
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 0, 0, 0, 1, 2], 40)
    predicted = np.where(generator.random(240) < 0.8, labels, generator.integers(3, size=240))
    found = measured(labels.tolist(), predicted.tolist())
    expected = {
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, predicted),
        "macro_f1": sklearn.f1_score(labels, predicted, average="macro"),
    }
    for name, value in expected.items():
        low, middle, high = bounds(found, name)
        assert middle == pytest.approx(value)
        assert 0.02 < middle - low < 0.12 and 0.02 < high - middle < 0.12
    assert found["majority"] == {"class": "ants", "accuracy": pytest.approx(2 / 3)}
    assert [row["pictures"] for row in found["classes"].values()] == [160, 40, 40]
    assert found == measured(labels.tolist(), predicted.tolist())


def test_two_right_pictures_prove_nothing() -> None:
    found = measured([0, 1], [0, 1])
    assert bounds(found, "accuracy") == (pytest.approx(0.342, abs=1e-3), 1, 1)
    # Every resample of right answers is right: the bootstrap alone would say "1 to 1".
    assert bounds(found, "balanced_accuracy") == (pytest.approx(0.439, abs=1e-3), 1, 1)
    assert found["macro_f1"]["low"] < 0.5
    assert set(found["classes"]) == {"ants", "bees"}


def test_copies_of_a_picture_are_worth_one() -> None:
    labels, predicted = 20 * [0, 1], 19 * [0, 1] + [0, 0]
    copies = [part for value in range(40) for part in 3 * [value]]
    alone = measured(labels, predicted)
    copied = measured(
        [label for label in labels for _ in range(3)],
        [guess for guess in predicted for _ in range(3)],
        copies,
    )
    assert copied["pictures"] == 3 * alone["pictures"]
    assert copied["groups"] == alone["groups"] == 40
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert bounds(copied, name) == pytest.approx(bounds(alone, name))


def test_calibration_of_known_predictions() -> None:
    """Half of the answers at 75 % are right, all of those at 95 %: an error of 0.5 x 0.25 + 0.5 x 0.05."""
    found = reliability(np.array([0.75, 0.75, 0.95, 0.95]), np.array([1.0, 0, 1, 1]))
    assert found.error == pytest.approx(0.15)
    assert list(found.counts) == [0, 0, 0, 0, 0, 0, 0, 2, 0, 2]
    assert found.accuracy[7] == 0.5
    assert np.isnan(found.accuracy[0])
    calibration = measured([0, 0, 1, 1], [0, 1, 1, 0])["calibration"]
    assert calibration["expected_calibration_error"] == pytest.approx(0.25)
    (filled,) = calibration["bins"]
    assert (filled["pictures"], filled["confidence"], filled["accuracy"]) == (4, 0.75, 0.5)


def test_certainty_falls_into_the_last_bin() -> None:
    assert reliability(np.array([1.0, 0.0]), np.array([1.0, 0])).counts[[0, -1]].tolist() == [1, 1]
