"""What users may choose at each start: the only list of execution parameters.

Plain data, so that a script can check a start without the SageMaker SDK; `steps/context.py` turns
the same list into the SDK's parameters.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from config.settings import Settings
from config.values import Between, Entry, Matches, SettingsError, convert
from entrypoints.contract import BACKBONE, FALSE, MIN_IMAGE_PX, RANDOM_WEIGHTS, WEIGHTS_SUFFIXES

S3_URI = Matches(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/].*)?/?", "an S3 URI such as s3://bucket/folder")
INSTANCE_TYPE = Matches(r"ml\.[a-z0-9-]+\.[a-z0-9]+", "an instance type such as ml.m5.xlarge")
ENDPOINT_NAME = Matches(
    # API reference, CreateEndpoint: several hyphens may stand in a row, not first or last.
    r"(?=.{1,63}$)[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    "at most 63 letters, digits and hyphens between them, such as flowers",
)

_InstanceType = Annotated[str, INSTANCE_TYPE]
_Count = Annotated[int, Between(1)]


DATASET = "InputDataUrl"
WEIGHTS = "PretrainedWeightsUrl"


@dataclass(frozen=True)
class Parameter:
    """One execution parameter; `kind` is the type and form of its values."""

    name: str
    kind: Any
    default: str | int | float
    meaning: str

    @property
    def type(self) -> Literal["String", "Integer", "Float"]:
        """The type as the pipeline definition writes it."""
        if isinstance(self.default, int):
            return "Integer"
        return "Float" if isinstance(self.default, float) else "String"

    @property
    def choices(self) -> list[Any] | None:
        """The allowed values; None for any that fits."""
        return list(get_args(self.kind)) if get_origin(self.kind) is Literal else None


def dataset_url(settings: Settings, name: str = "default") -> str:
    """The prefix of the dataset of this name; "default" is the unnamed one."""
    return _as_prefix(f"s3://{settings.bucket}/{settings.name}/data/{name}")


def execution_parameters(settings: Settings, random_weights_url: str) -> tuple[Parameter, ...]:
    """The parameters in the order of the definition.

    `random_weights_url` is the S3 prefix with the marker that stands for random weights (steps/code.py).
    """
    instances = settings.deployment.instances_min
    on_instances = (
        Parameter("EndpointInstanceType", _InstanceType, "ml.m5.2xlarge", "serves the model"),
        Parameter(
            "EndpointInstanceCount",
            Annotated[int, Between(instances)],
            instances,
            "instances behind the endpoint",
        ),
    )
    training = "ml.g5.xlarge" if settings.images.training_device == "gpu" else "ml.m5.2xlarge"
    return (
        Parameter(
            DATASET,
            Annotated[str, S3_URI],
            dataset_url(settings),
            "images: a folder per class, or train and val folders",
        ),
        Parameter(
            WEIGHTS,
            Annotated[str, S3_URI],
            random_weights_url,
            f"one {BACKBONE} weights file, or the marker {RANDOM_WEIGHTS}",
        ),
        Parameter("ProcessingInstanceType", _InstanceType, "ml.m5.xlarge", "splits the dataset"),
        Parameter("TrainingInstanceType", _InstanceType, training, "tunes and trains"),
        Parameter("TrainingInstanceCount", _Count, 1, "instances that train one model together"),
        Parameter("EvaluationInstanceType", _InstanceType, "ml.m5.xlarge", "evaluates the model"),
        Parameter("Epochs", _Count, 10, "passes over the training images, per training job"),
        Parameter(
            "ImageSize",
            Annotated[int, Between(MIN_IMAGE_PX, 1024)],
            224,
            "side of the model's input, in pixels",
        ),
        Parameter(
            "AccuracyThreshold", Annotated[float, Between(0, 1)], 0.9, "lowest test accuracy to register"
        ),
        Parameter(
            "ReplaceWorse",
            Literal["false", "true"],
            FALSE,
            "true: also a model that may be worse than the one that serves",
        ),
        Parameter(
            "ModelApprovalStatus",
            Literal["Approved", "PendingManualApproval", "Rejected"],
            "Approved",
            "status of the new model package; only Approved is deployed",
        ),
        Parameter(
            "EndpointName", Annotated[str, ENDPOINT_NAME], settings.name, "endpoint to create or update"
        ),
        *(() if settings.deployment.serverless else on_instances),
        Parameter(
            "VerificationInstanceType", _InstanceType, "ml.t3.medium", "asks the endpoint about test pictures"
        ),
    )


def _as_prefix(url: str) -> str:
    """An S3 URI as a prefix with a final slash; without it S3 would take "flowers-2" for "flowers"."""
    return f"{url.rstrip('/')}/"


def _is_weights_file(url: str) -> bool:
    name = url.rpartition("/")[2]
    return name == RANDOM_WEIGHTS or name.lower().endswith(WEIGHTS_SUFFIXES)


def check_assignments(
    parameters: Sequence[Parameter], assignments: Sequence[str], source: str = "--parameter"
) -> dict[str, str]:
    """The values of `Name=value` strings, by name, as StartPipelineExecution takes them.

    S3 URIs become prefixes that end in a slash, except one that names a file of weights.

    Raises SettingsError, one line, for an unknown name and for a value of the wrong type or form.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"{source} {assignment!r}: write Name=value, e.g. AccuracyThreshold=0.8")
        given = Entry(value, source, text=True)
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise given.error(name, f"no such parameter; {hint}")
        convert(known[name].kind, name, given)
        prefix = name == DATASET or (name == WEIGHTS and not _is_weights_file(value))
        values[name] = _as_prefix(value) if prefix else value
    return values
