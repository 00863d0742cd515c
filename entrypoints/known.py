"""An artifact's data to tell pictures like the training's from others (serving/known.py)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta
from sklearn.covariance import ledoit_wolf

from entrypoints.serving.known import Floats, distances

Labels = npt.NDArray[np.int64]
# For the share of pictures that the threshold keeps.
CONFIDENCE_LEVEL = 0.95


def fit(features: Floats, labels: Labels, classes: int) -> tuple[Floats, Floats] | None:
    """`whiten` and `means` of serving/known.py from the features of training pictures; each class has some.

    There may be fewer pictures than features, so the covariance is shrunk: Ledoit and Wolf, A
    Well-Conditioned Estimator for Large-Dimensional Covariance Matrices, 2004. None if all pictures of each
    class have the same features: there is no covariance.
    """
    rows = features.astype(np.float64)
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(classes)])
    around = rows - means[labels]
    if not np.square(around).sum() > 1e-12 * np.square(rows).sum():
        return None
    covariance, _ = ledoit_wolf(around, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(values)
    return whiten.astype(np.float32), (means @ whiten).astype(np.float32)


def threshold(validation: Floats, share: float) -> tuple[float, tuple[float, float]]:
    """The distance that keeps a share of pictures like the validation split's, and the share's interval.

    Of n sorted distances it is number ceil((n + 1) * share), or the largest if n is too small. The share of
    new pictures that it keeps has a beta distribution; the second value is its interval at CONFIDENCE_LEVEL:
    Angelopoulos and Bates, A Gentle Introduction to Conformal Prediction, 2021, section 3.2,
    https://arxiv.org/abs/2107.07511.
    """
    count = len(validation)
    place = min(int(np.ceil((count + 1) * share)), count)
    rest = (1 - CONFIDENCE_LEVEL) / 2
    low, high = (float(beta.ppf(q, place, count + 1 - place)) for q in (rest, 1 - rest))
    return float(np.sort(validation)[place - 1]), (low, high)


def make(
    training: Floats, labels: Labels, classes: int, validation: Mapping[str, Floats], share: float
) -> tuple[bytes | None, dict[str, Any]]:
    """The file KNOWN, or None, and the value of "known" in model.json.

    Args:
        training: features of training pictures (pictures x features); `labels` are their classes.
        validation: the features of the validation pictures, by engine.
        share: of pictures like them that should be known (0..1).
    """
    fitted = fit(training, labels, classes)
    if fitted is None:
        return None, {"left_out": "the network finds the same features in all training pictures of a class"}
    found = {name: threshold(distances(*fitted, features), share) for name, features in validation.items()}
    if not min(distance for distance, _ in found.values()) > 0:
        return None, {"left_out": "the network finds the same features in all validation pictures of a class"}
    file = io.BytesIO()
    whiten, means = fitted
    np.savez(file, whiten=whiten, means=means)
    count = len(next(iter(validation.values())))
    _, keeps = next(iter(found.values()))  # the same for every engine
    return file.getvalue(), {
        "share": share,
        "thresholds": {name: distance for name, (distance, _) in found.items()},
        "keeps": list(keeps),
        "training_pictures": len(training),
        "validation_pictures": count,
    }


def sentence(said: Mapping[str, Any]) -> str:
    """The line for the training's log."""
    if "left_out" in said:
        return f"known: no picture is called unknown: {said['left_out']}"
    low, high = said["keeps"]
    return (
        f"known: {said['share']:.1%} of pictures like the validation split's, by the features of "
        f"{said['training_pictures']} training pictures; {said['validation_pictures']} validation pictures "
        f"tell it to {low:.1%} to {high:.1%}"
    )
