"""Removing a deployment from a local service that has another one with a name like it."""

import json
import time

import pytest

from config.settings import load
from local.service import LocalService
from scripts import command, teardown
from scripts.belongings import thing
from scripts.checks.check import Subject
from tests.local.definitions import ROLE, document, processing
from tests.local.job_requests import processing_request

BUCKET = "my-flowers"
ACCOUNT = "123456789012"
ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}"
ASLEEP = """
import sys, time
open(sys.argv[2] + "/out.txt", "w").write("half")
time.sleep(60)
"""
KINDS = {
    "schedule", "event rule", "endpoint", "endpoint config", "model", "function", "log group",
    "model version", "model package group", "alarm", "queue", "objects", "pipeline",
}  # fmt: skip


def settings_of(name):
    return load(
        environ={},
        overrides=[
            f"name={name}", f"bucket={BUCKET}", f"deployment.alarms={name}-errors",
            "deployment.termination_wait_s=60",
            f"schedule.dead_letter_queue={QUEUE}:{name}-failures",
        ],
    )  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(thing, "POLL_S", 0.05)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A local service with a bucket."""
    with LocalService(tmp_path_factory.mktemp("teardown") / "home") as service:
        service.client("s3").create_bucket(Bucket=BUCKET)
        yield service


def put(service, name):
    """What a deployment of this name has, but for what runs."""
    sagemaker, s3 = service.client("sagemaker"), service.client("s3")
    for key in (
        "code/train/d/x.tar.gz",
        "executions/1/model.tar.gz",
        "weights/w.pth",
        "data/a/b/1.png",
        "other",
    ):
        s3.put_object(Bucket=BUCKET, Key=f"{name}/{key}", Body=b"12345")
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    container = {"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/{name}/executions/1/model.tar.gz"}
    types = {"SupportedContentTypes": ["image/png"], "SupportedResponseMIMETypes": ["application/json"]}
    package = sagemaker.create_model_package(
        ModelPackageGroupName=name,
        ModelApprovalStatus="Approved",
        InferenceSpecification={"Containers": [container], **types},
    )["ModelPackageArn"]
    sagemaker.create_model(
        ModelName=f"{name}-1", Containers=[{"ModelPackageName": package}], ExecutionRoleArn=ROLE
    )
    variant = {"VariantName": "v", "ModelName": f"{name}-1", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{name}-1", ProductionVariants=[variant | {"InitialInstanceCount": 1}]
    )
    sagemaker.create_pipeline(
        PipelineName=name,
        PipelineDefinition=document(processing("Sleep") | {"Arguments": _step(name)}),
        ClientRequestToken=name * 8,
        RoleArn=ROLE,
    )
    target = {"Arn": f"{ARN}:pipeline/{name}", "RoleArn": ROLE}
    service.client("scheduler").create_schedule(
        Name=f"{name}-retraining",
        ScheduleExpression="rate(7 days)",
        StartDate="2100-01-01T00:00:00Z",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
    )
    service.client("events").put_rule(Name=f"{name}-rule", EventPattern=json.dumps({"source": ["aws.s3"]}))
    service.client("events").put_targets(Rule=f"{name}-rule", Targets=[target | {"Id": "1"}])
    service.client("sqs").create_queue(QueueName=f"{name}-failures")
    service.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-errors", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1
    )
    function(service, f"{name}-deploy")


def _step(name):
    return {key: value for key, value in _sleeping(name).items() if key != "ProcessingJobName"}


def _sleeping(name, **members):
    """A job's request that sleeps, and whose results are among the deployment's."""
    request = processing_request(ASLEEP, ProcessingInputs=[], Tags=[{"Key": "deployment", "Value": name}])
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = (
        f"s3://{BUCKET}/{name}/executions/1"
    )
    return request | members


def function(service, name):
    """A function that was called once, so that it has a log."""
    import io
    import zipfile

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("f.py", "def handler(event, context):\n    print('called')\n")
    client = service.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=ROLE,
        Handler="f.handler",
        Code={"ZipFile": archive.getvalue()},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    client.invoke(FunctionName=name, Payload=b"{}")


def wait_for(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def typed(service, monkeypatch, capsys):
    """typed(name, ...) runs the command for a deployment: exit code, output, errors."""

    def typed(name, *arguments):
        for key, value in {
            "NAME": name, "BUCKET": BUCKET, "SCHEDULE__DEAD_LETTER_QUEUE": f"{QUEUE}:{name}-failures",
            "DEPLOYMENT__ALARMS": f"{name}-errors", "DEPLOYMENT__TERMINATION_WAIT_S": "60",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"PIPELINE_{key}", value)
        code = teardown.main(["--local", service.url, *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return typed


@pytest.fixture
def listed(service):
    """listed(name) is everything of a deployment, as (kind, name)."""

    def listed(name, **keeping):
        session = command.session(type("Given", (), {"local": service.url}), settings_of(name))
        found = teardown.everything(Subject(settings_of(name), session, {}), **keeping)
        return [(item.kind, item.name) for item in found]

    return listed


def test_everything_of_a_name_goes_and_nothing_of_another(service, typed, listed):
    sagemaker, s3 = service.client("sagemaker"), service.client("s3")
    put(service, "flowers")
    put(service, "flowers-2")
    sagemaker.create_endpoint(EndpointName="a--b", EndpointConfigName="flowers-1")
    arn = sagemaker.start_pipeline_execution(PipelineName="flowers")["PipelineExecutionArn"]
    for name in ("flowers", "flowers-2"):
        sagemaker.create_processing_job(**_sleeping(name, ProcessingJobName=f"{name}-by-hand"))
    other = listed("flowers-2")
    before = listed("flowers")
    assert {kind for kind, _ in before} == KINDS | {"execution", "processing job"}
    assert ("endpoint", "a--b") in before and ("execution", arn) in before

    code, output, errors = typed("flowers", "--dry-run")
    assert code == 0 and "a--b" in output
    assert f"stays: s3://{BUCKET}/flowers/data/a/ (1 objects, 5 bytes): python scripts/teardown.py" in errors
    assert listed("flowers") == before

    code, output, errors = typed("flowers", "--yes")
    assert code == 0, output + errors
    assert output.endswith("Nothing of flowers is left in us-east-1 but what stays.\n")
    assert listed("flowers") == []
    assert listed("flowers-2") == other
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {key for key in keys if key.startswith("flowers/")} == {"flowers/data/a/b/1.png", "flowers/other"}
    assert (
        sagemaker.describe_processing_job(ProcessingJobName="flowers-2-by-hand")["ProcessingJobStatus"]
        == "InProgress"
    )

    code, output, errors = typed("flowers", "--yes")
    assert (code, output) == (0, "Nothing of flowers is left in us-east-1.\n")
    code, output, errors = typed("flowers", "--yes", "--pictures", f"s3://{BUCKET}/flowers/data/a")
    assert code == 0, output + errors
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {key for key in keys if key.startswith("flowers/")} == {"flowers/other"}
    sagemaker.stop_processing_job(ProcessingJobName="flowers-2-by-hand")
