import re

import botocore.session
import pytest

from config.parameters import check_assignments, dataset_url, execution_parameters
from config.settings import load
from config.values import SettingsError

PARAMETERS = execution_parameters(load(environ={}), "s3://bucket/marker")


def test_names_and_types():
    types = {parameter.name: parameter.type for parameter in PARAMETERS}
    assert types["AccuracyThreshold"] == "Float"
    assert [name for name, type_ in types.items() if type_ == "Integer"] == [
        "TrainingInstanceCount",
        "Epochs",
        "ImageSize",
        "EndpointInstanceCount",
    ]
    assert len(types) == len(PARAMETERS)


def test_every_default_is_a_valid_value():
    assignments = [f"{parameter.name}={parameter.default}" for parameter in PARAMETERS]
    assert len(check_assignments(PARAMETERS, assignments)) == len(PARAMETERS)


def test_the_default_dataset_lies_beside_the_others():
    settings = load(environ={}, overrides=["bucket=petals", "name=flowers"])
    (default,) = [p.default for p in execution_parameters(settings, "") if p.name == "InputDataUrl"]
    other = dataset_url(settings, "digits")
    assert default == "s3://petals/flowers/data/default/"
    assert other == "s3://petals/flowers/data/digits/"


def test_a_gpu_image_comes_with_a_gpu_instance():
    settings = load(environ={}, overrides=["images.training_device=gpu"])
    defaults = {item.name: item.default for item in execution_parameters(settings, "s3://bucket/marker")}
    assert defaults["TrainingInstanceType"] == "ml.g5.xlarge"


def test_traffic_that_moves_in_steps_needs_two_instances():
    settings = load(environ={}, overrides=["deployment.traffic_routing=CANARY"])
    parameters = execution_parameters(settings, "s3://bucket/marker")
    assert {item.name: item.default for item in parameters}["EndpointInstanceCount"] == 2
    with pytest.raises(SettingsError, match=r"EndpointInstanceCount = '1'.*2 or more"):
        check_assignments(parameters, ["EndpointInstanceCount=1"])


def test_endpoint_names_are_those_of_sagemaker():
    """As in botocore's service model: a row of hyphens is allowed within."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    limits = model.shape_for("EndpointName").metadata
    assert limits == {"min": 0, "max": 63, "pattern": "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"}
    for name in ("a--b", "A-1", "a" * 63, f"a{61 * '-'}b"):
        assert re.fullmatch(limits["pattern"], name)
        assert check_assignments(PARAMETERS, [f"EndpointName={name}"]) == {"EndpointName": name}


def test_values_are_passed_on_as_written():
    given = ["AccuracyThreshold=0.80", "InputDataUrl=s3://bucket/a=b/Blumen und Gräser/", "Epochs=3"]
    assert check_assignments(PARAMETERS, given) == {
        "AccuracyThreshold": "0.80",
        "InputDataUrl": "s3://bucket/a=b/Blumen und Gräser/",
        "Epochs": "3",
    }


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("Epochs", ["write Name=value"]),
        ("Epoch=3", ["Epoch = '3'", "no such parameter", "did you mean Epochs?"]),
        ("Epochs=3.5", ["Epochs = '3.5'", "a whole number 1 or more"]),
        ("Epochs=0", ["1 or more"]),
        ("AccuracyThreshold=1.1", ["AccuracyThreshold = '1.1'", "from 0 to 1"]),
        ("AccuracyThreshold=90%", ["a number"]),
        ("AccuracyThreshold=nan", ["a number"]),
        ("InputDataUrl=/home/me/pictures", ["an S3 URI such as s3://bucket/folder"]),
        ("InputDataUrl=s3://", ["an S3 URI"]),
        ("PretrainedWeightsUrl=s3://UPPER/x", ["an S3 URI"]),
        ("TrainingInstanceType=m5.large", ["an instance type such as ml.m5.xlarge"]),
        ("ModelApprovalStatus=approved", ["one of Approved, PendingManualApproval, Rejected"]),
        ("EndpointName=my_endpoint", ["hyphens"]),
        ("EndpointName=-a", ["hyphens"]),
        (f"EndpointName={'a' * 64}", ["at most 63"]),
        ("TrainingInstanceCount=0", ["TrainingInstanceCount = '0'", "a whole number 1 or more"]),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(assignment, parts):
    with pytest.raises(SettingsError) as caught:
        check_assignments(PARAMETERS, [assignment])
    message = str(caught.value)
    assert "\n" not in message
    assert "--parameter" in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("s3://bucket/resnet18", "s3://bucket/resnet18/"),
        ("s3://bucket/resnet18-v1.2//", "s3://bucket/resnet18-v1.2/"),
        ("s3://bucket/weights/", "s3://bucket/weights/"),
        ("s3://bucket/weights/a.pth", "s3://bucket/weights/a.pth"),
        ("s3://bucket/weights/B.SafeTensors", "s3://bucket/weights/B.SafeTensors"),
        ("s3://bucket/code/RANDOM_WEIGHTS", "s3://bucket/code/RANDOM_WEIGHTS"),
        ("s3://bucket/my-RANDOM_WEIGHTS", "s3://bucket/my-RANDOM_WEIGHTS/"),
    ],
)
def test_weights_are_a_file_or_a_prefix_with_a_slash(given, sent):
    """Without it, resnet18-old/b.pth has the prefix resnet18."""
    name = "PretrainedWeightsUrl"
    assert check_assignments(PARAMETERS, [f"{name}={given}"]) == {name: sent}
