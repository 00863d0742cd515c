"""Following executions and endpoints, with boto3's stubs; real ones run in test_run_local.py."""

import json
import re
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.stub import Stubber

from scripts.execution import Execution, _left, _rows, deployment, follow, wait_for_endpoint
from scripts.live import LiveProgress, Progress

TIME = datetime(2026, 11, 22, tzinfo=UTC)
ARN = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/p/execution/abcdefghijkl"


TUNING = {
    "HyperParameterTuningJobName": "tune",
    "HyperParameterTuningJobArn": "arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/tune",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Random",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 3},
    },
    "HyperParameterTuningJobStatus": "InProgress",
    "CreationTime": TIME,
    "TrainingJobStatusCounters": {"Completed": 1, "Stopped": 0, "NonRetryableError": 0},
    "ObjectiveStatusCounters": {},
}


def trial(name):
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "CreationTime": TIME,
        "TrainingJobStatus": "InProgress",
        "TunedHyperParameters": {},
    }


class Session:
    """A session whose one client answers what is queued."""

    def __init__(self):
        self.sagemaker = boto3.client(
            "sagemaker", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self.sagemaker)
        self.stub.activate()

    def client(self, service):
        assert service == "sagemaker"
        return self.sagemaker

    def endpoint(self, status, config="new", **more):
        answer = {
            "EndpointName": "flowers",
            "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/flowers",
            "EndpointConfigName": config,
            "EndpointStatus": status,
            "CreationTime": TIME,
            "LastModifiedTime": TIME,
        }
        self.stub.add_response("describe_endpoint", answer | more)


@pytest.fixture
def session():
    session = Session()
    yield session
    session.stub.assert_no_pending_responses()


def test_an_endpoint_is_waited_for(session):
    for status in ("Creating", "Updating", "InService"):
        session.endpoint(status)
    assert wait_for_endpoint(session, "flowers", "new", poll_s=0) == ""


def test_an_update_that_was_rolled_back_is_not_a_success(session):
    session.endpoint("Updating")
    session.endpoint("InService", config="old", FailureReason="no health")
    assert wait_for_endpoint(session, "flowers", "new", poll_s=0) == (
        "endpoint flowers went back to old: no health"
    )


def test_an_endpoint_that_failed_tells_why(session):
    session.endpoint("Failed", FailureReason="no capacity")
    assert wait_for_endpoint(session, "flowers", "new", poll_s=0) == "endpoint flowers is Failed: no capacity"


def test_without_a_terminal_each_change_is_a_line(session, capsys):
    branch = {"Name": "No", "Type": "Fail", "Arguments": {}}
    condition = {"Name": "Check", "Type": "Condition", "Arguments": {"ElseSteps": [branch]}}
    definition = json.dumps({"Steps": [condition]})
    session.stub.add_response(
        "describe_pipeline_definition_for_execution", {"PipelineDefinition": definition}
    )
    check = {"StepName": "Check", "StepStatus": "Executing", "StartTime": TIME}
    ended = check | {
        "StepStatus": "Succeeded",
        "EndTime": TIME,
        "Metadata": {"Condition": {"Outcome": "False"}},
    }
    no = {
        "StepName": "No",
        "StepStatus": "Failed",
        "StartTime": TIME,
        "EndTime": TIME,
        "FailureReason": "0.5 < 0.9",
        "Metadata": {"Fail": {"ErrorMessage": "0.5 < 0.9"}},
    }
    for status, steps in (("Executing", [check]), ("Executing", [check]), ("Failed", [ended, no])):
        session.stub.add_response(
            "describe_pipeline_execution",
            {"PipelineExecutionArn": ARN, "PipelineExecutionStatus": status, "FailureReason": "it failed"},
        )
        session.stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": steps})
    execution = follow(session, ARN, poll_s=0)
    assert (execution.status, execution.failure_reason, execution.refused) == (
        "Failed",
        "it failed",
        "0.5 < 0.9",
    )
    assert [step["StepType"] for step in execution.steps] == ["Condition", "Fail"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[:2] for line in lines] == [
        ["Check", "Executing"],
        ["Check", "Succeeded"],
        ["No", "Failed"],
    ]
    assert lines[-1].endswith("0.5 < 0.9")


@pytest.mark.parametrize(
    ("message", "told"),
    [({"ExitMessage": "the endpoint says bees"}, "the endpoint says bees"), ({}, "See job logs")],
)
def test_a_failed_processing_job_is_told_by_its_exit_message(session, capsys, message, told):
    definition = json.dumps({"Steps": [{"Name": "Verify", "Type": "Processing", "Arguments": {}}]})
    session.stub.add_response(
        "describe_pipeline_definition_for_execution", {"PipelineDefinition": definition}
    )
    arn = "arn:aws:sagemaker:us-east-1:123456789012:processing-job/verify"
    failed = {
        "StepName": "Verify", "StepStatus": "Failed", "StartTime": TIME, "EndTime": TIME,
        "FailureReason": "See job logs", "Metadata": {"ProcessingJob": {"Arn": arn}},
    }  # fmt: skip
    session.stub.add_response(
        "describe_pipeline_execution", {"PipelineExecutionArn": ARN, "PipelineExecutionStatus": "Failed"}
    )
    session.stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": [failed]})
    job = {
        "ProcessingJobName": "verify", "ProcessingJobArn": arn, "ProcessingJobStatus": "Failed",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.t3.medium", "VolumeSizeInGB": 30}
        },
        "AppSpecification": {"ImageUri": "image"}, "CreationTime": TIME,
    }  # fmt: skip
    session.stub.add_response("describe_processing_job", job | message, {"ProcessingJobName": "verify"})
    follow(session, ARN, poll_s=0)
    assert capsys.readouterr().err.rstrip().endswith(told)


def test_a_running_training_tells_its_metrics_beside_its_step(session, capsys, monkeypatch):
    def of(_, jobs):
        return {job: Progress(5, 10, 0.5, 0.75, 40) for job in jobs if "late" not in job}

    monkeypatch.setattr(LiveProgress, "of", of)
    steps = [{"Name": name, "Type": "Training", "Arguments": {}} for name in ("Tune", "Train")]
    session.stub.add_response(
        "describe_pipeline_definition_for_execution", {"PipelineDefinition": json.dumps({"Steps": steps})}
    )
    arn = "arn:aws:sagemaker:us-east-1:123456789012"
    metadata = {"TuningJob": {"Arn": f"{arn}:hyper-parameter-tuning-job/tune"}}
    tune = {"StepName": "Tune", "StartTime": TIME, "Metadata": metadata}
    metadata = {"TrainingJob": {"Arn": f"{arn}:training-job/last"}}
    train = {"StepName": "Train", "StartTime": TIME, "Metadata": metadata}
    ended = {"StepStatus": "Succeeded", "EndTime": TIME}
    for status, records in (
        ("Executing", [tune | {"StepStatus": "Executing"}]),
        ("Executing", [tune | ended, train | {"StepStatus": "Executing"}]),
        ("Succeeded", [tune | ended, train | ended]),
    ):
        session.stub.add_response(
            "describe_pipeline_execution", {"PipelineExecutionArn": ARN, "PipelineExecutionStatus": status}
        )
        session.stub.add_response("list_pipeline_execution_steps", {"PipelineExecutionSteps": records})
        if records[0]["StepStatus"] == "Executing":
            names = ("tune-002-abcdef12", "tune-003-fedcba21", "tune-004-late")
            session.stub.add_response(
                "list_training_jobs_for_hyper_parameter_tuning_job",
                {"TrainingJobSummaries": [trial(name) for name in names]},
                {
                    "HyperParameterTuningJobName": "tune",
                    "StatusEquals": "InProgress",
                    "SortBy": "Name",
                    "SortOrder": "Ascending",
                    "MaxResults": 100,
                },
            )
        if status == "Executing":  # finished jobs are not described again
            session.stub.add_response("describe_hyper_parameter_tuning_job", TUNING)
    follow(session, ARN, poll_s=0)
    epoch = "epoch 5 of 10: loss 0.5000, validation accuracy 75 %, about 40 s left"
    lines = [re.sub(r" \d+ s ?", " ", line, count=1).strip() for line in capsys.readouterr().err.splitlines()]
    assert re.fullmatch(
        rf"Tune Executing 1 of 4 trials, about \d+ .* left; trial 002: {epoch}; trial 003: {epoch}", lines[0]
    )
    assert lines[1:] == ["Tune Succeeded 1 of 4 trials", f"Train Executing {epoch}", "Train Succeeded"]


def test_nothing_is_deployed_when_the_step_did_not_run():
    assert deployment(Execution(ARN, "Succeeded", "", ())) == {}


GATE = [
    {
        "Name": "CheckAccuracy",
        "Type": "Condition",
        "Arguments": {
            "IfSteps": [{"Name": "RegisterModel", "Type": "RegisterModel", "Arguments": {}}],
            "ElseSteps": [{"Name": "AccuracyTooLow", "Type": "Fail", "Arguments": {}}],
        },
    }
]


@pytest.mark.parametrize(
    ("outcome", "rows"),
    [
        (None, ["CheckAccuracy", "RegisterModel"]),
        ("True", ["CheckAccuracy", "RegisterModel"]),
        ("False", ["CheckAccuracy", "AccuracyTooLow"]),
    ],
)
def test_the_branch_that_a_condition_did_not_take_has_no_row(outcome, rows):
    status = "Succeeded" if outcome else "Executing"
    record = {"StepStatus": status, "Metadata": {"Condition": {"Outcome": outcome}} if outcome else {}}
    assert [name for name, _ in _rows(GATE, {"CheckAccuracy": record})] == rows


def test_the_time_that_is_left_is_estimated_when_something_has_happened():
    begun = {"StepName": "Tune", "StepStatus": "Executing", "StartTime": TIME}
    estimates = {}
    assert _left(begun, 4, 0, estimates) == "" == _left(begun | {"StepStatus": "Succeeded"}, 4, 2, estimates)
    ended = begun | {"EndTime": TIME + timedelta(seconds=300)}  # as if now
    assert _left(ended, 4, 2, estimates) == ", about 5 min left"
    ended["EndTime"] += timedelta(seconds=300)
    assert _left(ended, 4, 2, estimates) == ", about 5 min left"
    assert _left(ended, 4, 3.5, estimates) == ", about 1 min left"
