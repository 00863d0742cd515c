"""Classification metrics in the layout of SageMaker Model Monitor, which Studio draws.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 200

Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]


def multiclass_metrics(classes: Sequence[str], labels: Labels, predicted: Labels) -> dict[str, Any]:
    """The value of "multiclass_classification_metrics" for indices into `classes`, one per image.

    Each metric has a value and a standard deviation, that of the metric over bootstrap resamples of the
    images. `..._best_constant_classifier` is what always answering the most frequent class would reach.
    The confusion matrix is {actual class: {predicted class: count}}.

    Raises:
        ValueError: no images.
    """
    if not len(labels):
        raise ValueError("no images to evaluate")
    matrix = confusion_matrix(len(classes), labels, predicted)
    constant = np.full_like(labels, np.bincount(labels).argmax())
    # A fixed seed: the same predictions give the same file.
    resamples = np.random.default_rng(0).integers(len(labels), size=(RESAMPLES, len(labels)))
    rows = zip(classes, matrix.astype(int).tolist(), strict=True)
    result: dict[str, Any] = {
        "confusion_matrix": {actual: dict(zip(classes, row, strict=True)) for actual, row in rows}
    }
    for suffix, guesses in (("", predicted), ("_best_constant_classifier", constant)):
        values = scores(confusion_matrix(len(classes), labels, guesses))
        samples = [scores(confusion_matrix(len(classes), labels[i], guesses[i])) for i in resamples]
        for name, value in values.items():
            deviation = float(np.std([sample[name] for sample in samples]))
            result[name + suffix] = {"value": value, "standard_deviation": deviation}
    return result


def confusion_matrix(classes: int, labels: Labels, predicted: Labels) -> Matrix:
    """Counts of shape classes x classes; row = actual class, column = predicted class."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.float64)


def scores(matrix: Matrix) -> dict[str, float]:
    """Accuracy and class-weighted precision, recall and F measures (0..1) of a confusion matrix.

    A class that is never predicted has precision 0, as in scikit-learn with zero_division=0.
    """
    hits, actual, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    weights = actual / actual.sum()
    precision, recall = _ratio(hits, predicted), _ratio(hits, actual)
    result = {
        "accuracy": float(hits.sum() / actual.sum()),
        "weighted_recall": float(weights @ recall),
        "weighted_precision": float(weights @ precision),
    }
    for name, beta in (("weighted_f0_5", 0.5), ("weighted_f1", 1.0), ("weighted_f2", 2.0)):
        f = _ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)
        result[name] = float(weights @ f)
    return result


def _ratio(above: Matrix, below: Matrix) -> Matrix:
    """above / below, 0 where below is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
