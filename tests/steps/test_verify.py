import pytest

from config.deployment import Deployment
from steps import deploy, register, verify


@pytest.fixture
def verification(steps, request_of):
    """The step's request, for a deployment with these settings."""

    def make(**changes):
        context, splitting, _, training, evaluating = steps(**changes)
        deploying = deploy.build(context, register.build(context, splitting, training, evaluating))
        return request_of(verify.build(context, evaluating, deploying))

    return make


def test_the_request(verification, uploaded):
    step = verification()
    assert (step["Name"], step["Type"]) == ("VerifyEndpoint", "Processing")
    arguments = step["Arguments"]
    assert arguments["AppSpecification"]["ContainerEntrypoint"][-1] == "verify"
    instance = arguments["ProcessingResources"]["ClusterConfig"]["InstanceType"]
    assert instance == {"Get": "Parameters.VerificationInstanceType"}
    inputs = {item["InputName"]: item["S3Input"] for item in arguments["ProcessingInputs"]}
    evaluation = "Steps.EvaluateModel.ProcessingOutputConfig.Outputs['evaluation'].S3Output.S3Uri"
    samples = {"Std:Join": {"On": "/", "Values": [{"Get": evaluation}, "samples/"]}}
    assert inputs["samples"]["S3Uri"] == samples
    assert any(key.endswith("/entrypoints/verify.py") for key in uploaded(inputs["code"]["S3Uri"]))
    words = arguments["AppSpecification"]["ContainerArguments"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    for option, output in {
        "--endpoint": "endpoint_name",
        "--config": "endpoint_config_name",
        "--previous-config": "previous_endpoint_config_name",
    }.items():
        assert given[option] == {"Get": f"Steps.DeployEndpoint.OutputParameters['{output}']"}
    assert given["--samples"] == inputs["samples"]["LocalPath"]


def test_it_waits_for_longer_than_the_update_may_take(verification):
    step = verification(deployment=Deployment(max_runtime_s=7200))
    words = step["Arguments"]["AppSpecification"]["ContainerArguments"]
    assert words[words.index("--timeout-s") + 1] == "9000"


def test_it_is_never_cached(verification):
    assert "CacheConfig" not in verification(cache_expires="P30D")
