"""The parts of a report as plain values: some modules read them, others draw them.

If a part's source is missing, the part is a `Missing`, which says why.
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
    """A part that cannot be shown; one sentence says why."""

    reason: str


@dataclass(frozen=True)
class Step:
    """A step of the execution; `note` says why it failed, or that its result was reused."""

    name: str
    status: str
    began: datetime | None
    seconds: float
    note: str


@dataclass(frozen=True)
class Run:
    """The execution itself. `passed` is the gate's answer, None if the gate did not run.

    `here` says that it ran on this machine, against a local service.
    """

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
    here: bool


@dataclass(frozen=True)
class Card:
    """The main facts of a model package's card in its current state: it may have been edited in Studio.

    `uses` were written by people, `facts` by the pipeline; texts by the schema's names.
    """

    status: str
    uses: Mapping[str, str]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class ModelPackage:
    arn: str
    approval: str
    card: Card | Missing


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
    """Pictures kept in one split because they belong together: how many, why, and some of them."""

    pictures: int
    why: Sequence[str]
    split: str
    samples: Sequence[Picture]


@dataclass(frozen=True)
class Copies:
    """What SplitDataset found: pictures with copies, by kind; the largest groups; conflicts.

    `held` pictures are in `groups` groups. Conflicts are copies in two classes, each with its kind.
    """

    counts: Mapping[str, int]
    groups: int
    held: int
    largest: Sequence[Group]
    conflicts: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Dataset:
    """What SplitDataset did: counts by split and class, the layout, left-out files, copies, samples."""

    classes: Sequence[str]
    counts: Mapping[str, Mapping[str, int]]
    notes: Sequence[str]
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
    """A tuning job, with its trials, best first.

    `ranges` are the searched hyperparameters: True if chosen from a list of values, False if between two
    limits.
    """

    job: str
    strategy: str
    objective: str
    maximize: bool
    ranges: Mapping[str, bool]
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial | None:
        """The trial whose hyperparameters TrainModel used; None if no trial has an objective."""
        return None if self.trials[0].objective is None else self.trials[0]


@dataclass(frozen=True)
class Rule:
    """A rule's finding; `step` is the training step at which it fired, if known."""

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

    Debugger and its rules also count validation batches as steps: `trained` are the training steps up to each
    of Debugger's `recorded` ones.
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
class Suspect:
    """A picture whose label may be wrong: how well other pictures support that label, and another (0..1)."""

    picture: Picture
    file: str
    label: str
    suggested: str
    self_confidence: float
    suggested_confidence: float


@dataclass(frozen=True)
class Suspects:
    """How many pictures were judged, how many labels may be wrong, how that was decided, and the first ones.

    `archive`, an S3 URI, has the whole list in suspects.json.
    """

    archive: str
    judged: int
    pictures: int
    found: int
    method: str
    first: Sequence[Suspect]


@dataclass(frozen=True)
class Recipe:
    """What the model was made with, so that it can be made again; `best_epoch` is the epoch that was kept.

    `code` is the SHA-256 of the training's code, empty if its address has none; `size_bytes` is the model
    artifact's size.
    """

    hyperparameters: Mapping[str, str]
    best_epoch: int
    weights: str
    versions: Mapping[str, str]
    code: str
    size_bytes: int


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
    suspects: Suspects | Missing
    recipe: Recipe | Missing


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction, with the probabilities (0..1) of the true class and of the predicted one.

    `file` is the picture's name below the split.

    `explained`: the picture shows what spoke for the predicted class. `known`: the model takes it for a
    picture like those of the training.
    """

    picture: Picture
    file: str
    label: str
    predicted: str
    label_probability: float
    predicted_probability: float
    explained: bool
    known: bool


@dataclass(frozen=True)
class Thresholds:
    """The effect of leaving out answers of which the model is less certain than a threshold.

    `shares` of the pictures (0..1) still get an answer; `accuracies` of these are right, NaN if there are
    none.
    """

    thresholds: Floats
    shares: Floats
    accuracies: Floats


@dataclass(frozen=True)
class Predictions:
    calibration: Reliability
    thresholds: Thresholds
    mistakes: Sequence[Mistake]


@dataclass(frozen=True)
class Mean:
    """A metric over all classes and its 95 % interval (0..1)."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Engine:
    """An engine on the test pictures; `agreement` is the share of answers equal to PyTorch's."""

    name: str
    accuracy: float
    agreement: float


@dataclass(frozen=True)
class Evaluation:
    """EvaluateModel's result; `matrix` counts pictures, row = actual class, column = predicted class.

    `means`, `recalls`, the interval of each class's recall, `comparison`, a sentence on the champion, and
    `engines`, the one that was evaluated first, are empty in evaluations of earlier versions.
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
    engines: Sequence[Engine] = ()


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
