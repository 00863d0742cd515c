"""Removing a deployment from a local service that has another one with a name like it."""

import io
import json
import time
import zipfile
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError

from config.settings import load
from local.service import LocalService
from scripts import command, teardown
from scripts.belongings import around, objects, thing
from scripts.checks.check import Subject
from tests.local.definitions import ROLE, document, processing
from tests.local.job_requests import processing_request
from tests.scripts.answers import Answers

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


def put_model(service, name):
    """A registered version, and the deployment's objects in the bucket; the version's ARN."""
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
    return sagemaker.create_model_package(
        ModelPackageGroupName=name,
        ModelApprovalStatus="Approved",
        InferenceSpecification={"Containers": [container], **types},
    )["ModelPackageArn"]


def put(service, name):
    """What a deployment of this name has, but for what runs."""
    package = put_model(service, name)
    sagemaker = service.client("sagemaker")
    sagemaker.create_model(
        ModelName=f"{name}-1", Containers=[{"ModelPackageName": package}], ExecutionRoleArn=ROLE
    )
    variant = {"VariantName": "v", "ModelName": f"{name}-1", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{name}-1", ProductionVariants=[variant | {"InitialInstanceCount": 1}]
    )
    _pipeline(service, name, name)
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


def _pipeline(service, name, deployment):
    service.client("sagemaker").create_pipeline(
        PipelineName=name,
        PipelineDefinition=document(processing("Sleep") | {"Arguments": _step(name)}),
        ClientRequestToken=(name * 8)[:64],
        RoleArn=ROLE,
        Tags=[{"Key": "deployment", "Value": deployment}],
    )


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
        found = teardown.everything(against(service.url, name), **keeping)
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
    _pipeline(service, "flowers-monitor", "flowers")
    _pipeline(service, "flowers-2-monitor", "flowers-2-monitor")  # of another deployment that has this name
    other = listed("flowers-2")
    before = listed("flowers")
    assert {kind for kind, _ in before} == KINDS | {"execution", "processing job"}
    assert ("endpoint", "a--b") in before and ("execution", arn) in before
    assert ("pipeline", "flowers-monitor") in before and ("pipeline", "flowers-2-monitor") not in other

    code, output, errors = typed("flowers", "--dry-run")
    assert code == 0 and "a--b" in output
    assert f"stays: s3://{BUCKET}/flowers/data/a/ (1 objects, 5 bytes): python scripts/teardown.py" in errors
    assert listed("flowers") == before

    code, output, errors = typed("flowers", "--yes")
    assert code == 0, output + errors
    assert output.endswith("Nothing of flowers is left in us-east-1 but what stays.\n")
    assert listed("flowers") == []
    assert listed("flowers-2") == other
    names = {item["PipelineName"] for item in sagemaker.list_pipelines()["PipelineSummaries"]}
    assert names == {"flowers-2", "flowers-2-monitor"}
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


def test_models_and_results_may_stay(service, typed, listed):
    put_model(service, "tulips")
    code, output, errors = typed("tulips", "--yes", "--keep", "models")
    assert code == 0, output + errors
    assert {kind for kind, _ in listed("tulips")} == {"model version", "model package group", "objects"}
    assert f"stays: s3://{BUCKET}/tulips/executions/1/ (1 objects, 5 bytes): aws s3 rm" in errors
    keys = [item["Key"] for item in service.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert "tulips/executions/1/model.tar.gz" in keys  # which the version is made of
    code, output, errors = typed("tulips", "--yes", "--keep", "results")
    assert code == 0, output + errors
    assert [kind for kind, _ in listed("tulips")] == ["objects"]


@pytest.mark.parametrize("url", ["s3://other/data/", f"s3://{BUCKET}/roses/", f"s3://{BUCKET}/roses/code/x"])
def test_pictures_are_a_folder_below_the_name(typed, url):
    with pytest.raises(command.Failure, match="is not the folder of a dataset below s3://my-flowers/roses/"):
        typed("roses", "--yes", "--pictures", url)


def test_pictures_that_are_not_there(typed):
    with pytest.raises(command.Failure, match="nothing lies there"):
        typed("roses", "--yes", "--pictures", f"s3://{BUCKET}/roses/data/typo/")


def test_nothing_goes_without_an_answer(service, typed, listed):
    service.client("s3").put_object(Bucket=BUCKET, Key="daisies/code/x", Body=b"")
    with pytest.raises(command.Failure, match="add --yes"):
        typed("daisies")
    assert listed("daisies") == [("objects", f"s3://{BUCKET}/daisies/code/ (1 objects, 0 bytes)")]


REFUSED = ClientError(
    {"Error": {"Code": "ValidationException", "Message": "it is being updated"}}, "DeleteEndpoint"
)
MISSING = ClientError(
    {"Error": {"Code": "ValidationException", "Message": 'Could not find "m"'}}, "DeleteModel"
)


def fails(error):
    def remove():
        raise error

    return remove


def test_what_is_left_is_told_with_its_command_and_what_needs_it_stays(typed, monkeypatch):
    gone = []
    things = [
        thing.Thing("endpoint", "e", fails(REFUSED), "aws delete e"),
        thing.Thing("endpoint config", "c", lambda: gone.append("c"), "aws delete c", after=("endpoint",)),
        thing.Thing("model", "m", fails(MISSING), "aws delete m"),
        thing.Thing("pipeline", "p", lambda: gone.append("p"), "aws delete p"),
    ]

    rounds = iter([things, things[:2]])
    monkeypatch.setattr(teardown, "everything", lambda *_: next(rounds))
    code, output, _ = typed("roses", "--yes")
    assert code == 1
    assert gone == ["p"]
    assert (
        "endpoint e is left: AWS refused DeleteEndpoint: ValidationException: it is being updated" in output
    )
    assert "  aws delete e\nendpoint config c is left: endpoint e is left\n  aws delete c\n" in output


def test_what_appears_meanwhile_goes_too(typed, monkeypatch):
    gone = []
    first, second = (thing.Thing("model", name, partial(gone.append, name), f"aws {name}") for name in "ab")
    rounds = iter([[first], [second], []])
    monkeypatch.setattr(teardown, "everything", lambda *_: next(rounds))
    assert typed("roses", "--yes")[0] == 0
    assert gone == ["a", "b"]


def test_an_interrupted_one_tells_how_to_go_on(typed, monkeypatch):
    things = [thing.Thing("model", "m", fails(KeyboardInterrupt()), "aws")]
    monkeypatch.setattr(teardown, "everything", lambda *_: things)
    with pytest.raises(
        KeyboardInterrupt, match=r"go on with python scripts/teardown\.py --local=.* --keep=models"
    ):
        typed("roses", "--yes", "--keep", "models")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"aws:cloudformation:stack-name": "flowers"}, []),
        ({"deployment": "flowers-2"}, []),
        ({"deployment": "flowers"}, ["alarm", "queue"]),
    ],
    ids=["of a stack", "of another", "own"],
)
def test_a_stacks_alarms_and_queue_and_anothers_stay(url, client, tags, expected):
    """Against moto."""
    client("cloudwatch").put_metric_alarm(
        AlarmName="flowers-errors",
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    client("sqs").create_queue(QueueName="flowers-failures", tags=tags)
    of = against(url, "flowers")
    assert [item.kind for item in (*around.alarms(of), *around.queue(of))] == expected


def test_every_version_of_an_object_goes(url, client):
    """Against moto: in a bucket with versions a deleted object stays, and costs."""
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for key in ("flowers/code/a", "flowers/code/a", "flowers-2/code/a"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"123")
    s3.delete_object(Bucket=BUCKET, Key="flowers/code/a")
    (folder,) = objects.own(against(url, "flowers"), [], [])
    assert folder.name == "s3://my-flowers/flowers/code/ (3 objects, 6 bytes)"
    assert thing.remove(folder) == ""
    assert [item["Key"] for item in s3.list_object_versions(Bucket=BUCKET)["Versions"]] == [
        "flowers-2/code/a"
    ]


def against(url, name):
    session = command.session(SimpleNamespace(local=url), settings_of(name))
    return Subject(settings_of(name), session, {})


def test_the_stack_is_named_with_its_command(monkeypatch):
    made = replace(
        settings_of("flowers"), execution_role="arn:aws:iam::444455556666:role/my-stack-ExecutionRole-1AB"
    )
    of = Subject(made, boto3.Session(region_name="us-east-1"), {})
    monkeypatch.setattr(objects, "staying", lambda *_: [])
    told = list(teardown.what_stays(of, []))
    assert told[-1].endswith("aws cloudformation delete-stack --stack-name=my-stack --region=us-east-1")
    by_hand = Subject(settings_of("flowers"), of.session, {})
    assert "was not made by infra/stack.yaml" in list(teardown.what_stays(by_hand, []))[-1]


def test_wrong_credentials_are_refused(monkeypatch):
    """Before anything is listed: settings of one account and credentials of another."""
    answers = Answers()
    answers.reset({"GetCallerIdentity": {"Account": "111122223333", "Arn": "arn"}})
    monkeypatch.setattr(command, "session", lambda *_: answers.session)
    for key in ("EXECUTION", "LAMBDA", "SCHEDULER"):
        monkeypatch.setenv(f"PIPELINE_{key}_ROLE", "arn:aws:iam::444455556666:role/r")
    monkeypatch.setenv("PIPELINE_BUCKET", BUCKET)
    with pytest.raises(command.Failure, match="another account than 111122223333"):
        teardown.main(["--yes"])
    assert [operation for operation, _ in answers.asked] == ["GetCallerIdentity"]
