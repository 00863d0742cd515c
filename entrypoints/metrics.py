"""Metrics on test pictures, and their intervals.

The metrics have SageMaker Model Monitor's layout, which Studio draws:
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# Enough for percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3).
RESAMPLES = 1000
CONFIDENCE = 0.95
BINS = 10

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A measured value and its interval at CONFIDENCE."""

    value: float
    low: float
    high: float


class Tallies(NamedTuple):
    """Pictures by class: correctly recognized, of the class, predicted as the class."""

    hits: Floats
    actual: Floats
    predicted: Floats


class Reliability(NamedTuple):
    """By BINS equal bins of the predicted class's probability; NaN for empty bins.

    `error` is ECE of Guo et al., On Calibration of Modern Neural Networks, 2017.
    """

    edges: Floats
    counts: Labels
    confidence: Floats
    accuracy: Floats
    error: float


def multiclass_metrics(
    classes: Sequence[str], labels: Labels, predicted: Labels, groups: Labels | None = None
) -> dict[str, Any]:
    """The value of "multiclass_classification_metrics" for one index into `classes` per image.

    Each metric has a value and its standard deviation over bootstrap resamples of the images, whole `groups`
    at a time. `..._best_constant_classifier` always answers the most frequent class. The confusion matrix is
    {actual class: {predicted class: count}}.

    Raises:
        ValueError: no images.
    """
    if not len(labels):
        raise ValueError("no images to evaluate")
    count = len(classes)
    constant = np.full_like(labels, np.bincount(labels).argmax())
    matrix = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    rows = zip(classes, matrix.tolist(), strict=True)
    result: dict[str, Any] = {
        "confusion_matrix": {actual: dict(zip(classes, row, strict=True)) for actual, row in rows}
    }
    answers = {"": predicted, "_best_constant_classifier": constant}

    def both(weights: Labels | None = None) -> dict[str, float]:
        return {
            name + suffix: value
            for suffix, guesses in answers.items()
            for name, value in scores(tally(count, labels, guesses, weights)).items()
        }

    samples = [both(weights) for weights in resamples(one_each(labels) if groups is None else groups)]
    for name, value in both().items():
        deviation = float(np.std([sample[name] for sample in samples]))
        result[name] = {"value": value, "standard_deviation": deviation}
    return result


def worth(
    classes: Sequence[str], labels: Labels, predicted: Labels, confidence: Floats, groups: Labels
) -> dict[str, Any]:
    """The intervals of a test split's metrics, for evaluation.json.

    Args:
        confidence: the probability (0..1) of each picture's predicted class.
        groups: a number for each picture, from 0; similar pictures share one.
    """
    right = labels == predicted
    majority = np.bincount(labels, minlength=len(classes))
    accuracy = share_interval(right, groups)
    recalls = {
        place: share_interval(right[mine], groups[mine])
        for place in range(len(classes))
        if (mine := labels == place).any()
    }
    found = reliability(confidence, right.astype(np.float64))
    return {
        "confidence_level": CONFIDENCE,
        "pictures": len(labels),
        "groups": len(np.unique(groups)),
        "accuracy": accuracy._asdict(),
        "majority": {
            "class": classes[int(majority.argmax())],
            "accuracy": float(majority.max() / len(labels)),
        },
        **{
            name: interval._asdict()
            for name, interval in macro_intervals(len(classes), labels, predicted, groups, recalls).items()
        },
        "classes": {
            classes[place]: {"pictures": int(majority[place]), "recall": recall._asdict()}
            for place, recall in recalls.items()
        },
        "calibration": {
            "expected_calibration_error": found.error,
            "bins": [
                {"from": float(low), "to": float(high), "pictures": int(n), "confidence": c, "accuracy": a}
                for low, high, n, c, a in zip(
                    found.edges, found.edges[1:], found.counts, found.confidence, found.accuracy, strict=False
                )
                if n
            ],
        },
    }


def share_interval(right: npt.NDArray[np.bool_], groups: Labels) -> Interval:
    """The share of right answers, with Wilson's score interval.

    A group's pictures tell about as much as one: the interval uses Kish's effective number of pictures
    (Survey Sampling, 1965), rounded down.
    """
    hits, pictures = int(right.sum()), len(right)
    effective = effective_pictures(groups)
    return Interval(hits / pictures, *wilson(hits * effective // pictures, effective))


def effective_pictures(groups: Labels) -> int:
    """The number of independent pictures that tell as much as these."""
    sizes = np.unique(groups, return_counts=True)[1]
    return int(sizes.sum() ** 2 // (sizes**2).sum())


def wilson(hits: int, pictures: int) -> tuple[float, float]:
    """Wilson's score interval of a share, at CONFIDENCE; 0..1.

    Raises:
        ValueError: `pictures` is 0.
    """
    from scipy.stats import binomtest  # half a second

    found = binomtest(hits, pictures).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def macro_intervals(
    classes: int, labels: Labels, predicted: Labels, groups: Labels, recalls: dict[int, Interval]
) -> dict[str, Interval]:
    """Balanced accuracy and macro F1 with percentile intervals over resampled groups.

    Neither is narrower than the interval of the mean recall, from the recalls' own intervals (Zou and Donner,
    Construction of confidence limits about effect measures, 2008): resamples of only right answers are equal.
    """
    below = sum((recall.value - recall.low) ** 2 for recall in recalls.values()) ** 0.5 / len(recalls)
    above = sum((recall.high - recall.value) ** 2 for recall in recalls.values()) ** 0.5 / len(recalls)
    values = macro_scores(tally(classes, labels, predicted))
    samples = [macro_scores(tally(classes, labels, predicted, weights)) for weights in resamples(groups)]
    result = {}
    for name, value in values.items():
        low, high = np.quantile([sample[name] for sample in samples], quantiles())
        result[name] = Interval(
            value, max(0.0, min(float(low), value - below)), min(1.0, max(float(high), value + above))
        )
    return result


def quantiles() -> tuple[float, float]:
    """The positions of an interval's bounds at CONFIDENCE among sorted samples."""
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def one_each(labels: Labels) -> Labels:
    """Groups of one picture each."""
    return np.arange(len(labels), dtype=np.int64)


def resamples(groups: Labels) -> Iterator[Labels]:
    """Each picture's count in each of RESAMPLES bootstrap samples, which draw whole groups.

    A fixed seed: the same predictions give the same file.
    """
    generator = np.random.default_rng(0)
    count = int(groups.max()) + 1
    for _ in range(RESAMPLES):
        yield np.bincount(generator.integers(count, size=count), minlength=count)[groups]


def tally(classes: int, labels: Labels, predicted: Labels, weights: Labels | None = None) -> Tallies:
    """Counts of shape (classes,); each picture counts `weights` times, by default once."""
    right = labels == predicted
    return Tallies(
        np.bincount(labels[right], None if weights is None else weights[right], classes).astype(np.float64),
        np.bincount(labels, weights, classes).astype(np.float64),
        np.bincount(predicted, weights, classes).astype(np.float64),
    )


def scores(tallies: Tallies) -> dict[str, float]:
    """Accuracy and class-weighted precision, recall and F measures (0..1).

    A class without predictions has precision 0, as in scikit-learn with zero_division=0.
    """
    hits, actual, predicted = tallies
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


def macro_scores(tallies: Tallies) -> dict[str, float]:
    """Unweighted means over classes (0..1); as in scikit-learn, of the classes that occur."""
    hits, actual, predicted = tallies
    f1 = _ratio(2 * hits, actual + predicted)
    return {
        "balanced_accuracy": float(_ratio(hits, actual)[actual > 0].mean()),
        "macro_f1": float(f1[(actual > 0) | (predicted > 0)].mean()),
    }


def reliability(confidence: Floats, right: Floats) -> Reliability:
    """Accuracy by confidence: `right` answers (1 or 0) by the model's confidence (0..1)."""
    edges: Floats = np.linspace(0, 1, BINS + 1, dtype=np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts: Labels = np.bincount(bins, minlength=BINS).astype(np.int64)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.bincount(bins, confidence, BINS) / counts
        share: Floats = np.bincount(bins, right, BINS) / counts
    error = float(np.nansum(np.abs(share - mean) * counts) / counts.sum())
    return Reliability(edges, counts, mean, share, error)


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below; 0 if below is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
