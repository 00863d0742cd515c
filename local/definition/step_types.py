"""What each type of step asks of SageMaker, and the types of what it answers, from botocore's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.model import Shape
from botocore.validate import ParamValidator

from local.definition.expressions import Join, Reference, Token
from local.wire.operations import service_model


@dataclass(frozen=True)
class Action:
    """A step type that creates a SageMaker resource.

    `cache_key` are the arguments that decide whether an earlier run may be reused (developer guide,
    "Caching pipeline steps", default keys by step type); empty where the type is never cached.
    """

    resource: str
    metadata: str
    is_job: bool
    cache_key: tuple[str, ...] = ()

    @property
    def create(self) -> str:
        return f"Create{self.resource}"

    @property
    def describe(self) -> str:
        return f"Describe{self.resource}"

    @property
    def name_key(self) -> str:
        return f"{self.resource}Name"

    @property
    def arn_key(self) -> str:
        return f"{self.resource}Arn"

    @property
    def status_key(self) -> str:
        return f"{self.resource}Status"


ACTIONS = {
    "Processing": Action(
        "ProcessingJob", "ProcessingJob", True, ("AppSpecification", "Environment", "ProcessingInputs")
    ),
    "Training": Action(
        "TrainingJob",
        "TrainingJob",
        True,
        (
            "AlgorithmSpecification", "CheckpointConfig", "DebugHookConfig", "DebugRuleConfigurations",
            "Environment", "HyperParameters", "InputDataConfig",
        ),
    ),
    "Tuning": Action(
        "HyperParameterTuningJob",
        "TuningJob",
        True,
        (
            "HyperParameterTuningJobConfig", "TrainingJobDefinitions",
            "TrainingJobDefinition.AlgorithmSpecification", "TrainingJobDefinition.HyperParameterRanges",
            "TrainingJobDefinition.InputDataConfig", "TrainingJobDefinition.StaticHyperParameters",
            "TrainingJobDefinition.TuningObjective",
        ),
    ),
    "Model": Action("Model", "Model", False),
    "RegisterModel": Action("ModelPackage", "RegisterModel", False),
}  # fmt: skip

# A reference to a tuning job may name what either call answers.
LIST_TRIALS = "ListTrainingJobsForHyperParameterTuningJob"

_TYPES = {
    "string": "String", "timestamp": "String", "integer": "Integer", "long": "Integer",
    "float": "Float", "double": "Float", "boolean": "Boolean",
}  # fmt: skip
# Any value of the type will do for botocore's validation; long and large enough for its minima.
_SAMPLES = {"String": "x" * 64, "Integer": 1000, "Float": 1000.5, "Boolean": True}


def property_type(action: Action, path: Sequence[Token]) -> str:
    """The type (String, Integer, Float or Boolean) of a property of a step.

    Raises:
        ValueError: the service answers no such property, or a structure.
    """
    operations = [action.describe, *([LIST_TRIALS] if action.resource == "HyperParameterTuningJob" else [])]
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
            raise ValueError(f"{action.describe} answers no {token!r} there")
    if shape.type_name not in _TYPES:
        raise ValueError(f"it is a {shape.type_name}, not a value")
    return _TYPES[str(shape.type_name)]


def argument_problems(action: Action, arguments: Any, types: Mapping[Reference, str | None]) -> str:
    """What botocore finds wrong with a step's parsed arguments, on one line; empty if nothing.

    Each expression is replaced by a sample of its type; `types` has those of the references.
    """
    shape: Any = service_model().operation_model(action.create).input_shape
    sample = _sampled(arguments, shape, types)
    if isinstance(sample, dict) and action.resource != "ModelPackage":
        sample = {action.name_key: "name", **sample}
    report: str = ParamValidator().validate(sample, shape).generate_report()
    return report.replace("\n", "; ")


def _sampled(tree: Any, shape: Shape | None, types: Mapping[Reference, str | None]) -> Any:
    if isinstance(tree, Join):
        return _SAMPLES["String"]
    if isinstance(tree, Reference) and types[tree] is not None:
        return _SAMPLES[str(types[tree])]
    if isinstance(tree, dict):
        return {key: _sampled(item, _member(shape, key), types) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_sampled(item, _member(shape, 0), types) for item in tree]
    if isinstance(tree, str | int | float | None):
        return tree
    # A JsonGet, or a property of a step that is not run here: of whatever type fits.
    return _SAMPLES.get(_TYPES.get(shape.type_name, "") if shape is not None else "")


def _member(shape: Any, token: Token) -> Shape | None:
    kind = shape.type_name if shape is not None else None
    if kind == "structure":
        member: Shape | None = shape.members.get(token)
        return member
    if kind == "map":
        return shape.value  # type: ignore[no-any-return]
    return shape.member if kind == "list" else None
