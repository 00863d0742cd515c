"""A pipeline definition: its JSON parsed and checked as far as possible before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from local.definition.cache import CacheConfig, parse_cache_config
from local.definition.checks import check_keys, list_of, shown, strings
from local.definition.conditions import check_condition
from local.definition.expressions import Reference, lookup, parse, references
from local.definition.parameters import Parameter, parse_parameter
from local.definition.retry import RetryPolicy, parse_retry_policy
from local.definition.step_types import AWS_STEP_TYPES, STEP_TYPES, argument_problems, property_type
from local.wire.texts import json_value

# What Execution.<name> may name; all are strings.
EXECUTION_VARIABLES = (
    "StartDateTime", "CurrentDateTime", "PipelineName", "PipelineArn", "PipelineExecutionId",
    "PipelineExecutionArn", "TrainingJobName", "ProcessingJobName",
)  # fmt: skip

# The only one of the published JSON schema (API reference, CreatePipeline, PipelineDefinition).
VERSION = "2020-12-01"
_DEFINITION_KEYS = {"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "MlflowConfig", "Steps"}
_STEP_KEYS = {
    "Name", "Type", "Arguments", "DisplayName", "Description", "DependsOn", "CacheConfig", "RetryPolicies",
    "PropertyFiles", "FunctionArn", "OutputParameters",
}  # fmt: skip
_TRIGGERS = ("Completed", "Failed", "Stopped", "Any")
_OUTPUT_TYPES = ("String", "Integer", "Float", "Boolean")
_MAX_STEPS = 50
_MAX_PARAMETERS = 200


class DefinitionError(ValueError):
    """An invalid definition; the message names the step and the construct."""


@dataclass(frozen=True)
class Dependency:
    """An edge: `step` must end as `trigger` says; a Condition must also have chosen `branch`, if not None."""

    step: str
    trigger: str = "Completed"
    branch: bool | None = None


@dataclass(frozen=True)
class PropertyFile:
    """A JSON file among a processing job's outputs."""

    output: str
    path: str


@dataclass(frozen=True)
class Step:
    """One step; `arguments` are parsed expressions, without a Condition's branches."""

    name: str
    type: str
    arguments: dict[str, Any]
    display_name: str | None = None
    description: str | None = None
    upstream: tuple[Dependency, ...] = ()
    property_files: Mapping[str, PropertyFile] = field(default_factory=dict)
    function_arn: Any = None
    output_types: Mapping[str, str] = field(default_factory=dict)
    cache: CacheConfig | None = None
    retries: tuple[RetryPolicy, ...] = ()


@dataclass(frozen=True)
class Definition:
    """A pipeline; `steps` in the order of the JSON, a branch's steps after their Condition.

    `order` names the steps so that each comes after all that it depends on.
    """

    parameters: Mapping[str, Parameter]
    steps: Mapping[str, Step]
    order: tuple[str, ...]
    mlflow: Any = None
    experiment: Any = None  # PipelineExperimentConfig, parsed


def parse_definition(text: str) -> Definition:
    """Parse and check the JSON of a pipeline definition.

    Raises:
        DefinitionError: malformed JSON, an unknown key or function, a duplicate name, a reference to
            something that does not exist, arguments that do not fit the service's model, a cycle.
    """
    try:
        document = json_value(text)
    except ValueError as error:
        raise DefinitionError(f"the definition is not valid JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("Steps"), list):
        raise DefinitionError("the definition has no list of Steps")
    unknown = sorted(set(document) - _DEFINITION_KEYS)
    if unknown:
        raise DefinitionError(f"the definition has the unknown key {unknown[0]!r}")
    if document.get("Version") != VERSION:
        raise DefinitionError(
            f"the definition has the Version {shown(document.get('Version'))}; expected {VERSION!r}"
        )
    parameters = _parse_parameters(document.get("Parameters") or [])
    steps: dict[str, Step] = {}
    for step in _parse_steps(document["Steps"], ()):
        if step.name in steps:
            raise DefinitionError(f"step {step.name!r}: the name is used twice")
        steps[step.name] = step
    if not 1 <= len(steps) <= _MAX_STEPS:
        raise DefinitionError(f"the definition has {len(steps)} steps; expected 1 to {_MAX_STEPS}")
    try:
        if document.get("PipelineExperimentConfig") is not None:
            check_keys(document["PipelineExperimentConfig"], {"ExperimentName", "TrialName"}, set())
        experiment = parse(document.get("PipelineExperimentConfig"))
        for reference in references(experiment):
            _reference_type(reference, parameters, {})
    except ValueError as error:
        raise DefinitionError(f"PipelineExperimentConfig: {error}") from None
    steps = {name: _linked(step, parameters, steps) for name, step in steps.items()}
    return Definition(parameters, steps, _order(steps), document.get("MlflowConfig"), experiment)


def _parse_parameters(entries: Any) -> dict[str, Parameter]:
    if not isinstance(entries, list) or len(entries) > _MAX_PARAMETERS:
        raise DefinitionError(f"Parameters is not a list of at most {_MAX_PARAMETERS}")
    parameters: dict[str, Parameter] = {}
    for entry in entries:
        try:
            parameter = parse_parameter(entry)
        except ValueError as error:
            raise DefinitionError(str(error)) from None
        if parameter.name in parameters:
            raise DefinitionError(f"parameter {parameter.name!r}: the name is used twice")
        parameters[parameter.name] = parameter
    return parameters


def _parse_steps(entries: Any, inherited: tuple[Dependency, ...]) -> Iterator[Step]:
    for entry in entries:
        name = entry.get("Name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name):
            raise DefinitionError(f"step {shown(name)}: a Name is 1 to 64 letters, digits, - or _")
        try:
            step, branches = _parse_step(entry, inherited)
        except ValueError as error:
            raise DefinitionError(f"step {name!r}: {error}") from None
        yield step
        for chosen, children in branches.items():
            yield from _parse_steps(children, (Dependency(name, branch=chosen),))


def _parse_step(entry: dict[str, Any], inherited: tuple[Dependency, ...]) -> tuple[Step, dict[bool, Any]]:
    kind, arguments = entry.get("Type"), entry.get("Arguments", {})
    if not isinstance(kind, str) or not isinstance(arguments, dict):
        raise ValueError("a step has a Type and an object of Arguments")
    if kind not in AWS_STEP_TYPES:
        raise ValueError(f"the Type {kind!r} is unknown; SageMaker has {', '.join(sorted(AWS_STEP_TYPES))}")
    unknown = sorted(set(entry) - _STEP_KEYS)
    if unknown and kind in STEP_TYPES:
        raise ValueError(f"unknown key {unknown[0]!r}")
    branches: dict[bool, Any] = {}
    if kind == "Condition":
        check_keys(arguments, {"Conditions", "IfSteps", "ElseSteps"}, {"Conditions"})
        branches = {True: list_of(dict, arguments, "IfSteps"), False: list_of(dict, arguments, "ElseSteps")}
        arguments = {"Conditions": list_of(dict, arguments, "Conditions")}
        for condition in arguments["Conditions"]:
            check_condition(condition)
    elif kind == "Fail":
        check_keys(arguments, {"ErrorMessage"}, {"ErrorMessage"})
    elif kind == "Lambda" and not entry.get("FunctionArn"):
        raise ValueError("a Lambda step needs a FunctionArn")
    step = Step(
        entry["Name"],
        kind,
        parse(arguments),
        entry.get("DisplayName"),
        entry.get("Description"),
        (*inherited, *(_parse_dependency(item) for item in list_of((str, dict), entry, "DependsOn"))),
        _parse_property_files(entry),
        parse(entry.get("FunctionArn")),
        _parse_output_types(entry),
        parse_cache_config(entry.get("CacheConfig")),
        tuple(parse_retry_policy(policy) for policy in list_of(dict, entry, "RetryPolicies")),
    )
    return step, branches


def _parse_dependency(entry: Any) -> Dependency:
    if isinstance(entry, str):
        return Dependency(entry)
    step, trigger = strings(entry, "Step", "Trigger")
    if trigger not in _TRIGGERS:
        raise ValueError(f"DependsOn has the Trigger {trigger!r}; expected {', '.join(_TRIGGERS)}")
    return Dependency(step, trigger)


def _parse_property_files(entry: Mapping[str, Any]) -> dict[str, PropertyFile]:
    files = {}
    for item in list_of(dict, entry, "PropertyFiles"):
        name, output, path = strings(item, "PropertyFileName", "OutputName", "FilePath")
        files[name] = PropertyFile(output, path)
    if files and entry["Type"] != "Processing":
        raise ValueError(f"PropertyFiles belong to a Processing step, not to {entry['Type']}")
    return files


def _parse_output_types(entry: Mapping[str, Any]) -> dict[str, str]:
    types = {}
    for item in list_of(dict, entry, "OutputParameters"):
        name, types[name] = strings(item, "OutputName", "OutputType")
        if types[name] not in _OUTPUT_TYPES:
            raise ValueError(f"OutputParameters has the OutputType {types[name]!r}")
    return types


def _linked(step: Step, parameters: Mapping[str, Parameter], steps: Mapping[str, Step]) -> Step:
    """The step with the edges of its references; everything that it refers to is checked."""
    try:
        found = list(dict.fromkeys(references([step.arguments, step.function_arn])))
        types = {reference: _reference_type(reference, parameters, steps) for reference in found}
        implied = [Dependency(reference.name) for reference in found if reference.root == "Steps"]
        upstream = tuple(dict.fromkeys([*step.upstream, *implied]))
        for dependency in upstream:
            if dependency.step not in steps:
                raise ValueError(f"DependsOn names {dependency.step!r}, which is not a step of the pipeline")
            if steps[dependency.step].type == "Fail":
                raise ValueError(f"DependsOn names {dependency.step!r}, a Fail step; nothing runs after it")
        for name, file in step.property_files.items():
            if file.output not in _output_names(step):
                raise ValueError(f"PropertyFile {name!r} names {file.output!r}, which is not an output")
        kind = STEP_TYPES.get(step.type)
        if kind and kind.resource and (problems := argument_problems(kind, step.arguments, types)):
            raise ValueError(f"Arguments do not fit {kind.create}: {problems}")
    except ValueError as error:
        raise DefinitionError(f"step {step.name!r}: {error}") from None
    return replace(step, upstream=upstream)


def _reference_type(
    reference: Reference, parameters: Mapping[str, Parameter], steps: Mapping[str, Step]
) -> str | None:
    """The type of what a reference names; None where it is known only at run time."""
    if reference.root == "Parameters":
        if reference.name not in parameters:
            raise ValueError(f"Get {reference.text}: there is no parameter {reference.name!r}")
        return parameters[reference.name].type
    if reference.root == "Execution":
        if reference.name not in EXECUTION_VARIABLES:
            raise ValueError(f"Get {reference.text}: there is no execution variable {reference.name!r}")
        return "String"
    if reference.name not in steps:
        raise ValueError(f"Get {reference.text}: there is no step {reference.name!r}")
    step, path = steps[reference.name], reference.path
    if path[0] == "PropertyFiles":
        if len(path) != 2 or path[1] not in step.property_files:
            raise ValueError(f"Get {reference.text}: step {step.name!r} has no such property file")
        return "String"
    if step.type == "Lambda":
        if len(path) != 2 or path[0] != "OutputParameters" or path[1] not in step.output_types:
            raise ValueError(f"Get {reference.text}: step {step.name!r} has no such output parameter")
        return step.output_types[str(path[1])]
    if step.type == "Condition" and path == ("Outcome",):
        return "String"
    if step.type in ("Condition", "Fail"):
        raise ValueError(f"Get {reference.text}: a {step.type} step has no such property")
    if step.type not in STEP_TYPES:
        return None
    output = path[2] if path[:2] == ("ProcessingOutputConfig", "Outputs") and len(path) > 2 else None
    if isinstance(output, str) and output not in _output_names(step):
        raise ValueError(f"Get {reference.text}: step {step.name!r} has no output {output!r}")
    try:
        return property_type(STEP_TYPES[step.type], path)
    except ValueError as error:
        raise ValueError(f"Get {reference.text}: {error}") from None


def _output_names(step: Step) -> list[str]:
    try:
        outputs = lookup(step.arguments, ("ProcessingOutputConfig", "Outputs"))
    except LookupError:
        return []
    outputs = outputs if isinstance(outputs, list) else []
    return [str(output.get("OutputName")) for output in outputs if isinstance(output, dict)]


def _order(steps: Mapping[str, Step]) -> tuple[str, ...]:
    graph = {name: [edge.step for edge in step.upstream] for name, step in steps.items()}
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise DefinitionError(f"step {error.args[1][0]!r}: a cycle, {' <- '.join(error.args[1])}") from None
