"""Pictures whose label may be wrong: suspects.json, for a person to review.

Two judges see each training picture; neither needs an extra forward pass. One is the network during training:
it learns what most pictures of a class share before it memorizes wrong labels, so that its mean answers over
all epochs resist them (Pleiss et al., Identifying Mislabeled Data using the Area Under the Margin Ranking,
2020, https://arxiv.org/abs/2001.10528). The other is a linear classifier on the last epoch's features of the
other folds' pictures: it has never seen the label that it judges. The network did not learn from validation
pictures: its answers on them are honest, but may be wrong. There another class must be as probable as usual,
as in confident learning: Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset
Labels, 2021, https://arxiv.org/abs/1911.00068.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from entrypoints import digests, distributed
from entrypoints.contract import TRAIN, VALIDATION
from entrypoints.dataset import spread
from entrypoints.folders import relative
from entrypoints.inputs import Splits

# A class with fewer training pictures than folds cannot be judged.
FOLDS = 5
# Most pictures for fitting a fold's classifier: bounds memory and time.
MOST_FITTED = 10_000
# The inverse of the classifier's penalty, on features scaled to variance 1.
STRENGTH = 1e-3
# Most suspects listed: about 200 KB.
MOST_LISTED = 1000
METHOD = (
    "Of a training picture, the mean of two probabilities: what the network said of it while it learned, and "
    f"what a classifier on its features says that was fitted to other pictures ({FOLDS} folds). Its label is "
    "suspect where another class is more probable. Of a validation picture, what the network says; there the "
    "other class is also as probable as it is on average for the pictures that have its label."
)

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Seen(NamedTuple):
    """The data to judge labels by: arrays with a row per picture, in the splits' order.

    `epochs` counts the watched epochs: not all, if the training resumed from a checkpoint.
    """

    epochs: int
    training: Floats  # mean probabilities of the classes
    features: Floats  # of the training pictures
    validation: Floats  # probabilities of the classes


class Watched:
    """Collect a learning network's answers on its training pictures, and their latest features.

    For one process's pictures: about 1 KB each, and 4 bytes per class.
    """

    def __init__(self, head: nn.Module, count: int, classes: int) -> None:
        """Watch the layer that gives the scores of `count` pictures."""
        self._sums = torch.zeros(count, classes)
        self._seen = 0
        self._features = torch.empty(0)
        self._latest = torch.empty(0)
        head.register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if head.training:
            self._latest = inputs[0].detach()

    def add(self, indices: torch.Tensor, scores: torch.Tensor) -> None:
        """Add a step's scores, which the watched layer has just computed."""
        features = self._latest
        if not len(self._features):
            self._features = torch.empty(len(self._sums), features.shape[1], dtype=torch.bfloat16)
        self._features[indices] = features.to("cpu", torch.bfloat16)
        self._sums[indices] += scores.detach().softmax(1).cpu()
        self._seen += len(indices)

    def seen(self, validation: torch.Tensor) -> Seen:
        """The data of all processes' pictures, in the first process only.

        Every process passes its validation pictures' scores.
        """
        epochs = self._seen // len(self._sums)
        return Seen(
            epochs,
            distributed.whole(self._sums / max(epochs, 1)).numpy(),
            distributed.whole(self._features).float().numpy(),
            distributed.whole(validation.detach().softmax(1).cpu()).numpy(),
        )


def by_others(features: Floats, labels: Labels) -> Floats:
    """Probabilities (pictures x classes) from a classifier fitted to the other folds' pictures."""
    rows = StandardScaler().fit_transform(features)
    result = np.zeros((len(labels), labels.max() + 1), np.float32)
    for others, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, labels):
        fitted = spread(others[np.argsort(labels[others], kind="stable")], MOST_FITTED)
        classifier = LogisticRegression(C=STRENGTH).fit(rows[fitted], labels[fitted])
        result[held_out] = classifier.predict_proba(rows[held_out])
    return result


def judge(probabilities: Floats, features: Floats, labels: Labels) -> Floats:
    """Both judges' combined probabilities for training pictures: pictures x classes.

    Args:
        probabilities: the network's mean answers while it learned; same shape.
        features: its latest features. Every label from 0 on has at least FOLDS pictures.
    """
    result: Floats = (probabilities + by_others(features, labels)) / np.float32(2)
    return result


def suspect(probabilities: Floats, labels: Labels, as_usual: bool) -> tuple[npt.NDArray[np.bool_], Labels]:
    """Whether each label is suspect, and the most probable other class.

    That class must be more probable than the label; with `as_usual`, also at least as probable as it is on
    average for the pictures with its label.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1
    suggested = others.argmax(axis=1)
    other = probabilities[rows, suggested]
    usual = np.zeros(probabilities.shape[1])
    if as_usual:
        usual += [own[labels == label].mean() if label in labels else np.inf for label in range(len(usual))]
    return (other > own) & (other >= usual[suggested]), suggested


def find(splits: Splits, seen: Seen, folders: Mapping[str, Path]) -> dict[str, Any]:
    """The value of suspects.json: suspects, most suspect first, or {"left_out": why there are none}.

    Files are named below their split's folder in `folders`.
    """
    counts = np.bincount([label for _, label in splits.train], minlength=len(splits.classes))
    judged_classes = np.flatnonzero(counts >= FOLDS)
    if not seen.epochs:
        return {"left_out": "the training went on from a checkpoint after its last epoch: none was watched"}
    if len(judged_classes) < 2:
        return {
            "left_out": f"at least two classes need {FOLDS} training pictures or more; the largest have "
            f"{', '.join(str(count) for count in sorted(counts.tolist())[:-3:-1])}"
        }
    entries: list[dict[str, Any]] = []
    judged = {}
    for split, files in ((TRAIN, splits.train), (VALIDATION, splits.validation)):
        rows = np.flatnonzero(np.isin([label for _, label in files], judged_classes))
        labels = np.searchsorted(judged_classes, [files[row][1] for row in rows])
        said = seen.training if split == TRAIN else seen.validation
        probabilities = _among(said[rows], judged_classes)
        if split == TRAIN:
            probabilities = judge(probabilities, seen.features[rows], labels)
        found, suggested = suspect(probabilities, labels, as_usual=split == VALIDATION)
        judged[split] = len(rows)
        for place in np.flatnonzero(found):
            file, label = files[rows[place]]
            entries.append(
                {
                    "split": split,
                    "file": relative(file, folders[split]),
                    "label": splits.classes[label],
                    "suggested": splits.classes[judged_classes[suggested[place]]],
                    "self_confidence": round(float(probabilities[place, labels[place]]), 4),
                    "suggested_confidence": round(float(probabilities[place, suggested[place]]), 4),
                    "path": file,
                }
            )
    entries.sort(key=lambda entry: (entry["self_confidence"] - entry["suggested_confidence"], entry["file"]))
    listed = entries[:MOST_LISTED]
    for rank, (entry, digest) in enumerate(
        zip(listed, digests.of_files([entry.pop("path") for entry in listed]), strict=True), 1
    ):
        entry |= {"rank": rank, "digest": f"{digest:016x}"}
    return {
        "method": METHOD,
        "epochs": seen.epochs,
        "pictures": len(splits.train) + len(splits.validation),
        "judged": judged,
        "classes_left_out": [
            name for name, count in zip(splits.classes, counts, strict=True) if count < FOLDS
        ],
        "found": len(entries),
        "suspects": listed,
    }


def _among(probabilities: Floats, classes: Labels) -> Floats:
    """The probabilities among some classes only."""
    some = probabilities[:, classes]
    result: Floats = some / np.maximum(some.sum(axis=1, keepdims=True), 1e-12)
    return result


def sentence(said: Mapping[str, Any]) -> str:
    """The line for the training's log."""
    if "left_out" in said:
        return f"suspect labels: none are told: {said['left_out']}"
    train, validation = (said["judged"][split] for split in (TRAIN, VALIDATION))
    return f"suspect labels: {said['found']} of {train} training and {validation} validation pictures"
