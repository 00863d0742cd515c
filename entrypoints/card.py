"""The evaluation's part of a model card, in AWS's schema for model packages.

RegisterModel adds what only the execution knows (steps/card.py).
https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from entrypoints.contract import (
    CARD_DETAILS,
    CARD_HYPERPARAMETERS,
    CARD_METRIC_GROUPS,
    CARD_OBSERVATION,
    CARD_TRAINING_METRICS,
    CARD_TRAINING_OBSERVATION,
    GATE_METRICS,
    KNOWN_SHARE,
    TEST,
    TRAIN,
    VALIDATION,
)
from entrypoints.verdict import IN_WORDS, interval

# The schema's limits, in characters; a matrix's in classes.
OBSERVATION_LETTERS = 2096
TRAINING_LETTERS = 1024
DETAIL_LETTERS = 1024
NAME_LETTERS = 63
MATRIX_CLASSES = 20
# A chart may have any number of classes, but a card has at most 100,000 characters.
CHART_CLASSES = 100


def parts(
    *,
    model_card: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    worth: Mapping[str, Any],
    confusion: Mapping[str, Mapping[str, int]],
    sentences: Sequence[str],
    test_sha256: str,
) -> dict[str, Any]:
    """The value of card.json: JSON strings, since the card itself is a string.

    Args:
        model_card: the artifact's model.json.
        summary: the split's, or None.
        worth: what metrics.worth found.
        confusion: the confusion matrix, {actual class: {predicted class: count}}.
        sentences: what was measured and compared, in words.
        test_sha256: the digest of the test pictures.
    """
    versions = model_card["versions"]
    details = {
        "data_sha256": model_card.get("data", {}).get("sha256", "not known"),  # of an earlier version
        "test_data_sha256": test_sha256,
        "architecture": model_card["architecture"],
        "weights": model_card["weights"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    values: dict[str, Any] = {
        CARD_TRAINING_METRICS: [
            {"name": name, "value": value} for name, value in model_card["metrics"].items()
        ],
        CARD_HYPERPARAMETERS: [
            {"name": name, "value": str(value)} for name, value in model_card["hyperparameters"].items()
        ],
        CARD_TRAINING_OBSERVATION: _cut(_training(model_card), TRAINING_LETTERS),
        CARD_OBSERVATION: _cut(". ".join(sentences), OBSERVATION_LETTERS),
        CARD_METRIC_GROUPS: [
            {"name": "Test pictures", "metric_data": list(_metrics(worth))},
            {"name": "Classes", "metric_data": list(_classes(worth, confusion))},
            {"name": "Data", "metric_data": list(_data(model_card, summary, confusion))},
        ],
    }
    texts: dict[str, Any] = {name: _json(value) for name, value in values.items()}
    return texts | {"details": {name: _json(_cut(details[name], DETAIL_LETTERS)) for name in CARD_DETAILS}}


def _training(model_card: Mapping[str, Any]) -> str:
    objective = model_card.get("objective", {})
    said = [f"{model_card['architecture']}, from {model_card['weights']} weights"]
    said += [f"{what}: {value}" for what, value in objective.items()]
    return "; ".join(said)


def _metrics(worth: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The metrics and their bounds; the schema has no field for bounds."""
    known = {KNOWN_SHARE: worth[KNOWN_SHARE]} if KNOWN_SHARE in worth else {}
    for name, found in {**{name: worth[name] for name in GATE_METRICS}, **known}.items():
        what = IN_WORDS.get(name, "share of the pictures that it calls known")
        yield _number(name, found["value"], f"{what}, {interval(found)}")
        yield _number(f"{name}_lower_bound", found["low"])
        yield _number(f"{name}_upper_bound", found["high"])
    majority = worth["majority"]
    yield _number("majority_accuracy", majority["accuracy"], f"always answering {majority['class']}")
    error = worth["calibration"]["expected_calibration_error"]
    yield _number("expected_calibration_error", error, "how far probabilities are from what they promise")
    yield _number("pictures", worth["pictures"])
    yield _number("different_pictures", worth["groups"], "copies, and pictures of one group, count once")


def _classes(
    worth: Mapping[str, Any], confusion: Mapping[str, Mapping[str, int]]
) -> Iterable[dict[str, Any]]:
    yield _number("classes", len(confusion))
    yield from _chart("recall", {name: row["recall"]["value"] for name, row in worth["classes"].items()})
    if len(confusion) <= MATRIX_CLASSES:
        names = [_cut(name, NAME_LETTERS) for name in confusion]
        matrix = [list(row.values()) for row in confusion.values()]
        yield {
            "name": "confusion_matrix",
            "type": "matrix",
            "value": matrix,
            "x_axis_name": names,
            "y_axis_name": names,
            "notes": "a row for each actual class",
        }


def _data(
    model_card: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    confusion: Mapping[str, Mapping[str, int]],
) -> Iterable[dict[str, Any]]:
    """Pictures by split and class, and the copies and groups that the split found."""
    trained = model_card.get("data", {})
    counts = {split: trained[split] for split in (TRAIN, VALIDATION) if split in trained}
    counts[TEST] = {name: sum(row.values()) for name, row in confusion.items()}
    for split, by_class in counts.items():
        yield _number(f"{split}_pictures", sum(by_class.values()))
        yield from _chart(f"{split}_pictures_by_class", by_class)
    if summary is None:
        return
    groups = Counter(summary.get("groups", {}).values())
    yield _number("groups", len(groups), "of pictures that go into one split: copies, and named groups")
    yield _number("pictures_in_groups", groups.total())
    for how, count in summary.get("copies", {}).items():
        yield _number(_cut(f"copies: {how}", NAME_LETTERS), count, "pictures that have such a copy")


def _chart(name: str, by_class: Mapping[str, float]) -> Iterable[dict[str, Any]]:
    if 0 < len(by_class) <= CHART_CLASSES:
        yield {
            "name": name,
            "type": "bar_chart",
            "value": list(by_class.values()),
            "x_axis_name": [_cut(label, NAME_LETTERS) for label in by_class],
        }


def _number(name: str, value: float, notes: str = "") -> dict[str, Any]:
    said = {"notes": _cut(notes, DETAIL_LETTERS)} if notes else {}
    return {"name": name, "type": "number", "value": value, **said}


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
