import io
import json

import pytest

from tests.local.definitions import FUNCTION, document, function, get, training, tuning
from tests.local.executions import statuses
from tests.local.fake_aws import client_error


def test_tuning_properties_merge_the_description_and_the_ranked_trials(run, aws):
    aws.extra["Tune"] = {
        "BestTrainingJob": {"TrainingJobName": "best", "TunedHyperParameters": {"learning_rate": "0.01"}}
    }
    aws.trials = [{"TrainingJobName": "best"}, {"TrainingJobName": "second"}]
    train = training(
        "Train",
        {
            "learning_rate": get("Steps.Tune.BestTrainingJob.TunedHyperParameters['learning_rate']"),
            "from": get("Steps.Tune.TrainingJobSummaries[1].TrainingJobName"),
        },
    )
    record = run(document(tuning("Tune"), train))
    assert statuses(record) == {"Tune": "Succeeded", "Train": "Succeeded"}
    hyperparameters = aws.created("CreateTrainingJob")[0]["HyperParameters"]
    assert (hyperparameters["learning_rate"], hyperparameters["from"]) == ("0.01", "second")
    ranking = aws.created("ListTrainingJobsForHyperParameterTuningJob")[0]
    assert (ranking["SortBy"], ranking["SortOrder"]) == ("FinalObjectiveMetricValue", "Descending")
    assert list(record["_steps"]["Tune"]["Metadata"]) == ["TuningJob"]


def test_a_refused_call_fails_the_step(run, aws):
    aws.refusals["CreateTrainingJob"] = client_error(
        "CreateTrainingJob", "ValidationException", "no such role"
    )
    record = run(document(training("Train")))
    assert record["_steps"]["Train"]["FailureReason"] == (
        "ClientError: Failed to invoke sagemaker:CreateTrainingJob. Error Details: no such role"
    )
    assert "Metadata" not in record["_steps"]["Train"]


def lambda_record(run, aws, answer, outputs, **response):
    aws.functions[FUNCTION] = lambda _: {"Payload": io.BytesIO(json.dumps(answer).encode()), **response}
    return run(document(function("F", {"a": 1, "b": [True, None]}, outputs)))["_steps"]["F"]


def test_lambda_outputs_are_typed(run, aws):
    answer = {"text": "x", "code": 200, "nested": {"a": [1]}, "flag": False, "n": 3, "rate": 1, "other": 1}
    outputs = {
        "text": "String", "nested": "String", "code": "String", "flag": "Boolean", "n": "Integer",
        "rate": "Float", "absent": "String",
    }  # fmt: skip
    step = lambda_record(run, aws, answer, outputs)
    assert json.loads(aws.created("Invoke")[0]["Payload"]) == {"a": 1, "b": [True, None]}
    assert step["_properties"]["OutputParameters"] == {
        "text": "x", "nested": '{"a": [1]}', "code": "200.0", "flag": False, "n": 3, "rate": 1.0,
    }  # fmt: skip
    assert step["Metadata"]["Lambda"]["OutputParameters"] == [
        {"Name": "code", "Value": "200.0"},
        {"Name": "flag", "Value": "false"},
        {"Name": "n", "Value": "3"},
        {"Name": "nested", "Value": '{"a": [1]}'},
        {"Name": "rate", "Value": "1.0"},
        {"Name": "text", "Value": "x"},
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ({"o": "3"}, "Integer", "'o' is \"3\", which is not of type Integer"),
        ({"o": 1.5}, "Integer", "not of type Integer"),
        ({"o": True}, "Float", "not of type Float"),
        ({"o": 1}, "Boolean", "not of type Boolean"),
        ({"o": "x" * 1025}, "String", "over 1024 characters"),
    ],
)
def test_a_lambda_output_of_another_type_fails_the_step(run, aws, answer, kind, message):
    step = lambda_record(run, aws, answer, {"o": kind})
    assert step["StepStatus"] == "Failed"
    assert message in step["FailureReason"]


def test_an_error_in_the_function_fails_the_step(run, aws):
    step = lambda_record(run, aws, {"errorMessage": "no endpoint"}, {}, FunctionError="Unhandled")
    assert step["StepStatus"] == "Failed"
    assert step["FailureReason"] == f"ClientError: the function {FUNCTION} failed: no endpoint"
