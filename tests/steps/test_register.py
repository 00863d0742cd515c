import pytest

from entrypoints.contract import ACCEPTED_CONTENT_TYPES, ANSWERED_CONTENT_TYPES
from steps import register


@pytest.fixture
def step(steps, request_of):
    context, splitting, _, training, evaluating = steps()
    return request_of(register.build(context, splitting, training, evaluating))


def test_the_step(step):
    assert (step["Name"], step["Type"]) == ("RegisterModel", "RegisterModel")
    assert step["DisplayName"] and step["Description"]
    (policy,) = step["RetryPolicies"]
    assert policy["ExceptionType"] == ["Step.SERVICE_FAULT", "Step.THROTTLING"]


def test_the_model_package(step):
    request = step["Arguments"]
    assert request["ModelPackageGroupName"] == "flowers"
    assert request["ModelApprovalStatus"] == {"Get": "Parameters.ModelApprovalStatus"}
    specification = request["InferenceSpecification"]
    (container,) = specification["Containers"]
    assert "ray:serve-ml" in container["Image"]
    assert container["ModelDataUrl"] == {"Get": "Steps.TrainModel.ModelArtifacts.S3ModelArtifacts"}
    assert specification["SupportedContentTypes"] == list(ACCEPTED_CONTENT_TYPES)
    assert specification["SupportedResponseMIMETypes"] == list(ANSWERED_CONTENT_TYPES)
    # EndpointInstanceType may be any type; a list would have to name them all.
    assert not [name for name in specification if name.endswith("InstanceTypes")]


def test_the_metrics_are_the_evaluation(step):
    statistics = step["Arguments"]["ModelMetrics"]["ModelQuality"]["Statistics"]
    folder = "Steps.EvaluateModel.ProcessingOutputConfig.Outputs['evaluation'].S3Output.S3Uri"
    assert statistics == {
        "ContentType": "application/json",
        "S3Uri": {"Std:Join": {"On": "/", "Values": [{"Get": folder}, "evaluation.json"]}},
    }


def test_the_card_is_a_draft_until_somebody_has_read_it(step):
    card = step["Arguments"]["ModelCard"]
    assert card["ModelCardStatus"] == "Draft"
    assert card["ModelCardContent"].keys() == {"Std:Join"}


def test_the_version_says_what_its_metrics_are_worth(step):
    file = {"Get": "Steps.EvaluateModel.PropertyFiles.EvaluationResult"}
    assert step["Arguments"]["CustomerMetadataProperties"] == {
        f"test_{name}": {"Std:JsonGet": {"PropertyFile": file, "Path": f"metadata.{name}"}}
        for name in ("accuracy", "balanced_accuracy", "macro_f1")
    }
