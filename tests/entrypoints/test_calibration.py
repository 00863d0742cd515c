from __future__ import annotations

import numpy as np
import pytest

from entrypoints.calibration import LIMITS, fit_temperature


def drawn(count: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose softmax is the probability of each label, and labels drawn by it."""
    random = np.random.default_rng(0)
    scores = random.normal(0, 2, (count, classes))
    noise = random.gumbel(size=scores.shape)  # the highest sum is a draw from the softmax
    return scores.astype(np.float32), (scores + noise).argmax(axis=1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_scores_that_are_too_sure_or_not_sure_enough_are_put_right(factor: float) -> None:
    scores, labels = drawn(20_000)
    assert fit_temperature(factor * scores, labels) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("count", [3, 30, 300])
def test_where_every_picture_is_told_rightly_none_is_certain(count: int) -> None:
    labels = np.arange(count) % 3
    scores = 5 * np.eye(3, dtype=np.float32)[labels]
    shifted = np.exp(scores[0] / fit_temperature(scores, labels))
    assert shifted.max() / shifted.sum() == pytest.approx((count + 1) / (count + 2), abs=1e-3)


def test_scores_that_say_nothing_become_nearly_even() -> None:
    scores, _ = drawn(200)
    labels = np.random.default_rng(1).integers(0, 4, len(scores))
    assert fit_temperature(scores, labels) > 5
    assert LIMITS[0] <= fit_temperature(np.zeros((5, 2), np.float32), np.zeros(5, np.int64)) <= LIMITS[1]


def test_one_class_has_a_temperature_too() -> None:
    assert fit_temperature(np.ones((5, 1), np.float32), np.zeros(5, np.int64)) > 0
