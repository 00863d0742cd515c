"""Compare a new model with the champion on the same test pictures: is it as good?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from entrypoints import artifact
from entrypoints.contract import (
    ACCURACY,
    COMPARED,
    COMPARISON,
    DIFFERENCE_BOUND,
    DIFFERENCE_BOUND_TEXT,
    FALSE,
    NONE,
    TRUE,
)
from entrypoints.metrics import (
    CONFIDENCE,
    Interval,
    Labels,
    effective_pictures,
    macro_scores,
    quantiles,
    resamples,
    tally,
)
from entrypoints.verdict import IN_WORDS, cut, interval

HANDFUL = 5  # pictures; fewer prove nothing, whatever the answers
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_TOLD = 200  # characters kept of the last output of another artifact's code

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Champion:
    """What serves today: its name or NONE, why it is the champion or why there is none, its folder."""

    name: str
    reason: str
    folder: Path


@dataclass(frozen=True)
class Answered:
    """Test pictures, and the new model's answers.

    `labels` and `predicted` are indices into `classes`. Similar pictures have the same number in `groups`.
    `seen`: whether the new model was trained on each; None if its artifact does not say.
    """

    classes: Sequence[str]
    files: Sequence[Path]
    labels: Labels
    predicted: Labels
    groups: Labels
    seen: Sequence[bool] | None


def compare(champion: Champion, new: Answered, metric: str, margin: float) -> dict[str, Any]:
    """The members of gate.json that compare a new model with the champion.

    Args:
        metric: one of contract.GATE_METRICS.
        margin: how much worse the new model may be (0..1).
    """
    if champion.name == NONE:
        return not_compared(f"Not compared: {champion.reason}")
    who = f"{champion.name}, {champion.reason}"
    try:
        theirs = ask(champion.folder, new.files)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it says nothing"])[-1][-_TOLD:]
        return not_compared(f"Not compared with {who}: its artifact cannot be used here: {said}")
    if other := sorted(set(theirs["classes"]) ^ set(new.classes)):
        return not_compared(f"Not compared with {who}: only one of the two knows the class {other[0]!r}")
    places = {name: place for place, name in enumerate(new.classes)}
    predicted = np.array([places[name] for name in theirs["predicted"]], np.int64)
    unseen = np.ones(len(new.files), bool)
    for answer in (theirs["seen"], new.seen):
        if answer is not None:
            unseen &= ~np.array(answer, bool)
    left_out = len(unseen) - int(unseen.sum())
    said = f" ({left_out} left out: one of the two was trained on them)" if left_out else ""
    if theirs["seen"] is None:
        said += " (its artifact does not say which of them it was trained on)"
    if unseen.sum() < HANDFUL:
        return not_compared(f"Not compared with {who}: {unseen.sum()} test pictures to compare on{said}")
    found = difference(
        metric,
        len(new.classes),
        new.labels[unseen],
        new.predicted[unseen],
        predicted[unseen],
        np.unique(new.groups[unseen], return_inverse=True)[1].astype(np.int64),
    )
    bound, words = deciding_bound(found, margin)
    sentence = (
        f"Compared with {who}, on {found.pictures} test pictures{said}: {IN_WORDS[metric]} {cut(found.new)} "
        f"against {cut(found.old)}, difference {cut(found.difference.value)} "
        f"({interval(found.difference._asdict())})"
    )
    return {
        COMPARED: TRUE,
        DIFFERENCE_BOUND: bound,
        DIFFERENCE_BOUND_TEXT: words,
        COMPARISON: sentence,
        "champion": champion.name,
        "pictures": found.pictures,
        "left_out": left_out,
        "difference": found.difference._asdict(),
        "mcnemar_p": found.mcnemar_p,
    }


def not_compared(sentence: str) -> dict[str, Any]:
    """The same members without a comparison."""
    # All operands of the condition must exist, although COMPARED then decides alone.
    return {COMPARED: FALSE, DIFFERENCE_BOUND: 0.0, DIFFERENCE_BOUND_TEXT: "", COMPARISON: sentence}


def ask(folder: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Another artifact's answers about pictures, from its own code (artifact.py).

    Raises:
        subprocess.CalledProcessError: it failed; stderr says why.
    """
    code = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as name:
        listed, answers = Path(name) / "files.json", Path(name) / "answers.json"
        listed.write_text(json.dumps([str(file.resolve()) for file in files]), encoding="utf-8")
        subprocess.run(
            [
                *(sys.executable, "-m", artifact.__name__, "--model", str(folder.resolve())),
                *("--files", str(listed), "--output", str(answers)),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([code, os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        answer: dict[str, Any] = json.loads(answers.read_text(encoding="utf-8"))
        return answer


@dataclass(frozen=True)
class Difference:
    """Two models on the same pictures: the metric of each, new minus old with its interval, McNemar's p."""

    pictures: int
    effective: int
    new: float
    old: float
    difference: Interval
    mcnemar_p: float


def difference(
    metric: str, classes: int, labels: Labels, new: Labels, old: Labels, groups: Labels
) -> Difference:
    """Compare two models' answers (class indices) picture by picture."""
    right, formerly = new == labels, old == labels
    found = paired(right, formerly, groups)
    values = float(right.mean()), float(formerly.mean())
    if metric != ACCURACY:
        first, second = (macro_scores(tally(classes, labels, answers))[metric] for answers in (new, old))
        samples = [
            macro_scores(tally(classes, labels, new, weights))[metric]
            - macro_scores(tally(classes, labels, old, weights))[metric]
            for weights in resamples(groups)
        ]
        low, high = np.quantile(samples, quantiles())
        value = first - second
        # Resampling identical answers gives no spread: no narrower than the accuracy's.
        below, above = found.value - found.low, found.high - found.value
        found = Interval(value, min(float(low), value - below), max(float(high), value + above))
        values = first, second
    return Difference(len(labels), effective_pictures(groups), *values, found, mcnemar(right, formerly))


def paired(new: Bools, old: Bools, groups: Labels) -> Interval:
    """The share of right answers, new minus old, of two models on the same pictures.

    Bonett and Price's adjusted Wald interval (Improved Wald confidence intervals for the difference of
    matched-pair proportions, 2012), which Fagerland, Lydersen and Laake recommend (Statistics in Medicine,
    2014). Pictures of a group count as in metrics.share_interval.
    """
    pictures = effective_pictures(groups)
    share = pictures / len(new)
    better = (float((new & ~old).sum()) * share + 1) / (pictures + 2)
    worse = (float((~new & old).sum()) * share + 1) / (pictures + 2)
    middle = better - worse
    half = _Z * ((better + worse - middle**2) / (pictures + 2)) ** 0.5
    value = float(new.mean() - old.mean())
    return Interval(value, max(-1.0, min(value, middle - half)), min(1.0, max(value, middle + half)))


def mcnemar(new: Bools, old: Bools) -> float:
    """McNemar's exact p for: two models are right equally often."""
    from scipy.stats import binomtest  # half a second

    better, worse = int((new & ~old).sum()), int((~new & old).sum())
    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def deciding_bound(found: Difference, margin: float) -> tuple[float, str]:
    """The bound that must not be below -margin, and its name.

    The lower one: the new model must be shown not to be worse. On pictures too few to show that even for a
    model with the same answers, the upper one: the new model must not be shown to be worse.
    """
    if found.effective >= fewest_pictures(margin):
        return found.difference.low, f"its lower bound, {cut(found.difference.low)},"
    few = f"since fewer than {fewest_pictures(margin):,.0f} pictures cannot show less"
    return found.difference.high, f"its upper bound ({few}), {cut(found.difference.high)},"


def fewest_pictures(margin: float) -> float:
    """The number of pictures that shows models with the same answers to differ by less than `margin`."""
    return float(np.ceil(_Z * 2**0.5 / margin - 2))
