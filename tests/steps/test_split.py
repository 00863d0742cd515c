from config.sections import Retries
from steps import split


def test_the_request(context, request_of, uploaded):
    made = context()
    step = request_of(split.build(made))
    assert (step["Name"], step["Type"]) == ("SplitDataset", "Processing")
    assert step["DisplayName"] and step["Description"]
    arguments = step["Arguments"]
    assert arguments["RoleArn"] == "arn:aws:iam::123456789012:role/Execution"
    assert arguments["Tags"] == [
        {"Key": "deployment", "Value": made.settings.name},
        {"Key": "team", "Value": "vision"},
    ]
    assert "pytorch:2.13-cpu" in arguments["AppSpecification"]["ImageUri"]
    assert arguments["AppSpecification"]["ContainerEntrypoint"] == [
        "/bin/bash",
        "/opt/ml/processing/code/run.sh",
        "split",
    ]
    inputs = {item["InputName"]: item["S3Input"] for item in arguments["ProcessingInputs"]}
    assert inputs["data"]["S3Uri"] == {"Get": "Parameters.InputDataUrl"}
    assert inputs["code"]["LocalPath"] == "/opt/ml/processing/code"
    assert any(key.endswith("/entrypoints/split.py") for key in uploaded(inputs["code"]["S3Uri"]))
    cluster = arguments["ProcessingResources"]["ClusterConfig"]
    assert cluster["InstanceType"] == {"Get": "Parameters.ProcessingInstanceType"}


def test_each_argument_names_a_folder_that_is_mounted(context, request_of):
    arguments = request_of(split.build(context()))["Arguments"]
    words = arguments["AppSpecification"]["ContainerArguments"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    outputs = {
        item["OutputName"]: item["S3Output"] for item in arguments["ProcessingOutputConfig"]["Outputs"]
    }
    assert sorted(outputs) == ["summary", "test", "train", "validation"]
    for name, output in outputs.items():
        assert given[f"--{name}"] == output["LocalPath"]
        assert output["S3Uri"]["Std:Join"]["Values"][1] == {"Get": "Execution.PipelineExecutionId"}
    assert given["--input"] == arguments["ProcessingInputs"][1]["S3Input"]["LocalPath"]
    assert given["--seed"] == "1"


def test_retries_and_cache_follow_the_settings(context, request_of):
    step = request_of(split.build(context(cache_expires="P30D")))
    assert step["CacheConfig"] == {"Enabled": True, "ExpireAfter": "P30D"}
    assert {policy["MaxAttempts"] for policy in step["RetryPolicies"]} == {3}
    bare = request_of(split.build(context(retries=Retries(max_attempts=0))))
    assert "RetryPolicies" not in bare
    assert "CacheConfig" not in bare


def test_without_tags_of_yours_a_job_has_the_deployments(context, request_of):
    (tag,) = request_of(split.build(context(tags={})))["Arguments"]["Tags"]
    assert tag == {"Key": "deployment", "Value": context().settings.name}
