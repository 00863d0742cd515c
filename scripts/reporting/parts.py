"""The parts of a report as plain values: what is read on one side, what is drawn on the other.

A part whose source is missing is a `Missing`, which says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from entrypoints.metrics import Reliability

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Missing:
    """A part that cannot be shown, and why, in one sentence."""

    reason: str


@dataclass(frozen=True)
class Step:
    """A step of the execution; `note` is why it failed, or that its result was reused."""

    name: str
    status: str
    began: datetime | None
    seconds: float
    note: str


@dataclass(frozen=True)
class Run:
    """The execution itself. `passed` is the gate's answer, None if it was not asked."""

    arn: str
    pipeline: str
    status: str
    failure_reason: str
    began: datetime
    seconds: float
    parameters: Mapping[str, str]
    steps: Sequence[Step]
    passed: bool | None
    refusal: str


@dataclass(frozen=True)
class ModelPackage:
    arn: str
    approval: str


@dataclass(frozen=True)
class Endpoint:
    name: str
    region: str
    status: str


@dataclass(frozen=True)
class Verification:
    """What VerifyEndpoint found, in its own words."""

    passed: bool
    message: str


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data: URI, empty if the picture cannot be shown."""

    file: str
    uri: str


@dataclass(frozen=True)
class Group:
    """Pictures that are in one split because they belong together: how many, why, and some of them."""

    pictures: int
    why: Sequence[str]
    split: str
    samples: Sequence[Picture]


@dataclass(frozen=True)
class Copies:
    """What SplitDataset found: pictures that have copies, by kind; groups, the largest ones; conflicts.

    `held` pictures are in `groups` groups. Conflicts are copies under two classes, each with its kind.
    """

    counts: Mapping[str, int]
    groups: int
    held: int
    largest: Sequence[Group]
    conflicts: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Dataset:
    """What SplitDataset did: counts by split and class, files left out and why, copies, sample pictures."""

    classes: Sequence[str]
    counts: Mapping[str, Mapping[str, int]]
    rejected: Sequence[tuple[str, str]]
    copies: Copies | Missing
    samples: Mapping[str, Sequence[Picture]]


@dataclass(frozen=True)
class Trial:
    name: str
    status: str
    hyperparameters: Mapping[str, str]
    objective: float | None
    seconds: float | None
    failure_reason: str


@dataclass(frozen=True)
class Tuning:
    """A tuning job; its trials best first.

    `ranges` are the hyperparameters that were searched: True for those that had values to choose from, False
    for those between two limits.
    """

    job: str
    strategy: str
    objective: str
    maximize: bool
    ranges: Mapping[str, bool]
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial | None:
        """The trial whose hyperparameters TrainModel took; None if no trial has an objective."""
        return None if self.trials[0].objective is None else self.trials[0]


@dataclass(frozen=True)
class Rule:
    """A rule's finding; `step` is the step of the training at which it fired, if that is known."""

    name: str
    status: str
    details: str
    step: int | None

    @property
    def fired(self) -> bool:
        return self.status == "IssuesFound"


@dataclass(frozen=True)
class Losses:
    """The training loss as Debugger recorded it, by step of the training.

    Debugger, and so its rules, count the batches of the validation as steps, too: `trained` are the steps of
    the training until each of Debugger's `recorded` ones.
    """

    steps: Counts
    values: Floats
    recorded: Counts
    trained: Counts


@dataclass(frozen=True)
class System:
    """Averages over equal intervals of time, in percent; `seconds` are their middles. NaN: nothing measured.

    `cpu` has one row per core. `gpu` is empty on an instance without one.
    """

    seconds: Floats
    cores: Sequence[str]
    cpu: Floats
    memory: Floats
    gpu: Mapping[str, Floats]


@dataclass(frozen=True)
class Training:
    """A training job; `steps` and `epochs` have the columns of entrypoints/contract.py."""

    job: str
    instance: str
    seconds: float | None
    steps: Mapping[str, Floats] | Missing
    epochs: Mapping[str, Floats] | Missing
    losses: Losses | Missing
    rules: Sequence[Rule] | Missing
    system: System | Missing


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction, with the probabilities (0..1) of the true class and of the predicted one.

    `explained` says that the picture shows what spoke for the predicted class, `known` that it is like the
    training's as far as the model can tell.
    """

    picture: Picture
    label: str
    predicted: str
    label_probability: float
    predicted_probability: float
    explained: bool
    known: bool


@dataclass(frozen=True)
class Predictions:
    calibration: Reliability
    mistakes: Sequence[Mistake]


@dataclass(frozen=True)
class Mean:
    """A metric over all classes and its 95 % interval (0..1)."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """EvaluateModel's result; `matrix` counts pictures, row = actual class, column = predicted class.

    `means`, `recalls`, the interval of each class's recall, and `comparison`, a sentence on the champion, are
    empty in evaluations of earlier versions.
    """

    classes: Sequence[str]
    matrix: Counts
    accuracy: float
    interval: tuple[float, float]
    baseline: float
    means: Sequence[Mean]
    recalls: Mapping[str, tuple[float, float]]
    comparison: str
    predictions: Predictions | Missing


@dataclass(frozen=True)
class Report:
    run: Run
    package: ModelPackage | Missing
    data: Dataset | Missing
    tuning: Tuning | Missing
    training: Training | Missing
    evaluation: Evaluation | Missing
    endpoint: Endpoint | Missing
    verification: Verification | Missing
    made: datetime
