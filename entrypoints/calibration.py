"""Honest probabilities: the scores are divided by one temperature before the softmax.

Guo et al., On Calibration of Modern Neural Networks, 2017: https://arxiv.org/abs/1706.04599. The order of the
classes and every label stay the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# The search range of the temperature. At its ends, scores that differ by 1 mean odds of 5e8 and 1.05.
LIMITS = (0.05, 20.0)


def fit_temperature(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """The temperature at which the softmax of `scores` fits the labels best, by cross-entropy.

    If all predictions are right, it would be 0 and every answer 100 %. So a label counts as (n + 1) / (n + 2)
    and the other classes share the rest, as the rule of succession expects after n of n. Platt, Probabilistic
    Outputs for Support Vector Machines, 1999, section 2.2, does the same.

    Args:
        scores: pictures x classes, for pictures that the network was not trained on.
        labels: the pictures' classes, as indices.
    """
    count, classes = scores.shape
    rest = 1 / (count + 2)
    targets = np.full(scores.shape, rest / max(classes - 1, 1))
    targets[np.arange(count), labels] = 1 - rest

    def loss(logarithm: float) -> float:
        return float(-np.mean(np.sum(targets * log_softmax(scores / np.exp(logarithm), axis=1), axis=1)))

    # Convex in 1 / temperature: there is one minimum.
    found = minimize_scalar(loss, bounds=np.log(LIMITS), method="bounded")
    return float(np.exp(found.x))
