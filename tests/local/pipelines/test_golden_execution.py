"""The golden definition from end to end, its jobs played: what one step leaves for the next."""

import io
import json
from pathlib import Path

import pytest

from tests.local.executions import statuses

GOLDEN = Path(__file__).parents[2] / "golden" / "definition.json"
FUNCTION = "arn:aws:lambda:us-east-1:111122223333:function:image-classification-deploy"
EVALUATION = "s3://golden-bucket/image-classification/executions/d84ewltjmxhe/evaluate"
FIRST_DEPLOYMENT = {
    "deployed": True,
    "reason": "created the endpoint",
    "endpoint_name": "flowers",
    "endpoint_config_name": "flowers-1-12345678",
    "previous_endpoint_config_name": "-",
}


@pytest.fixture
def evaluated(run, aws):
    """Runs it with a test accuracy, measured on more classes than a property file has room for."""

    def evaluated(accuracy):
        tuned = {"learning_rate": "0.001", "batch_size": "32"}
        aws.extra["TuneHyp"] = {"BestTrainingJob": {"TunedHyperParameters": tuned}}
        metrics = {"accuracy": {"value": accuracy}, "confusion_matrix": "0" * 2**21}
        result = {"accuracy": accuracy, "test_pictures": 3150, "test_classes": 1050}
        document = json.dumps({"multiclass_classification_metrics": metrics})
        aws.files |= {
            f"{EVALUATION}/evaluation.json": document,
            f"{EVALUATION}/gate.json": json.dumps(result),
        }
        answer = json.dumps(FIRST_DEPLOYMENT).encode()
        aws.functions[FUNCTION] = lambda _: {"Payload": io.BytesIO(answer)}
        return run(GOLDEN.read_text(encoding="utf-8"))

    return evaluated


def test_the_gate_opens_after_an_evaluation_of_many_classes(evaluated, aws):
    record = evaluated(0.95)
    assert record["PipelineExecutionStatus"] == "Succeeded", record
    assert statuses(record)["VerifyEndpoint"] == "Succeeded"
    (package,) = aws.created("CreateModelPackage")
    statistics = package["ModelMetrics"]["ModelQuality"]["Statistics"]
    assert statistics["S3Uri"] == f"{EVALUATION}/evaluation.json"
    command = aws.created("CreateProcessingJob")[-1]["AppSpecification"]
    assert command["ContainerArguments"][:6] == [
        *("--endpoint", "flowers"),
        *("--config", "flowers-1-12345678"),
        *("--previous-config", "-"),
    ]


def test_the_gate_stays_shut_and_says_what_was_measured(evaluated, aws):
    record = evaluated(0.5)
    assert record["_steps"]["AccuracyTooLow"]["FailureReason"] == (
        "Test accuracy 0.5 on 3150 pictures of 1050 classes is below AccuracyThreshold 0.9"
    )
    assert not aws.created("CreateModelPackage")
