"""Whether a picture is like the training pictures: the distance between their features.

It is the Mahalanobis distance to the nearest class, with one covariance for all classes: Lee et al., A Simple
Unified Framework for Detecting Out-of-Distribution Samples, 2018, https://arxiv.org/abs/1807.03888. The
training's known.py writes this module's data; benchmarks/unknown.py compares it with other methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from entrypoints.contract import KNOWN

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """Statistics of the training pictures' features, for distances from them."""

    whiten: Floats  # features x features: multiplied by this, features spread evenly
    means: Floats  # classes x features: the classes' means, whitened
    threshold: float  # the largest distance of a known picture, for one engine

    def scores(self, features: Floats) -> Floats:
        """Distances (N) of features (N x features) in multiples of the threshold: above 1 is unknown."""
        result: Floats = distances(self.whiten, self.means, features) / np.float32(self.threshold)
        return result


def distances(whiten: Floats, means: Floats, features: Floats) -> Floats:
    """Each row's distance from the nearest class."""
    with np.errstate(over="ignore", invalid="ignore"):  # from tensors that are not pictures; see predictor.py
        points = features @ whiten
        squares = np.square(points).sum(axis=1, keepdims=True) - 2 * points @ means.T
        squares += np.square(means).sum(axis=1)
        nearest: Floats = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return nearest


def load(folder: Path, model_card: Mapping[str, Any], engine: str) -> Known | None:
    """An unpacked artifact's data for an engine; None for earlier versions, or if there is none.

    Raises:
        ValueError: it holds values that are not numbers; the message is one line.
    """
    said = model_card.get("known", {})
    if "thresholds" not in said:
        return None
    with np.load(folder / KNOWN, allow_pickle=False) as arrays:
        found = Known(arrays["whiten"], arrays["means"], said["thresholds"][engine])
    if not all(np.isfinite(part).all() for part in (found.whiten, found.means, found.threshold)):
        raise ValueError(f"{KNOWN} holds numbers that are NaN or infinite; train the model again")
    return found
