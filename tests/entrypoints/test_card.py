"""card.json: JSON texts that fit AWS's schema for any number and names of classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from entrypoints import card
from entrypoints.contract import CARD_DETAILS
from entrypoints.metrics import Interval, multiclass_metrics, one_each, worth
from local.endpoints.model_cards import check_card

MODEL_CARD: dict[str, Any] = {
    "architecture": "resnet18",
    "weights": "resnet18.pth",
    "hyperparameters": {"epochs": 4, "learning_rate": 0.001},
    "metrics": {"best_epoch": 3, "validation_accuracy": 0.98},
    "versions": {"torch": "2.14.1", "torchvision": "0.29.1"},
    "objective": {"minimized": "cross-entropy", "kept": "the best epoch"},
}


def made(classes: list[str], summary: dict[str, Any] | None = None, known: bool = False) -> dict[str, Any]:
    """card.json after a test with two pictures of each class, one of them misclassified."""
    labels = np.repeat(np.arange(len(classes)), 2)
    predicted = labels.copy()
    predicted[0] = len(classes) - 1
    groups = one_each(labels)
    found = worth(classes, labels, predicted, np.full(len(labels), 0.9), groups)
    if known:
        found["known"] = Interval(0.75, 0.5, 0.9)._asdict()
    counts = dict.fromkeys(classes, 3)
    return card.parts(
        model_card={**MODEL_CARD, "data": {"train": counts, "validation": counts, "sha256": "1" * 64}},
        summary=summary,
        worth=found,
        confusion=multiclass_metrics(classes, labels, predicted)["confusion_matrix"],
        sentences=["Test accuracy 0.75", "Not compared"],
        test_sha256="2" * 64,
    )


def assembled(parts: dict[str, Any]) -> str:
    """The card that RegisterModel makes of it."""
    read = {name: json.loads(parts[name]) for name in parts.keys() - {"details"}}
    job = {name: read[name] for name in ("training_metrics", "hyper_parameters")}
    return json.dumps(
        {
            "training_details": {
                "training_observations": read["training_observations"],
                "training_job_details": job,
            },
            "evaluation_details": [
                {
                    "name": "EvaluateModel",
                    "evaluation_observation": read["evaluation_observation"],
                    "metric_groups": read["metric_groups"],
                }
            ],
            "additional_information": {
                "custom_details": {name: json.loads(text) for name, text in parts["details"].items()}
            },
        },
        ensure_ascii=False,
    )


def metrics(parts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        metric["name"]: metric
        for group in json.loads(parts["metric_groups"])
        for metric in group["metric_data"]
    }


def test_what_is_measured_has_its_interval_and_what_was_trained_on_its_counts() -> None:
    summary = {"groups": {"train/ants/1": "a", "train/ants/2": "a"}, "copies": {"the same pixels": 2}}
    parts = made(["ants", "bees"], summary, known=True)
    check_card({"ModelCardContent": assembled(parts)})
    found = metrics(parts)
    assert found["accuracy"]["value"] == 0.75
    assert found["accuracy_lower_bound"]["value"] < 0.75 < found["accuracy_upper_bound"]["value"] < 1
    assert "95 % interval" in found["accuracy"]["notes"]
    assert (found["known"]["value"], found["known_lower_bound"]["value"]) == (0.75, 0.5)
    assert found["confusion_matrix"]["value"] == [[1, 1], [0, 2]]
    assert (found["recall"]["value"], found["recall"]["x_axis_name"]) == ([0.5, 1.0], ["ants", "bees"])
    assert (found["train_pictures"]["value"], found["test_pictures"]["value"]) == (6, 4)
    assert found["validation_pictures_by_class"]["value"] == [3, 3]
    assert (found["groups"]["value"], found["pictures_in_groups"]["value"]) == (1, 2)
    assert found["copies: the same pixels"]["value"] == 2
    assert json.loads(parts["evaluation_observation"]) == "Test accuracy 0.75. Not compared"
    assert json.loads(parts["hyper_parameters"])[1] == {"name": "learning_rate", "value": "0.001"}
    said = "resnet18, from resnet18.pth weights; minimized: cross-entropy; kept: the best epoch"
    assert json.loads(parts["training_observations"]) == said
    assert list(parts["details"]) == list(CARD_DETAILS)
    details = {name: json.loads(text) for name, text in parts["details"].items()}
    assert (details["data_sha256"], details["test_data_sha256"]) == ("1" * 64, "2" * 64)
    assert details["versions"] == "torch 2.14.1, torchvision 0.29.1"


@pytest.mark.parametrize("count", [2, 20, 21, 100, 101, 1050])
def test_any_number_of_classes_with_names_of_any_length_fits(count: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("entrypoints.metrics.RESAMPLES", 2)
    parts = made([f'"{number}" {"ü" * 100}' for number in range(count)])
    content = assembled(parts)
    check_card({"ModelCardContent": content})
    assert len(content) < 60_000  # of 100,000, the rest of the card takes at most 8,000
    found = metrics(parts)
    assert ("confusion_matrix" in found) is (count <= 20)
    assert ("recall" in found) is (count <= 100)
    assert found["train_pictures"]["value"] == 3 * count


def test_an_artifact_that_does_not_say_what_it_saw_has_a_card_too() -> None:
    found = worth(["ants"], np.zeros(2, np.int64), np.zeros(2, np.int64), np.ones(2), np.arange(2))
    parts = card.parts(
        model_card={name: value for name, value in MODEL_CARD.items() if name != "objective"},
        summary=None,
        worth=found,
        confusion={"ants": {"ants": 2}},
        sentences=["Test accuracy 1"],
        test_sha256="2" * 64,
    )
    check_card({"ModelCardContent": assembled(parts)})
    assert json.loads(parts["details"]["data_sha256"]) == "not known"
    assert "train_pictures" not in metrics(parts)
