"""Every step's Arguments are a valid request of the API that the step calls."""

import dataclasses
import json
import re

import botocore.session
import pytest
from botocore.validate import ParamValidator

from pipeline.definition import canonical

# Step -> its API, and the members that the service adds by itself.
OPERATIONS = {
    "SplitDataset": ("CreateProcessingJob", {"ProcessingJobName": "x"}),
    "TuneHyperparameters": ("CreateHyperParameterTuningJob", {"HyperParameterTuningJobName": "x"}),
    "TrainModel": ("CreateTrainingJob", {"TrainingJobName": "x"}),
    "EvaluateModel": ("CreateProcessingJob", {"ProcessingJobName": "x"}),
    "RegisterModel": ("CreateModelPackage", {}),
    "VerifyEndpoint": ("CreateProcessingJob", {"ProcessingJobName": "x"}),
}
SAMPLES = {"String": "sample", "Integer": 1, "Float": 0.5}
SHAPES = {"String": {"string"}, "Integer": {"integer", "long"}, "Float": {"float", "double"}}


@pytest.fixture(scope="module")
def service():
    return botocore.session.get_session().get_service_model("sagemaker")


@pytest.fixture
def types(definition):
    """The type of each execution parameter."""
    return {item["Name"]: item["Type"] for item in definition["Parameters"]}


def is_expression(value):
    return (
        isinstance(value, dict)
        and len(value) == 1
        and next(iter(value)) in {"Get", "Std:Join", "Std:JsonGet"}
    )


def type_of(expression, types):
    """Joins, execution variables and this pipeline's property references are strings."""
    name = expression.get("Get", "")
    return types[name.removeprefix("Parameters.")] if name.startswith("Parameters.") else "String"


def sampled(value, shape, types, where):
    """`value` with samples for expressions, each checked to have the type of its shape."""
    if is_expression(value):
        assert shape.type_name in SHAPES[type_of(value, types)], f"{where}: {value} for a {shape.type_name}"
        return SAMPLES[type_of(value, types)]
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{where}: {unknown}"
        return {
            key: sampled(item, shape.members[key], types, f"{where}.{key}") for key, item in value.items()
        }
    if shape.type_name == "list":
        return [sampled(item, shape.member, types, f"{where}[]") for item in value]
    if shape.type_name == "map":
        return {key: sampled(item, shape.value, types, f"{where}.{key}") for key, item in value.items()}
    pattern = shape.metadata.get("pattern")
    if isinstance(value, str) and pattern and "\\p" not in pattern and "\\u" not in pattern:
        assert re.fullmatch(pattern, value), f"{where} = {value!r} does not match {pattern}"
    if choices := shape.metadata.get("enum"):
        assert value in choices, f"{where} = {value!r} is none of {choices}"
    return value


@pytest.mark.parametrize("name", OPERATIONS)
def test_botocore_accepts_the_request(service, steps, types, name):
    operation, added = OPERATIONS[name]
    shape = service.operation_model(operation).input_shape
    request = sampled(steps[name]["Arguments"], shape, types, name) | added
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("name", ["TuneHyperparameters", "TrainModel"])
def test_botocore_accepts_spot_training(service, golden, types, name):
    settings = dataclasses.replace(golden["SETTINGS"], use_spot=True)
    text = golden["definition"](settings)
    assert canonical(text) == text == golden["definition"](settings)
    (step,) = [step for step in json.loads(text)["Steps"] if step["Name"] == name]
    operation, added = OPERATIONS[name]
    shape = service.operation_model(operation).input_shape
    request = sampled(step["Arguments"], shape, types, name) | added
    job = request.get("TrainingJobDefinition", request)
    assert job["EnableManagedSpotTraining"] and job["CheckpointConfig"]["S3Uri"]
    assert not ParamValidator().validate(request, shape).has_errors()


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_service_adds_job_names_by_itself(steps, name):
    assert not set(OPERATIONS[name][1]) & set(steps[name]["Arguments"])


def test_a_wrong_member_would_be_found(service, steps, types):
    """The checks above can fail: an unknown member, a wrong type, a raw Integer in a string map."""
    shape = service.operation_model("CreateTrainingJob").input_shape
    arguments = steps["TrainModel"]["Arguments"]
    raw = {**arguments, "HyperParameters": {"epochs": {"Get": "Parameters.Epochs"}}}
    for wrong in (raw, {**arguments, "Debugger": {}}, {**arguments, "RoleArn": "Execution"}):
        with pytest.raises(AssertionError):
            sampled(wrong, shape, types, "TrainModel")
    short = {key: value for key, value in arguments.items() if key != "OutputDataConfig"}
    report = ParamValidator().validate(sampled(short, shape, types, "") | {"TrainingJobName": "x"}, shape)
    assert "OutputDataConfig" in report.generate_report()


def test_no_string_map_or_list_of_strings_holds_a_number(steps, types):
    """The service refuses a raw Integer or Float reference there at CreatePipeline."""

    def check(value, where):
        if is_expression(value):
            assert type_of(value, types) == "String", where
        else:
            assert isinstance(value, str), where

    train, tune = steps["TrainModel"]["Arguments"], steps["TuneHyperparameters"]["Arguments"]
    maps = [train["HyperParameters"], tune["TrainingJobDefinition"]["StaticHyperParameters"]]
    for key, value in [item for mapping in maps for item in mapping.items()]:
        check(value, key)
    for name in ("SplitDataset", "EvaluateModel", "VerifyEndpoint"):
        application = steps[name]["Arguments"]["AppSpecification"]
        for value in application["ContainerArguments"] + application["ContainerEntrypoint"]:
            check(value, name)


def test_references_point_to_steps_parameters_and_outputs_that_exist(definition, steps, types):
    def references(value):
        if isinstance(value, dict):
            if set(value) == {"Get"}:
                yield value["Get"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(definition))
    assert {name.split(".")[0] for name in found} == {"Parameters", "Steps", "Execution"}
    assert {name.split(".")[1] for name in found if name.startswith("Steps.")} <= set(steps)
    assert {name.split(".")[1] for name in found if name.startswith("Parameters.")} == set(types)
    for name in found:
        if match := re.fullmatch(r"Steps\.(\w+)\.ProcessingOutputConfig\.Outputs\['(\w+)'\].*", name):
            outputs = steps[match[1]]["Arguments"]["ProcessingOutputConfig"]["Outputs"]
            assert match[2] in {output["OutputName"] for output in outputs}
