"""The types of steps, with the request and the answer of each, from botocore's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.model import Shape
from botocore.validate import ParamValidator, ValidationErrors

from local.definition.expressions import Join, Reference, Token, quoted
from local.definition.images import not_found, not_run
from local.wire.operations import service_model

# The hyperparameters by which the training toolkit runs a script.
_SCRIPT_MODE = ("sagemaker_program", "sagemaker_submit_directory")

Arguments = Mapping[str, Any]


def _runs(_arguments: Arguments) -> Iterator[str]:
    yield from ()


def _only_with_entrypoint(arguments: Arguments) -> Iterator[str]:
    entrypoint = arguments["AppSpecification"].get("ContainerEntrypoint")
    if not entrypoint:
        yield f"no ContainerEntrypoint: {not_run(arguments['AppSpecification']['ImageUri'])}"
    elif reason := not_found(entrypoint, arguments.get("Environment")):
        yield reason


def _only_programs(arguments: Arguments, hyperparameters: str = "HyperParameters") -> Iterator[str]:
    algorithm = arguments["AlgorithmSpecification"]
    script = all(key in (arguments.get(hyperparameters) or {}) for key in _SCRIPT_MODE)
    if not script and not algorithm.get("ContainerEntrypoint"):
        if "TrainingImage" in algorithm:
            reason = not_run(algorithm["TrainingImage"])
        else:
            reason = f"the algorithm {quoted(algorithm.get('AlgorithmName'))} is not run here"
        yield f"neither the hyperparameters {' and '.join(_SCRIPT_MODE)} nor a ContainerEntrypoint: {reason}"
    elif reason := not_found(algorithm.get("ContainerEntrypoint"), arguments.get("Environment")):
        yield reason


def _only_one_definition(arguments: Arguments) -> Iterator[str]:
    if "TrainingJobDefinitions" in arguments or "TrainingJobDefinition" not in arguments:
        yield "a tuning job needs one TrainingJobDefinition; TrainingJobDefinitions do not run here"
    else:
        yield from _only_programs(arguments["TrainingJobDefinition"], "StaticHyperParameters")


def transform_problems(arguments: Arguments) -> Iterator[str]:
    """Why the local service does not run a transform job, as far as its arguments are known."""
    source = arguments["TransformInput"]
    data_type = source["DataSource"]["S3DataSource"]["S3DataType"]
    if data_type in ("AugmentedManifestFile", "Converse"):
        yield f"S3DataType {data_type} does not run here, only S3Prefix and ManifestFile"
    if source.get("SplitType") in ("RecordIO", "TFRecord"):
        yield f"SplitType {source['SplitType']} does not run here, only None and Line"
    count = arguments["TransformResources"]["InstanceCount"]
    if isinstance(count, int) and count != 1:
        yield f"InstanceCount is {count}; the local service has one machine"


@dataclass(frozen=True)
class StepType:
    """A type of step, and the SageMaker resource that it creates, if it does.

    Args:
        resource: the name in its calls: Create..., Describe...; "" for a type that creates nothing.
        metadata: the key of its ARN in ListPipelineExecutionSteps.
        is_job: whether the step waits for the resource's end.
        name_characters: the longest name of the resource; 0 if SageMaker chooses the name.
        trials: another operation, besides Describe, that a reference may read.
        cache_key: the arguments that decide whether an earlier run may be reused (developer guide, "Caching
            pipeline steps", default keys by step type); empty where the type is never cached.
        unsupported: why a step with such arguments cannot run here, sentence by sentence.
    """

    resource: str = ""
    metadata: str = ""
    is_job: bool = False
    name_characters: int = 63
    trials: str = ""
    cache_key: tuple[str, ...] = ()
    unsupported: Callable[[Arguments], Iterator[str]] = _runs

    @property
    def create(self) -> str:
        return f"Create{self.resource}"

    @property
    def describe(self) -> str:
        return f"Describe{self.resource}"

    @property
    def stop(self) -> str:
        return f"Stop{self.resource}"

    @property
    def name_key(self) -> str:
        return f"{self.resource}Name"

    @property
    def arn_key(self) -> str:
        return f"{self.resource}Arn"

    @property
    def status_key(self) -> str:
        return f"{self.resource}Status"


# Every type that runs here. One that creates a job needs a row here and a kind of job (jobs/jobs.py).
STEP_TYPES: Mapping[str, StepType] = {
    "Processing": StepType(
        resource="ProcessingJob",
        metadata="ProcessingJob",
        is_job=True,
        cache_key=("AppSpecification", "Environment", "ProcessingInputs"),
        unsupported=_only_with_entrypoint,
    ),
    "Training": StepType(
        resource="TrainingJob",
        metadata="TrainingJob",
        is_job=True,
        cache_key=(
            "AlgorithmSpecification", "CheckpointConfig", "DebugHookConfig", "DebugRuleConfigurations",
            "Environment", "HyperParameters", "InputDataConfig",
        ),
        unsupported=_only_programs,
    ),
    "Tuning": StepType(
        resource="HyperParameterTuningJob",
        metadata="TuningJob",
        is_job=True,
        name_characters=32,
        trials="ListTrainingJobsForHyperParameterTuningJob",
        cache_key=(
            "HyperParameterTuningJobConfig", "TrainingJobDefinitions",
            "TrainingJobDefinition.AlgorithmSpecification", "TrainingJobDefinition.HyperParameterRanges",
            "TrainingJobDefinition.InputDataConfig", "TrainingJobDefinition.StaticHyperParameters",
            "TrainingJobDefinition.TuningObjective",
        ),
        unsupported=_only_one_definition,
    ),
    "Transform": StepType(
        resource="TransformJob",
        metadata="TransformJob",
        is_job=True,
        cache_key=("DataProcessing", "Environment", "ModelName", "TransformInput"),
        unsupported=transform_problems,
    ),
    "Model": StepType(resource="Model", metadata="Model"),
    "RegisterModel": StepType(resource="ModelPackage", metadata="RegisterModel", name_characters=0),
    "Condition": StepType(),
    "Fail": StepType(),
    "Lambda": StepType(),
}  # fmt: skip

# Every type that SageMaker has: StepTypeEnum of the SDK (sagemaker.mlops.workflow.steps).
AWS_STEP_TYPES = frozenset(STEP_TYPES) | {
    "AutoML", "Callback", "ClarifyCheck", "Cleanup", "EMR", "EMRServerless", "Endpoint", "EndpointConfig",
    "ForEach", "InferenceComponent", "Job", "Lineage", "QualityCheck", "Transform",
}  # fmt: skip

_TYPES = {
    "string": "String", "timestamp": "String", "integer": "Integer", "long": "Integer",
    "float": "Float", "double": "Float", "boolean": "Boolean",
}  # fmt: skip
_JSON_TYPES = {
    str: "String", int: "Integer", float: "Float", bool: "Boolean", dict: "object", list: "list",
    type(None): "null",
}  # fmt: skip
# Any value of the type passes botocore's validation if it is long and large enough for its minima.
_SAMPLES = {"String": "x" * 64, "Integer": 1000, "Float": 1000.5, "Boolean": True}


def property_type(kind: StepType, path: Sequence[Token]) -> str:
    """The type (String, Integer, Float or Boolean) of a property of a step.

    Raises:
        ValueError: the service answers no such property, or a structure.
    """
    operations = [kind.describe, *([kind.trials] if kind.trials else [])]
    shapes: list[Any] = [service_model().operation_model(operation).output_shape for operation in operations]
    shape = next((shape for shape in shapes if path[0] in shape.members), shapes[0])
    for token in path:
        if shape.type_name == "structure" and token in shape.members:
            shape = shape.members[token]
        elif shape.type_name == "list":
            shape = shape.member
        elif shape.type_name == "map" and isinstance(token, str):
            shape = shape.value
        else:
            raise ValueError(f"{kind.describe} answers no {token!r} there")
    if shape.type_name not in _TYPES:
        raise ValueError(f"it is a {shape.type_name}, not a value")
    return _TYPES[str(shape.type_name)]


def argument_problems(kind: StepType, arguments: Any, types: Mapping[Reference, str | None]) -> str:
    """What botocore finds wrong with a step's parsed arguments, on one line; empty if all is well.

    Each expression is replaced by a sample of its type; `types` has those of the references.
    """
    shape: Any = service_model().operation_model(kind.create).input_shape
    trees: dict[str, Any] = {}
    sample = _sampled(arguments, shape, types, trees, "")
    if isinstance(sample, dict) and kind.name_characters:
        sample = {kind.name_key: "name", **sample}
    found = ParamValidator().validate(sample, shape)
    return "; ".join(_problem(error, trees) for error in found._errors)


def _problem(error: tuple[str, str, dict[str, Any]], trees: Mapping[str, Any]) -> str:
    """One of botocore's errors in its words, with the definition's value and types in place of samples."""
    reason, name, details = error
    if reason != "invalid type":
        errors = ValidationErrors()
        errors.report(name, reason, **details)
        return str(errors.generate_report())
    found = _JSON_TYPES[type(details["param"])]
    wanted = [name for kind, name in _JSON_TYPES.items() if str(kind) in details["valid_types"]]
    return (
        f"Invalid type for parameter {name.removeprefix('.')}, value: {quoted(trees[name])}, "
        f"type: {found}, valid types: {', '.join(wanted)}"
    )


def _sampled(
    tree: Any, shape: Shape | None, types: Mapping[Reference, str | None], trees: dict[str, Any], name: str
) -> Any:
    """The tree with samples; puts each part into `trees`, by botocore's name for it."""
    trees[name] = tree
    if isinstance(tree, Join):
        return _SAMPLES["String"]
    if isinstance(tree, Reference) and types[tree] is not None:
        return _SAMPLES[str(types[tree])]
    if isinstance(tree, dict):
        return {
            key: _sampled(item, _member(shape, key), types, trees, f"{name}.{key}")
            for key, item in tree.items()
        }
    if isinstance(tree, list):
        return [
            _sampled(item, _member(shape, 0), types, trees, f"{name}[{index}]")
            for index, item in enumerate(tree)
        ]
    if isinstance(tree, str | int | float | None):
        return tree
    # A JsonGet, or a property of a step that does not run here: any type fits.
    return _SAMPLES.get(_TYPES.get(shape.type_name, "") if shape is not None else "")


def _member(shape: Any, token: Token) -> Shape | None:
    kind = shape.type_name if shape is not None else None
    if kind == "structure":
        member: Shape | None = shape.members.get(token)
        return member
    if kind == "map":
        return shape.value  # type: ignore[no-any-return]
    return shape.member if kind == "list" else None
