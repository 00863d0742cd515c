"""Turn the parts of a report into one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from entrypoints import verdict
from entrypoints.contract import STEP_COLUMNS, TEST, TRAIN, VALIDATION
from entrypoints.verdict import FEW_PICTURES
from scripts.refusals import Way
from scripts.reporting import evaluation, plots
from scripts.reporting.parts import Dataset, Evaluation, Missing, Report, Run, Training, Tuning

FOLDER = Path(__file__).resolve().parent
TABLE_CLASSES = 15  # up to this number a confusion matrix is a table of numbers, above it a heat map
HALF_CLASSES = 10  # up to this number it takes half the width
UPRIGHT_LETTERS = 48  # names of this length or more are vertical above its columns
PAIRS = 12
MAX_ROWS = 300  # rows of a table that grows with the dataset
MAX_REJECTED = 100
SPACE = "\N{NO-BREAK SPACE}"  # between a number and its unit
SPLITS = (TRAIN, VALIDATION, TEST)
_GOOD = {"Succeeded", "Completed", "Approved", "InService", "NoIssuesFound"}
_BAD = {"Failed", "Rejected", "IssuesFound", "Error"}


def render(report: Report, ways: Sequence[Way] = ()) -> str:
    """The whole page; `ways` are the suggestions after a refusal."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent_cut": percent_cut,
        "percent": percent,
        "number": number,
        "duration": duration,
        "moment": moment,
        "size": size,
        "tone": tone,
    }
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    return environment.get_template("page.html").render(
        report=report,
        run=report.run,
        headline=headline(report.run, report.evaluation),
        ways=ways,
        steps=timeline(report.run),
        best=None if isinstance(report.tuning, Missing) else report.tuning.best,
        data=None if isinstance(report.data, Missing) else data(report.data),
        tuning=None if isinstance(report.tuning, Missing) else tuning(report.tuning),
        training=None if isinstance(report.training, Missing) else training(report.training),
        evaluation=None if isinstance(report.evaluation, Missing) else evaluated(report.evaluation),
        splits=SPLITS,
        css=(FOLDER / "page.css").read_text(encoding="utf-8"),
    )


class Headline(NamedTuple):
    """The verdict: its tone, a few words, a sentence, and why a step failed."""

    tone: str
    words: str
    sentence: str
    reason: str = ""


def headline(run: Run, evaluation: Evaluation | Missing) -> Headline:
    """What became of the model; if it passed, first whether its test is large enough."""
    failed = next((step for step in run.steps if step.status == "Failed"), None)
    if run.passed is False:
        # Cut, not rounded: 0.89999 is below 0.9.
        refusal = re.sub(r"(\d\.\d{4})\d+", r"\1", run.refusal.partition("; --")[0])
        return Headline("bad", "Refused", f"{refusal.rstrip('.') or 'The model is not accurate enough'}.")
    pictures = FEW_PICTURES if isinstance(evaluation, Missing) else int(evaluation.matrix.sum())
    enough = "The model is accurate enough"
    if pictures < FEW_PICTURES:
        enough = f"Too few test pictures to be sure ({pictures}), but on them the model is accurate enough"
    if run.passed and failed:
        return Headline("bad", "Accepted, then failed", f"{enough}; {failed.name} failed.", failed.note)
    if run.passed:
        return Headline("good" if pictures >= FEW_PICTURES else "open", "Accepted", f"{enough}.")
    if failed:
        return Headline(
            "bad", run.status, f"{failed.name} failed; the model has not been judged.", failed.note
        )
    sentence = {
        "Executing": "The execution is still running; the model has not been judged yet.",
        "Stopping": "The execution is being stopped; the model has not been judged.",
        "Stopped": "The execution was stopped before the model was judged.",
    }.get(run.status, "The execution ended before the model was judged.")
    return Headline("bad" if run.status == "Failed" else "open", run.status, sentence, run.failure_reason)


def timeline(run: Run) -> list[dict[str, Any]]:
    """The steps with their place in the execution's time, in percent."""
    whole = max(run.seconds, 1e-9)
    return [
        {
            "step": step,
            "left": min(100, max(0, 100 * (step.began - run.began).total_seconds() / whole))
            if step.began
            else 0,
            "width": min(100, 100 * step.seconds / whole),
        }
        for step in run.steps
    ]


def data(dataset: Dataset) -> dict[str, Any]:
    """Each class's pictures, the totals, and how uneven the classes are."""
    totals = {split: sum(dataset.counts.get(split, {}).values()) for split in SPLITS}
    per_class = {
        name: sum(dataset.counts.get(split, {}).get(name, 0) for split in SPLITS) for name in dataset.classes
    }
    return {
        "totals": totals,
        "sum": sum(totals.values()),
        "per_class": per_class,
        "largest": max(per_class.values(), default=0),
        "smallest": min(per_class.values(), default=0),
        "shown": list(dataset.classes[:MAX_ROWS]),
        "rejected": dataset.rejected[:MAX_REJECTED],
    }


def tuning(tuning: Tuning) -> dict[str, Any]:
    """Plots of the objective, and the columns of the table of trials."""
    scored = [trial for trial in tuning.trials if trial.objective is not None]
    return {
        "plots": [
            (name, plots.objective(scored, name, choice, tuning.objective, f"objective-{place}"))
            for place, (name, choice) in enumerate(tuning.ranges.items())
            if any(name in trial.hyperparameters for trial in scored)
        ],
        "trials": tuning.trials[:MAX_ROWS],
    }


def training(training: Training) -> dict[str, Any]:
    """Curves, the seconds of each phase, and the instance's load."""
    steps, epochs, system = training.steps, training.epochs, training.system
    result: dict[str, Any] = {"loss": None, "accuracy": None, "rate": None, "phases": [], "system": []}
    if not (isinstance(training.losses, Missing) and isinstance(steps, Missing)):
        result["loss"] = plots.loss(training)
    if not isinstance(epochs, Missing):
        recipe = training.recipe
        result["accuracy"] = plots.accuracy(
            epochs, None if isinstance(recipe, Missing) else recipe.best_epoch
        )
    if not isinstance(steps, Missing):
        result["rate"] = plots.learning_rate(steps)
        result["phases"] = phases(training)
    if not isinstance(system, Missing):
        result["system"] = [plots.cpu(system)]
        if np.isfinite(system.memory).any():
            result["system"].append(plots.memory(system))
    return result


def phases(training: Training) -> list[dict[str, Any]]:
    """Seconds and share of each phase of the training, in order."""
    steps, epochs = training.steps, training.epochs
    assert not isinstance(steps, Missing)
    seconds = {
        column.removesuffix("_s"): float(steps[column].sum())
        for column in STEP_COLUMNS
        if column.endswith("_s")
    }
    if not isinstance(epochs, Missing):
        seconds["validation"] = float(epochs["validation_s"].sum())
    if training.seconds:
        seconds["before and after the epochs"] = max(0.0, training.seconds - sum(seconds.values()))
    whole = sum(seconds.values()) or 1.0
    return [{"name": name, "seconds": value, "share": value / whole} for name, value in seconds.items()]


def evaluated(evaluated: Evaluation) -> dict[str, Any]:
    """Tables and plots of the evaluation."""
    classes, matrix = evaluated.classes, evaluated.matrix
    small = len(classes) <= TABLE_CLASSES
    rows = evaluation.class_rows(evaluated)
    return {
        "pictures": int(matrix.sum()),
        "few": matrix.sum() < FEW_PICTURES,
        "matrix": [
            {
                "name": name,
                "cells": [
                    {"count": int(count), "share": count / max(1, row.sum()), "right": place == column}
                    for column, count in enumerate(row)
                ],
            }
            for place, (name, row) in enumerate(zip(classes, matrix, strict=True))
        ]
        if small
        else [],
        # Many columns need the whole width, and long names must be vertical.
        "wide": small and len(classes) > HALF_CLASSES,
        "upright": small and len(classes) * max(map(len, classes)) > UPRIGHT_LETTERS,
        "heat": None if small else plots.confusion(matrix, classes),
        "pairs": evaluation.confusions(evaluated, PAIRS),
        "rows": rows[:MAX_ROWS],
        "untested": [row.name for row in rows if row.recall is None],
        "reliability": None
        if isinstance(evaluated.predictions, Missing)
        else plots.reliability(evaluated.predictions.calibration),
        "thresholds": None
        if isinstance(evaluated.predictions, Missing)
        else plots.thresholds(evaluated.predictions.thresholds),
    }


def percent(value: float | None) -> str:
    """0.984 -> 98.4 %; None -> a dash."""
    return "–" if value is None else f"{100 * value:.1f}{SPACE}%"


def percent_cut(value: float) -> str:
    """A value that is compared with a threshold, as on the terminal: cut, not rounded."""
    return verdict.percent(value).replace(" ", SPACE)


def size(size_bytes: int) -> str:
    """A file's size in MB of 1,000,000 bytes."""
    return f"{size_bytes / 1e6:,.1f}{SPACE}MB"


def number(value: float | str | None) -> str:
    """Four significant digits; anything but a number stays as it is."""
    if value is None:
        return "–"
    try:
        parsed = float(str(value).strip('"'))
    except ValueError:
        return str(value)
    return f"{parsed:,.0f}" if parsed.is_integer() and abs(parsed) < 1e9 else f"{parsed:.4g}"


def duration(seconds: float | None) -> str:
    """A duration for people: 0.4 s, 45 s, 7 min 25 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min {whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h {whole % 3600 // 60}{SPACE}min"


def moment(when: datetime) -> str:
    """A date and time with its zone."""
    return when.strftime("%Y-%m-%d %H:%M %Z")


def tone(status: str) -> str:
    """good, bad or open: a status's color."""
    return "good" if status in _GOOD else "bad" if status in _BAD else "open"
