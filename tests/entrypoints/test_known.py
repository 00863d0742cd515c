from __future__ import annotations

import io

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from entrypoints import known
from entrypoints.serving.known import Known, distances


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes that spread more in one direction than in others."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    spread = random.normal(size=(count, 20)) * np.linspace(0.1, 3, 20)
    return (10 * np.eye(20)[labels] + spread).astype(np.float32), labels


def test_the_distance_is_mahalanobis_to_the_nearest_class() -> None:
    features, labels = drawn(60, 0)
    others, _ = drawn(30, 1)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])
    covariance = LedoitWolf(assume_centered=True).fit(features - means[labels]).covariance_
    away = others[:, None] - means
    expected = np.sqrt(np.einsum("nki,ij,nkj->nk", away, np.linalg.inv(covariance), away).min(axis=1))
    whiten, whitened = known.fit(features, labels, 3)
    np.testing.assert_allclose(distances(whiten, whitened, others), expected, rtol=1e-3)


def test_the_threshold_keeps_the_share_and_says_what_that_is_worth() -> None:
    random = np.random.default_rng(0)
    kept, within = [], []
    for _ in range(500):
        limit, (low, high) = known.threshold(random.exponential(size=80).astype(np.float32), 0.9)
        kept.append(1 - np.exp(-limit))  # of all possible such draws
        within.append(low <= kept[-1] <= high)
    assert np.mean(kept) == pytest.approx(0.9, abs=0.01)
    assert np.mean(within) == pytest.approx(0.95, abs=0.03)


def test_too_few_validation_pictures_keep_the_farthest_and_say_how_little_that_tells() -> None:
    limit, (low, high) = known.threshold(np.array([3, 1, 2], np.float32), 0.95)
    assert limit == 3
    assert low < 0.3 and high > 0.99


def test_what_is_far_from_all_classes_is_unknown() -> None:
    features, labels = drawn(90, 0)
    validation, _ = drawn(60, 1)
    file, said = known.make(features, labels, 3, {"fp32": validation, "int8": 1.1 * validation}, 0.9)
    assert said["thresholds"]["int8"] > said["thresholds"]["fp32"]
    assert (said["training_pictures"], said["validation_pictures"], said["share"]) == (90, 60, 0.9)
    arrays = np.load(io.BytesIO(file), allow_pickle=False)
    model = Known(arrays["whiten"], arrays["means"], said["thresholds"]["fp32"])
    assert np.mean(model.scores(validation) <= 1) == pytest.approx(0.9, abs=0.02)
    between = np.full((1, 20), 10 / 3, np.float32)
    assert model.scores(between)[0] > 1
    assert known.sentence(said).startswith("known: 90.0% of pictures like the validation split's")


@pytest.mark.parametrize("count", [3, 30])
def test_features_without_a_spread_tell_nothing(count: int) -> None:
    labels = np.arange(count) % 3
    features = np.eye(5, dtype=np.float32)[labels]
    file, said = known.make(features, labels, 3, {"fp32": features}, 0.95)
    assert file is None
    assert known.sentence(said).startswith("known: no picture is called unknown: the network finds the same")
