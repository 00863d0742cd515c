"""Whether the account may use Debugger: against moto, the local service, and AWS's refusals by Stubber."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from local.service import LocalService
from scripts import command, debugger
from scripts.start_execution import main as start_main
from tests.scripts.conftest import BUCKET

NAME = "image-classification"
ROLE = "arn:aws:iam::123456789012:role/ImageClassificationExecution"
PIPELINE = f"arn:aws:sagemaker:us-east-1:123456789012:pipeline/{NAME}"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker"


def output(*parts):
    values = [f"s3://{BUCKET}/{NAME}/executions", {"Get": "Execution.PipelineExecutionId"}, *parts]
    return {"Std:Join": {"On": "/", "Values": values}}


HOOK = {"CollectionConfigurations": [{"CollectionName": "losses"}]}
REQUEST = {
    "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": output("train")},
    "RoleArn": ROLE,
    "DebugHookConfig": {**HOOK, "S3OutputPath": output("train", "debugger")},
    "ProfilerConfig": {"ProfilingIntervalInMilliseconds": 500, "S3OutputPath": output("train", "profiler")},
    "Tags": [{"Key": "project", "Value": "flowers"}],
}
TRAINING = {"Name": "TrainModel", "Type": "Training", "Arguments": REQUEST}
CHECK = {
    "Name": "CheckAccuracy",
    "Type": "Condition",
    "Arguments": {"Conditions": [], "IfSteps": [], "ElseSteps": []},
}
FAIL = {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}


def definition(**request):
    return json.dumps(
        {"Version": "2020-12-01", "Parameters": [], "Steps": [{**TRAINING, "Arguments": request}, CHECK]}
    )


def job(name, **more):
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **more,
    }


@pytest.fixture
def aws(url, client, monkeypatch):
    """SageMaker of moto, in place of AWS, with the pipeline."""
    for service in ("SAGEMAKER", "S3", "LAMBDA", "SCHEDULER"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    sagemaker = client("sagemaker")
    sagemaker.create_pipeline(
        PipelineName=NAME,
        PipelineDefinition=definition(**REQUEST),
        ClientRequestToken="x" * 32,
        RoleArn=ROLE,
    )
    return sagemaker


def executions(sagemaker):
    return sagemaker.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]


def test_nothing_starts_while_nobody_knows(aws):
    with pytest.raises(command.Failure) as refused:
        start_main([])
    for words in (
        "there is no training job in us-east-1",
        "--probe-debugger",
        "--assume-debugger",
        "--no-debugger",
    ):
        assert words in str(refused.value)
    assert executions(aws) == []
    assert start_main(["--assume-debugger"]) == 0
    assert len(executions(aws)) == 1


def test_a_training_job_that_ran_with_it_is_an_answer(aws):
    aws.create_training_job(**job("without"))
    pipeline = aws.describe_pipeline(PipelineName=NAME)["PipelineArn"]
    answer = debugger.known(aws, pipeline)
    assert answer.allowed is None
    assert "of the newest 1 training jobs in us-east-1 none ran with Debugger" in answer.reason
    aws.create_training_job(**job("with", DebugHookConfig={"S3OutputPath": f"s3://{BUCKET}/tensors"}))
    assert debugger.known(aws, pipeline) == debugger.Answer(True, "training job with ran with Debugger")
    assert start_main([]) == 0
    assert len(executions(aws)) == 1


@pytest.mark.parametrize(("value", "starts"), [("accepted 2026-11-29", True), ("refused 2026-11-29", False)])
def test_the_answer_of_an_earlier_probe_is_used(aws, value, starts):
    pipeline = aws.describe_pipeline(PipelineName=NAME)["PipelineArn"]
    aws.add_tags(ResourceArn=pipeline, Tags=[{"Key": "debugger-probe", "Value": value}])
    if starts:
        assert start_main([]) == 0
    else:
        with pytest.raises(command.Failure, match=rf"{value}.*upsert_pipeline.py --no-debugger"):
            start_main([])
    assert len(executions(aws)) == starts


@pytest.mark.parametrize("arguments", [[], ["--probe-debugger"]])
def test_a_definition_without_it_is_not_asked_about(aws, arguments):
    without = {name: value for name, value in REQUEST.items() if name != "DebugHookConfig"}
    aws.update_pipeline(PipelineName=NAME, PipelineDefinition=definition(**without))
    if arguments:
        with pytest.raises(command.Failure, match="nothing would train under Debugger"):
            start_main(arguments)
    else:
        assert start_main([]) == 0


def test_a_tail_without_training_is_not_asked_about(aws):
    assert start_main(["--from", "CheckAccuracy"]) == 0
    assert len(executions(aws)) == 1


DENIED = "AccessDeniedException"


def test_permissions_that_are_missing_are_told_and_nothing_else_is(stub):
    stub.add_client_error("list_tags", DENIED, "no ListTags")
    stub.add_client_error("list_training_jobs", DENIED, "no ListTrainingJobs")
    answer = debugger.known(stub.client, PIPELINE)
    assert answer.allowed is None
    assert "no ListTags" in answer.reason
    assert "no ListTrainingJobs" in answer.reason
    stub.add_client_error("list_tags", "InternalFailure", "sorry", http_status_code=400)
    with pytest.raises(ClientError, match="sorry"):
        debugger.known(stub.client, PIPELINE)


def test_the_look_back_is_bounded_and_a_job_that_never_started_proves_nothing(stub):
    stub.add_response("list_tags", {"Tags": []})
    summary = {
        "TrainingJobName": "failed",
        "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/failed",
        "CreationTime": 0,
        "TrainingJobStatus": "Failed",
    }
    stub.add_response(
        "list_training_jobs",
        {"TrainingJobSummaries": [summary], "NextToken": "more"},
        {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 50},
    )
    described = {
        **summary,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/k"},
        "SecondaryStatus": "Failed",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"VolumeSizeInGB": 1},
        "StoppingCondition": {},
        "DebugHookConfig": {"S3OutputPath": "s3://b/k"},
    }
    stub.add_response("describe_training_job", described)
    assert debugger.known(stub.client, PIPELINE).allowed is None


def ended(stub, status="Stopped", **more):
    described = {
        "TrainingJobName": "probe",
        "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/probe",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/k"},
        "TrainingJobStatus": status,
        "SecondaryStatus": status,
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"VolumeSizeInGB": 1},
        "StoppingCondition": {},
        "CreationTime": 0,
        **more,
    }
    stub.add_response("describe_training_job", described)


def accepted(stub):
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/probe"
    stub.add_response("create_training_job", {"TrainingJobArn": arn})
    stub.add_response("stop_training_job", {})


@pytest.mark.parametrize("code", ["ValidationException", DENIED])
def test_what_is_refused_only_with_debugger_is_debugger(stub, code):
    stub.add_client_error("create_training_job", code, "Whatever AWS says.")
    accepted(stub)
    ended(stub, "Stopped")
    stub.add_response("add_tags", {})
    answer = debugger.ask(stub.client, PIPELINE, TRAINING, probing=True)
    assert answer.allowed is False
    assert f"AWS refused CreateTrainingJob: {code}: Whatever AWS says." in answer.reason
    assert "--no-debugger" in answer.advice()


def test_a_job_that_fails_for_debugger_afterwards_is_a_refusal_too(stub):
    accepted(stub)
    ended(stub, "Failed", FailureReason="ClientError: Debugger is not for you")
    accepted(stub)
    ended(stub, "Completed")
    answer = debugger.probe(stub.client, REQUEST)
    assert answer.allowed is False
    assert "ClientError: Debugger is not for you" in answer.reason


def test_a_refusal_of_something_else_is_not_an_answer_and_not_kept(stub):
    for _ in range(2):
        stub.add_client_error("create_training_job", "ValidationException", "Could not assume role.")
    answer = debugger.ask(stub.client, PIPELINE, TRAINING, probing=True)
    assert answer.allowed is None
    assert answer.reason.count("Could not assume role.") == 2


def test_a_quota_is_told_as_aws_says_it(stub):
    stub.add_client_error("create_training_job", "ResourceLimitExceeded", "0 Instances")
    with pytest.raises(ClientError, match="0 Instances"):
        debugger.probe(stub.client, REQUEST)


def test_an_answer_that_cannot_be_kept_is_an_answer(stub, capsys):
    accepted(stub)
    ended(stub)
    stub.add_client_error("add_tags", DENIED, "no AddTags")
    assert debugger.ask(stub.client, PIPELINE, TRAINING, probing=True).allowed
    assert "the answer is not kept" in capsys.readouterr().err


def test_a_request_that_only_an_execution_knows_is_refused(stub):
    with pytest.raises(command.Failure, match=r"Parameters\.Role"):
        debugger.probe(stub.client, {**REQUEST, "RoleArn": {"Get": "Parameters.Role"}})


def test_the_probe_runs_is_stopped_and_kept(tmp_path, monkeypatch):
    """With the local service, which accepts the request like CreateTrainingJob and is asked to stop the
    job."""
    monkeypatch.setattr(debugger, "POLL_S", 0.05)
    with LocalService(tmp_path / "home") as service:
        service.client("s3").create_bucket(Bucket=BUCKET)
        sagemaker = service.client("sagemaker")
        pipeline = sagemaker.create_pipeline(
            PipelineName=NAME,
            PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": [FAIL]}),
            ClientRequestToken="x" * 32,
            RoleArn=ROLE,
        )["PipelineArn"]
        answer = debugger.ask(sagemaker, pipeline, TRAINING, probing=True)
        assert answer.allowed
        (summary,) = sagemaker.list_training_jobs()["TrainingJobSummaries"]
        made = sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
        assert made["TrainingJobName"] in answer.reason
        assert made["TrainingJobStatus"] in {"Stopped", "Completed"}
        assert made["ResourceConfig"]["InstanceType"] == "ml.m5.large"
        assert made["DebugHookConfig"] == {
            **HOOK,
            "S3OutputPath": f"s3://{BUCKET}/{NAME}/executions/debugger-probe/train/debugger",
        }
        assert made["RoleArn"] == ROLE
        assert made["AlgorithmSpecification"]["TrainingImage"] == IMAGE
        kept = debugger.known(sagemaker, pipeline)
        assert kept.allowed
        assert "the pipeline's tag debugger-probe says accepted 20" in kept.reason
