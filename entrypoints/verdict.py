"""From metrics to gate.json: the numbers that the pipeline's conditions compare, and sentences for users."""

from __future__ import annotations

import math
from typing import Any

from entrypoints.contract import (
    ACCURACY,
    ACCURACY_LOWER_BOUND,
    GATE_METRICS,
    GUESSING,
    KNOWN_SHARE,
    MAJORITY_ACCURACY,
    MEASURED,
    METADATA,
    METRIC_LOWER_BOUND,
    METRIC_LOWER_BOUND_TEXT,
    METRIC_VALUE,
    METRIC_VALUE_TEXT,
)

FEW_PICTURES = 30
IN_WORDS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


def gate(metric: str, worth: dict[str, Any]) -> dict[str, Any]:
    """The value of gate.json, small for any number of classes.

    Args:
        metric: one of contract.GATE_METRICS.
        worth: what metrics.worth found.
    """
    measured, accuracy, majority = worth[metric], worth[ACCURACY], worth["majority"]
    return {
        "metric": metric,
        METRIC_VALUE: measured["value"],
        METRIC_LOWER_BOUND: measured["low"],
        ACCURACY_LOWER_BOUND: accuracy["low"],
        MAJORITY_ACCURACY: majority["accuracy"],
        MEASURED: sentence(metric, worth),
        METRIC_VALUE_TEXT: cut(measured["value"]),
        METRIC_LOWER_BOUND_TEXT: cut(measured["low"]),
        GUESSING: (
            f"{sentence(ACCURACY, worth)}: its lower bound, {cut(accuracy['low'])}, is not above "
            f"{cut(majority['accuracy'])}, which always answering {majority['class']!r} reaches"
        ),
        METADATA: {
            name: f"{cut(worth[name]['value'])} from {cut(worth[name]['low'])} to {cut(worth[name]['high'])}"
            f" on {worth['pictures']} pictures"
            for name in GATE_METRICS
        },
    }


def known_sentence(worth: dict[str, Any]) -> str:
    """The test pictures that the model calls known, in words; empty if it cannot tell."""
    if KNOWN_SHARE not in worth:
        return ""
    found = worth[KNOWN_SHARE]
    low, high = percent(found["low"]), percent(found["high"])
    return f"{percent(found['value'])} of them are known to it (95 % interval {low} to {high})"


def sentence(metric: str, worth: dict[str, Any]) -> str:
    """The measurement, its interval, and its pictures, in words."""
    pictures, groups, classes = worth["pictures"], worth["groups"], len(worth["classes"])
    counted = f"{pictures} picture{'s' if pictures != 1 else ''}"
    different = "" if groups == pictures else f", {groups} of them different,"
    few = f" (fewer than {FEW_PICTURES} say little)" if groups < FEW_PICTURES else ""
    return (
        f"Test {IN_WORDS[metric]} {cut(worth[metric]['value'])} ({interval(worth[metric])}) on {counted}"
        f"{different} of {classes} class{'es' if classes != 1 else ''}{few}"
    )


def interval(found: dict[str, float]) -> str:
    """An interval in words."""
    return f"95 % interval {cut(found['low'])} to {cut(found['high'])}"


def cut(value: float) -> str:
    """Four decimals, truncated: 0.89999 stays below 0.9."""
    return f"{math.floor(value * 10_000 + 1e-6) / 10_000:g}"


def percent(value: float) -> str:
    """A share (0..1) as terminal and report show it: a percentage with two decimals, truncated like `cut`.

    267 of 269 is 99.25 % here and 0.9925 there; 0.89999 is 89.99 %, below 90 %.
    """
    return f"{math.floor(value * 10_000 + 1e-6) / 100:g} %"
