import io
import json

import pytest

from tests.local.definitions import SHARED


def recorded(name):
    """A recorded run, and its definition."""
    if not SHARED.is_dir():
        pytest.skip("the sibling folder shared/definitions is absent")
    definition = json.loads((SHARED / f"{name.partition('__')[0]}.json").read_text())
    return definition, json.loads((SHARED / "recorded" / f"{name}.json").read_text())[
        "PipelineExecutionSteps"
    ]


def shape(value):
    """Metadata with ARNs reduced to their kind of resource."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return value.split(":")[5].partition("/")[0] if value.startswith("arn:") else value


@pytest.mark.parametrize(
    ("name", "report", "given"),
    [
        ("04_abalone_fail_transform_register__run1", {"regression_metrics": {"mse": {"value": 4.9}}}, {}),
        (
            "04_abalone_fail_transform_register__run3",
            {"regression_metrics": {"mse": {"value": 4.9}}},
            {"MseThreshold": "3.0"},
        ),
        (
            "13_keras_lambda_deploy_dependson__run1",
            {"classification_metrics": {"accuracy": {"value": 0.85}}},
            {},
        ),
    ],
)
def test_recorded_runs_are_reproduced(run, aws, monkeypatch, name, report, given):
    definition, expected = recorded(name)
    body = json.dumps(report).encode()
    monkeypatch.setattr(aws, "get_object", lambda **_: {"Body": io.BytesIO(body)})
    answer = json.dumps({"statusCode": 200, "body": '"Endpoint Created Successfully"'}).encode()
    for step in branch_steps(definition):
        if step["Type"] == "Lambda":
            aws.functions[step["FunctionArn"]] = lambda _: {"Payload": io.BytesIO(answer)}
            # The recorded run declared these outputs, the published definition does not.
            step["OutputParameters"] = [
                {"OutputName": output, "OutputType": "String"} for output in ("statusCode", "body")
            ]
    for step in expected:
        if "TransformJob" in step["Metadata"] and step["StepStatus"] == "Failed":
            aws.endings[step["StepName"]] = [("Failed", step["FailureReason"].removeprefix("ClientError: "))]
    record = run(json.dumps(definition), [{"Name": key, "Value": value} for key, value in given.items()])
    listed = sorted(record["_steps"].values(), key=lambda step: step["StartTime"], reverse=True)
    keys = ("StepName", "StepStatus", "AttemptCount", "FailureReason")
    assert [[step.get(key) for key in keys] for step in listed] == [
        [step.get(key) for key in keys] for step in expected
    ]
    assert [shape(step["Metadata"]) for step in listed] == [shape(step["Metadata"]) for step in expected]


def branch_steps(definition):
    return [child for step in definition["Steps"] for child in step["Arguments"].get("IfSteps", [])]
