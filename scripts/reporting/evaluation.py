"""EvaluateModel's results: confusion matrix, calibration and the worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from entrypoints.contract import (
    COMPARISON,
    EVALUATION,
    GATE_METRICS,
    KNOWN_SHARE,
    PREDICTIONS,
    TEST,
    WORST_MISTAKES,
)
from entrypoints.metrics import reliability, wilson
from entrypoints.verdict import IN_WORDS
from scripts import maps
from scripts.reporting.parts import (
    Counts,
    Engine,
    Evaluation,
    Floats,
    Mean,
    Missing,
    Mistake,
    Picture,
    Predictions,
    Thresholds,
)
from scripts.reporting.pictures import Map, thumbnails
from scripts.reporting.store import Store, Unavailable, part

SIDE_PX = 160


@dataclass(frozen=True)
class ClassRow:
    """A class's pictures, precision and recall (0..1); None if the divisor is 0.

    `interval` is the recall's 95 % interval, None if unknown.
    """

    name: str
    pictures: int
    precision: float | None
    recall: float | None
    interval: tuple[float, float] | None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None if either is None."""
        if self.precision is None or self.recall is None:
            return None
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def read(store: Store, outputs: Mapping[str, str], split: Mapping[str, str] | Missing) -> Evaluation:
    """The evaluation, from EvaluateModel's outputs; the mistakes' pictures are from SplitDataset's.

    Raises:
        Unavailable: evaluation.json is missing, or cannot be used.
    """
    folder = outputs["evaluation"].rstrip("/")
    uri = f"{folder}/{EVALUATION}"
    content = store.read_json(uri)
    try:
        metrics = content["multiclass_classification_metrics"]
        classes = list(metrics["confusion_matrix"])
        matrix = np.array(
            [[row[name] for name in classes] for row in metrics["confusion_matrix"].values()], np.int64
        )
        accuracy = float(metrics["accuracy"]["value"])
        baseline = float(metrics["accuracy_best_constant_classifier"]["value"])
        # Evaluations of earlier versions have no intervals.
        found = content.get("worth")
        low, high = (
            (found["accuracy"]["low"], found["accuracy"]["high"])
            if found
            else wilson(int(matrix.trace()), int(matrix.sum()))
        )
        means = [Mean(IN_WORDS[name], **found[name]) for name in GATE_METRICS if found]
        if found and KNOWN_SHARE in found:
            means.append(Mean("called known", **found[KNOWN_SHARE]))
        recalls = {
            name: (float(row["recall"]["low"]), float(row["recall"]["high"]))
            for name, row in (found["classes"].items() if found else ())
        }
        comparison = str(content.get("champion", {}).get(COMPARISON, ""))
        engines = sorted(
            (
                Engine(name, float(row["accuracy"]), float(row["agreement"]))
                for name, row in content.get("engines", {}).items()
            ),
            key=lambda engine: engine.name != content.get("engine"),
        )
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise Unavailable(f"{uri} is not what EvaluateModel writes ({error!r}).") from error
    return Evaluation(
        classes,
        matrix,
        accuracy,
        (float(low), float(high)),
        baseline,
        means,
        recalls,
        comparison,
        part(lambda: predictions(store, f"{folder}/{PREDICTIONS}", classes, split)),
        engines,
    )


def predictions(
    store: Store, uri: str, classes: Sequence[str], split: Mapping[str, str] | Missing
) -> Predictions:
    """Calibration, and the mistakes of which the model was most certain.

    Raises:
        Unavailable: predictions.json is missing, or cannot be used.
    """

    def compact(record: dict[str, Any]) -> Any:
        """Turn probabilities into an array while reading: a dict takes ten times the memory."""
        if isinstance(record.get("file"), str):
            return record
        return np.array([record[name] for name in classes], np.float32)

    try:
        records = store.read_json(uri, object_hook=compact)
        places = {name: place for place, name in enumerate(classes)}
        labels = np.array([places[record["label"]] for record in records], np.int64)
        predicted = np.array([places[record["predicted"]] for record in records], np.int64)
        probabilities = np.stack([record["probabilities"] for record in records]).astype(np.float64)
        files = [str(record["file"]) for record in records]
    except (TypeError, KeyError, ValueError) as error:
        raise Unavailable(f"{uri} is not what EvaluateModel writes ({error!r}).") from error
    rows = np.arange(len(labels))
    confidence: Floats = probabilities[rows, predicted]
    right = predicted == labels
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST_MISTAKES]
    drawn = [_map(records[row]) for row in worst]
    pictures = _pictures(store, split, [files[row] for row in worst], drawn)
    return Predictions(
        reliability(confidence, right.astype(np.float64)),
        above(confidence, right),
        [
            Mistake(
                picture,
                files[row],
                classes[labels[row]],
                classes[predicted[row]],
                float(probabilities[row, labels[row]]),
                float(confidence[row]),
                found is not None,
                records[row].get("known") is not False,
            )
            for row, picture, found in zip(worst, pictures, drawn, strict=True)
        ],
    )


def above(confidence: Floats, right: npt.NDArray[np.bool_]) -> Thresholds:
    """For each percent as a threshold: the share of answers that reach it, and how many of them are right."""
    thresholds: Floats = np.arange(101) / 100
    kept = confidence[None, :] >= thresholds[:, None]
    counts = kept.sum(axis=1)
    hits = (kept & right[None, :]).sum(axis=1)
    accuracies = np.divide(hits, counts, out=np.full(len(thresholds), np.nan), where=counts > 0)
    return Thresholds(thresholds, counts / len(confidence), accuracies)


def _map(record: Mapping[str, Any]) -> Map | None:
    """A prediction's map; None if it has none, or one that shows nothing."""
    if "map" not in record or not maps.tells(record["map"]):
        return None
    return record["map"], float(record["map_side"])


def _pictures(
    store: Store, split: Mapping[str, str] | Missing, files: Sequence[str], drawn: Sequence[Map | None]
) -> list[Picture]:
    if isinstance(split, Missing):
        return [Picture(file, "") for file in files]
    folder = split[TEST].rstrip("/")
    return thumbnails(store, [f"{folder}/{file}" for file in files], SIDE_PX, square=False, drawn=drawn)


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """A row for each class, the lowest recall first, classes without test pictures last."""
    hits = evaluation.matrix.diagonal()
    actual, predicted = evaluation.matrix.sum(axis=1), evaluation.matrix.sum(axis=0)

    def share(above: int, below: int) -> float | None:
        return above / below if below else None

    rows = [
        ClassRow(name, int(a), share(int(h), int(p)), share(int(h), int(a)), evaluation.recalls.get(name))
        for name, h, a, p in zip(evaluation.classes, hits, actual, predicted, strict=True)
    ]
    return sorted(rows, key=lambda row: (row.recall is None, row.recall))


def confusions(evaluation: Evaluation, count: int) -> list[tuple[str, str, int]]:
    """The pairs (actual class, predicted class, pictures) that are confused most often."""
    wrong: Counts = evaluation.matrix * (1 - np.eye(len(evaluation.classes), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [
        (evaluation.classes[actual], evaluation.classes[predicted], int(wrong[actual, predicted]))
        for actual, predicted in pairs
        if wrong[actual, predicted]
    ]
