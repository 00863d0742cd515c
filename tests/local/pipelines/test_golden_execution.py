"""The golden definition from end to end with simulated jobs: what each step passes to the next."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from entrypoints import card
from entrypoints.comparison import not_compared
from entrypoints.metrics import one_each, worth
from entrypoints.verdict import gate
from local.endpoints.model_cards import check_card
from pipeline.definition import digest
from tests.local.executions import statuses

GOLDEN = Path(__file__).parents[2] / "golden" / "definition.json"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:image-classification-deploy"
EVALUATION = "s3://golden-bucket/image-classification/executions/d84ewltjmxhe/evaluate"
FIRST_DEPLOYMENT = {
    "deployed": True,
    "reason": "created the endpoint",
    "endpoint_name": "flowers",
    "endpoint_config_name": "flowers-1-12345678",
    "previous_endpoint_config_name": "-",
}
CLASSES = ["ants", "bees", *(f"insects {number}" for number in range(98))]
MODEL_CARD = {
    "architecture": "resnet18",
    "weights": "random",
    "hyperparameters": {"epochs": 4},
    "metrics": {"validation_accuracy": 0.9},
    "versions": {"torch": "2.14.1"},
}
NO_CHAMPION = {"champion": "-", "champion_url": "s3://golden-bucket/marker/", "reason": "there is none"}


@pytest.fixture
def evaluated(run, aws):
    """Runs it with gate.json; the whole evaluation is too large for a property file."""

    def evaluated(labels, predicted, champion=None, given=()):
        tuned = {"learning_rate": "0.001", "batch_size": "32"}
        aws.extra["TuneHyp"] = {"BestTrainingJob": {"TunedHyperParameters": tuned}}
        document = json.dumps({"multiclass_classification_metrics": {"confusion_matrix": "0" * 2**21}})
        found = np.array(labels)
        sure = np.full(len(labels), 0.9)
        value = worth(CLASSES, found, np.array(predicted), sure, one_each(found))
        result = gate("accuracy", value) | (champion or not_compared("Not compared: there is none"))
        known = card.parts(
            model_card=MODEL_CARD,
            summary=None,
            worth=value,
            confusion={one: dict.fromkeys(CLASSES, 0) for one in CLASSES},
            sentences=[result["measured"]],
            test_sha256="5" * 64,
        )
        aws.files |= {
            f"{EVALUATION}/evaluation.json": document,
            f"{EVALUATION}/gate.json": json.dumps(result),
            f"{EVALUATION}/card.json": json.dumps(known),
        }
        answer = json.dumps(FIRST_DEPLOYMENT | NO_CHAMPION).encode()
        aws.functions[FUNCTION] = lambda _: {"Payload": io.BytesIO(answer)}
        return run(GOLDEN.read_text(encoding="utf-8"), given)

    return evaluated


def test_the_gate_opens_after_an_evaluation_of_many_classes(evaluated, aws):
    record = evaluated(100 * [0, 1], 100 * [0, 1])
    assert record["PipelineExecutionStatus"] == "Succeeded", record
    assert statuses(record)["VerifyEndpoint"] == "Succeeded"
    (package,) = aws.created("CreateModelPackage")
    statistics = package["ModelMetrics"]["ModelQuality"]["Statistics"]
    assert statistics["S3Uri"] == f"{EVALUATION}/evaluation.json"
    content = package["ModelCard"]["ModelCardContent"]
    check_card(package["ModelCard"])
    details = json.loads(content)["additional_information"]["custom_details"]
    assert details["pipeline_execution"] == record["PipelineExecutionArn"]
    assert details["definition_sha256"] == digest(GOLDEN.read_text(encoding="utf-8"))
    assert details["test_data_sha256"] == "5" * 64
    command = aws.created("CreateProcessingJob")[-1]["AppSpecification"]
    assert command["ContainerArguments"][:6] == [
        *("--endpoint", "flowers"),
        *("--config", "flowers-1-12345678"),
        *("--previous-config", "-"),
    ]


@pytest.mark.parametrize(
    ("labels", "predicted", "step", "reason"),
    [
        (
            100 * [0, 1],
            50 * [0, 1, 0, 0],
            "AccuracyTooLow",
            "Test accuracy 0.75 (95 % interval 0.6856 to 0.8049) on 200 pictures of 2 classes is below "
            "AccuracyThreshold 0.9; --parameter AccuracyThreshold=0.75 would let it pass",
        ),
        (
            95 * [0] + 5 * [1],
            100 * [0],
            "NoBetterThanGuessing",
            "Test accuracy 0.95 (95 % interval 0.8882 to 0.9784) on 100 pictures of 2 classes: its lower "
            "bound, 0.8882, is not above 0.95, which always answering 'ants' reaches",
        ),
        (300 * [0] + 4 * [1], 304 * [0], "NoBetterThanGuessing", "Test accuracy 0.9868 "),
        ([0, 1], [0, 1], "NoBetterThanGuessing", "Test accuracy 1 (95 % interval 0.3423 to 1) on 2 pictures"),
    ],
)
def test_the_gate_stays_shut_and_says_what_was_measured(evaluated, aws, labels, predicted, step, reason):
    record = evaluated(labels, predicted)
    assert record["PipelineExecutionStatus"] == "Failed"
    assert record["_steps"][step]["FailureReason"].startswith(reason)
    assert not aws.created("CreateModelPackage")


BETTER = {
    "compared": "true",
    "difference_bound": -0.92,
    "difference_bound_text": "its lower bound, -0.92,",
    "comparison": "Compared with flowers/7: accuracy 0.115 against 1, difference -0.885",
}


def test_a_bad_model_does_not_replace_a_good_one_when_the_threshold_is_lowered(evaluated, aws):
    """23 of 200 right, which is better than guessing among 100 classes."""
    labels, predicted = _answers(right=23)
    low = {"Name": "AccuracyThreshold", "Value": "0.1"}
    record = evaluated(labels, predicted, BETTER, [low])
    assert statuses(record)["CheckGuessing"] == "Succeeded"
    assert record["_steps"]["WorseThanChampion"]["FailureReason"] == (
        f"{BETTER['comparison']}; its lower bound, -0.92, is below -0.03, minus gate.margin; "
        "--parameter ReplaceWorse=true would let it pass"
    )
    assert not aws.created("CreateModelPackage")


def test_unless_somebody_asks_for_it(evaluated, aws):
    labels, predicted = _answers(right=23)
    given = {"AccuracyThreshold": "0.1", "ReplaceWorse": "true"}
    record = evaluated(labels, predicted, BETTER, [{"Name": n, "Value": v} for n, v in given.items()])
    assert record["PipelineExecutionStatus"] == "Succeeded", record
    assert len(aws.created("CreateModelPackage")) == 1


def _answers(right):
    """200 pictures of 100 classes, and answers, this many of them right."""
    labels = 2 * list(range(100))
    return labels, [label if number < right else (label + 1) % 100 for number, label in enumerate(labels)]
