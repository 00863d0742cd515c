"""The sections of the settings (settings.py): the choices for each kind of job."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from config.values import Between, Checked, Matches, SettingsError

_QUEUE = Matches(
    r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+",
    "the ARN of a standard SQS queue such as arn:aws:sqs:us-east-1:123456789012:flower-classifier-failures",
)
_VERSION = Matches(r"\d+(\.\d+)*", 'a version in quotes such as "2.13"')


@dataclass(frozen=True)
class Split(Checked):
    """[split]: which pictures are for training, validation and test (entrypoints/split.py)."""

    seed: Annotated[int, Between(0, 2**31 - 1)] = 1
    test_fraction: Annotated[float, Between(0, 1, above=True)] = 0.15  # of the pictures
    validation_fraction: Annotated[float, Between(0, 1, above=True)] = 0.15  # of the rest
    # Finds the class in a picture's path if folders do not name it.
    label_regex: (
        Annotated[str, Matches(r".{1,200}", "a regular expression of at most 200 characters")] | None
    ) = None
    # Names a picture's group; a group's pictures all go into one split. None or 0: no groups.
    group_pattern: (
        Annotated[str, Matches(r".{1,200}", "a regular expression of at most 200 characters")] | None
    ) = None
    group_level: Annotated[int, Between(0)] = 0  # 1: the folder below the class, 2: the next one
    near_copies: bool = True  # whether near copies are kept together, or only those with the same pixels
    conflicting_labels: Literal["refuse", "leave_out"] = "refuse"  # pictures under two classes

    def check(self, refuse: Callable[[str, str], SettingsError]) -> None:
        if self.test_fraction + self.validation_fraction >= 1:
            raise refuse(
                "test_fraction",
                f"and split.validation_fraction = {self.validation_fraction:g} leave nothing to train on",
            )
        if self.group_pattern and self.group_level:
            raise refuse("group_level", "split.group_pattern names the groups already; take one of them")
        for name, text in (("group_pattern", self.group_pattern), ("label_regex", self.label_regex)):
            try:
                re.compile(text or "")
            except re.error as error:
                raise refuse(name, f"is not a regular expression ({error})") from error

    def arguments(self) -> list[str]:
        """The split program's arguments."""
        # A pattern may begin with a dash, and CreateProcessingJob refuses an empty argument.
        patterns = {"group-pattern": self.group_pattern, "label-regex": self.label_regex}
        return [
            *("--validation-fraction", str(self.validation_fraction)),
            *("--test-fraction", str(self.test_fraction)),
            *("--seed", str(self.seed)),
            *("--group-level", str(self.group_level)),
            *("--near-copies", str(self.near_copies).lower()),
            *("--conflicting-labels", self.conflicting_labels),
            *(f"--{name}={pattern}" for name, pattern in patterns.items() if pattern),
        ]


@dataclass(frozen=True)
class Tuning(Checked):
    """[tuning]: the hyperparameter tuning job."""

    # Limits: "Resource Limits for Automatic Model Tuning" in the developer guide.
    jobs: Annotated[int, Between(1, 10_000)] = 4  # training jobs in all; above 750 Random only
    parallel_jobs: Annotated[int, Between(1, 100)] = 2  # of them at the same time; AWS grants 10 by default
    # Grid is missing: SageMaker allows it for categorical ranges only.
    strategy: Literal["Bayesian", "Random", "Hyperband"] = "Bayesian"
    early_stopping: bool = False  # let SageMaker stop trials that fall behind
    random_seed: Annotated[int, Between(1, 2**31 - 1)] = 1
    learning_rate_min: Annotated[float, Between(0, above=True)] = 1e-4  # searched on a logarithmic scale
    learning_rate_max: Annotated[float, Between(0, above=True)] = 1e-1
    batch_sizes: tuple[Annotated[int, Between(1)], ...] = (32, 64)  # images per step
    # What may end the search before its last trial; None: nothing. Limits: ResourceLimits and
    # TuningJobCompletionCriteria in the API reference.
    max_runtime_s: Annotated[int, Between(120, 15_768_000)] | None = None
    target_accuracy: Annotated[float, Between(0, 1, above=True)] | None = None  # of the validation pictures
    max_jobs_not_improving: Annotated[int, Between(3)] | None = None  # by 1 % or more

    def check(self, refuse: Callable[[str, str], SettingsError]) -> None:
        if self.learning_rate_min >= self.learning_rate_max:
            raise refuse(
                "learning_rate_min", f"must be below tuning.learning_rate_max = {self.learning_rate_max:g}"
            )
        if self.jobs > 750 and self.strategy != "Random":
            raise refuse("jobs", f"SageMaker allows at most 750 with tuning.strategy = {self.strategy!r}")
        if not 1 <= len(self.batch_sizes) <= 30:
            raise refuse("batch_sizes", "SageMaker allows 1 to 30 of them, e.g. [32, 64]")
        if len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise refuse("batch_sizes", "each may occur only once")


@dataclass(frozen=True)
class Training:
    """[training]: hyperparameters of the trials and of TrainModel that are not searched.

    entrypoints/hyperparameters.py explains each, and has more of them.
    """

    trainable: Literal["auto", "head", "last_block", "all"] = "auto"  # which layers
    class_weights: bool = False  # each class counts the same, however many pictures it has
    patience: Annotated[int, Between(0)] = 0  # epochs without a better one that end it, in its last sixth
    views: Annotated[int, Between(1)] = 4  # random crops of each picture, where layers are frozen
    memory_budget_mb: Annotated[int, Between(0)] = 2048  # of an instance, for pictures and features
    # Of pictures like the validation split's, how many the endpoint calls known.
    known_share: Annotated[float, Between(0, 1, above=True)] = 0.95

    def hyperparameters(self) -> dict[str, str]:
        """The training program's hyperparameters."""
        return {
            name: str(int(value) if isinstance(value, bool) else value)
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Gate:
    """[gate]: what a model must reach on the test pictures to be registered."""

    # What the execution parameter AccuracyThreshold is compared with: contract.GATE_METRICS.
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"
    lower_bound: bool = False  # the lower bound of its 95 % interval must reach AccuracyThreshold, too
    # The accuracy's lower bound must exceed the accuracy of always answering the most frequent class.
    better_than_guessing: bool = True
    # How much worse the metric may be than that of the model that serves, on the same pictures (3 points).
    margin: Annotated[float, Between(0, 1, above=True)] = 0.03


_TEXT = Matches(r"(?s).{1,2048}", "a text of at most 2048 characters")  # the schema of the card


@dataclass(frozen=True)
class ModelCard:
    """[model_card]: what only people know about a model, for the card of each version (steps/card.py)."""

    purpose_of_model: Annotated[str, _TEXT] | None = None
    intended_uses: Annotated[str, _TEXT] | None = None
    risk_rating: Literal["Unknown", "Low", "Medium", "High"] = "Unknown"
    explanations_for_risk_rating: Annotated[str, _TEXT] | None = None

    def texts(self) -> dict[str, str | None]:
        """The text fields, by the schema's names."""
        return {
            "purpose_of_model": self.purpose_of_model,
            "intended_uses": self.intended_uses,
            "explanations_for_risk_rating": self.explanations_for_risk_rating,
        }


@dataclass(frozen=True)
class Debugger:
    """[debugger]: Debugger and Profiler of TrainModel; closed to new AWS customers since 2026-07-30."""

    enabled: bool = True
    # Built-in rules; PoorWeightInitialization saves the inputs of every ReLU once, some 10 MB a picture.
    rules: tuple[
        Literal[
            "LossNotDecreasing",
            "Overfit",
            "Overtraining",
            "VanishingGradient",
            "ExplodingTensor",
            "PoorWeightInitialization",
            "ProfilerReport",
            "CPUBottleneck",
            "IOBottleneck",
            "LowGPUUtilization",
            "GPUMemoryIncrease",
        ],
        ...,
    ] = (
        "LossNotDecreasing",
        "Overfit",
        "Overtraining",
        "VanishingGradient",
        "ExplodingTensor",
        "ProfilerReport",
        "CPUBottleneck",
        "LowGPUUtilization",
    )
    # Tensor collections that smdebug records besides the losses and what the rules read.
    collections: tuple[Literal["weights", "biases", "gradients", "relu_input", "relu_output"], ...] = ()
    save_interval_steps: Annotated[int, Between(1)] = 10  # of the losses
    tensor_interval_steps: Annotated[int, Between(1)] = 500  # of all else; ResNet18's gradients are 45 MB
    profiler_interval_ms: Literal[100, 200, 500, 1000, 5000, 60000] = 500


@dataclass(frozen=True)
class Images:
    """[images]: versions of the containers in SageMaker's image list (images.py)."""

    training_version: Annotated[str, _VERSION] = "2.13"
    # The image decides: on the CPU image a GPU instance computes on its CPU.
    training_device: Literal["cpu", "gpu"] = "cpu"
    serving_version: Annotated[str, _VERSION] = "1"


@dataclass(frozen=True)
class Retries:
    """[retries]: a step that AWS failed (service fault, throttling, capacity, limits) starts again."""

    max_attempts: Annotated[int, Between(0, 20)] = 3  # 0: never retry
    interval_s: Annotated[int, Between(1, 43_200)] = 60  # before the first new attempt
    backoff_rate: Annotated[float, Between(1)] = 2.0  # each interval, as a multiple of the one before


@dataclass(frozen=True)
class Schedule:
    """[schedule]: what happens to an execution that the schedule cannot start."""

    # Limits: DeadLetterConfig and RetryPolicy in EventBridge Scheduler's API reference, which takes no FIFO
    # queue (user guide, "Configuring a schedule's dead-letter queue"). None: as the schedule has it, and in a
    # new one no queue, 185 retries, 86,400 s.
    dead_letter_queue: Annotated[str, _QUEUE] | None = None
    max_retries: Annotated[int, Between(0, 185)] | None = None
    max_event_age_s: Annotated[int, Between(60, 86_400)] | None = None  # no retry of an older event
