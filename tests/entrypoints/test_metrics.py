from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn

from entrypoints.metrics import multiclass_metrics

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
