"""The pipeline and its resources, created in moto's AWS by the command as users run it."""

import base64
import hashlib
import json
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from config.settings import load
from local.service import LocalService
from pipeline.definition import canonical
from scripts import upsert_pipeline
from scripts.command import Failure
from steps import code, wheels
from steps.wheels import WheelsError
from tests.local.definitions import document, training

NAME = "image-classification"
ROLE = "arn:aws:iam::444455556666:role/Deploy"
# moto's Lambda checks that the role exists, like AWS.
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


@pytest.fixture
def account(client, s3):
    """An account with the bucket and the function's role; the options that make the command use it."""
    assert s3
    role = client("iam").create_role(RoleName="Deploy", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    return ["--set", f"lambda_role={role}"]


def test_a_dry_run_prints_the_definition_without_an_account(run):
    done = run("upsert_pipeline.py", "--dry-run")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [step["Name"] for step in document["Steps"]] == [
        "SplitDataset",
        "TuneHyperparameters",
        "TrainModel",
        "FindChampion",
        "EvaluateModel",
        "CheckAccuracy",
    ]
    assert done.stdout == canonical(done.stdout)
    assert "not compared with the live pipeline: no usable AWS credentials" in done.stderr


def test_no_debugger_leaves_no_trace_of_it(run):
    plain, without = (
        json.loads(run("upsert_pipeline.py", "--dry-run", *options).stdout)
        for options in ([], ["--no-debugger"])
    )
    train = {step["Name"]: step for step in plain["Steps"]}["TrainModel"]["Arguments"]
    assert {"DebugHookConfig", "ProfilerConfig", "ProfilerRuleConfigurations"} <= train.keys()
    # By default AWS profiles every training job, so the request must switch it off.
    train = {step["Name"]: step for step in without["Steps"]}["TrainModel"]["Arguments"]
    assert not {"DebugHookConfig", "DebugRuleConfigurations", "ProfilerRuleConfigurations"} & train.keys()
    assert train.get("ProfilerConfig", {"DisableProfiler": True}) == {"DisableProfiler": True}


def test_upserting_creates_then_changes_nothing_then_updates(run, account, client, url):
    first = run("upsert_pipeline.py", *account, "--local", url)
    assert first.returncode == 0, first.stderr
    assert "Debugger" not in first.stderr  # a local service has it
    for line in (f"function {NAME}-deploy: created", f"pipeline {NAME}: created"):
        assert line in first.stdout
    bundles = code.bundles()
    settings = load()
    live = client("sagemaker").describe_pipeline(PipelineName=NAME)
    assert live["PipelineDefinition"] == run("upsert_pipeline.py", "--dry-run", *account).stdout
    assert live["RoleArn"] == settings.execution_role
    function = client("lambda").get_function_configuration(FunctionName=f"{NAME}-deploy")
    digest = hashlib.sha256(bundles["deploy"].archive()).digest()
    assert function["CodeSha256"] == base64.b64encode(digest).decode()
    assert function["Handler"] == "entrypoints.deploy.handler"
    group = client("sagemaker").describe_model_package_group(ModelPackageGroupName=NAME)
    assert group["ModelPackageGroupName"] == NAME
    for bundle in bundles.values():
        if bundle.form != "zip":
            address = code.url(settings, bundle.name, bundle.digest)
            assert address.removeprefix("s3://").partition("/")[2] in "".join(_keys(client("s3")))

    again = run("upsert_pipeline.py", *account, "--local", url)
    assert [line.rpartition(": ")[2] for line in again.stdout.splitlines()] == [
        "0 objects uploaded",
        "unchanged",
        "unchanged",
        "unchanged",
    ]

    changed = run("upsert_pipeline.py", *account, "--local", url, "--dry-run", "--set", "tuning.jobs=9")
    added = [line.strip("+, ") for line in changed.stderr.splitlines() if line.startswith("+ ")]
    assert added[0] == '"MaxNumberOfTrainingJobs": 9'
    (digest,) = added[1:]  # of the definition, in the model card
    assert "definition_sha256" in digest
    third = run("upsert_pipeline.py", *account, "--local", url, "--set", "tuning.jobs=9")
    assert f"pipeline {NAME}: updated, 4 lines of its definition\n" in third.stdout


def _keys(s3):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="image-classification-123456789012")
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


@pytest.fixture
def upsert(account, client, url, monkeypatch):
    """The command in this process, with a small definition and moto in the place of AWS itself."""
    trust = TRUST.replace("lambda", "sagemaker")
    run = client("iam").create_role(RoleName="Run", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    duties = ("execution", "processing", "training", "verification", "endpoint")
    own = {"bucket": "own-bucket", "scheduler_role": ROLE, **{f"{duty}_role": run for duty in duties}}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    for service in ("IAM", "S3", "LAMBDA", "SAGEMAKER", "SCHEDULER", "STS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
    for key, value in own.items():
        monkeypatch.setenv(f"PIPELINE_{key.upper()}", value)
    monkeypatch.setattr(upsert_pipeline, "definition", small_definition)
    # moto's account is the example account; here it represents a user's own.
    monkeypatch.setattr("config.settings.PLACEHOLDER_ACCOUNT", "000000000000")
    return lambda *arguments: upsert_pipeline.main([*account, *arguments])


def small_definition(settings):
    tags = [{"Key": key, "Value": value} for key, value in settings.resource_tags.items()]
    hook = {"DebugHookConfig": {"S3OutputPath": "s3://own-bucket/tensors"}}
    training = {"Name": "TrainModel", "Type": "Training", "Arguments": {"Tags": tags, **hook}}
    return json.dumps({"Parameters": [{"Name": "Epochs", "Type": "Integer"}], "Steps": [training]})


def test_upserting_says_whether_debugger_may_be_used(upsert, client, capsys):
    client("s3").create_bucket(Bucket="own-bucket")
    assert upsert() == 0
    said = capsys.readouterr().err
    for words in ("nobody asked AWS yet; there is no training job", "--probe-debugger", "--no-debugger"):
        assert words in said
    assert said.count("\n") == 2
    arn = client("sagemaker").describe_pipeline(PipelineName=NAME)["PipelineArn"]
    client("sagemaker").add_tags(
        ResourceArn=arn, Tags=[{"Key": "debugger-probe", "Value": "accepted 2026-11-29"}]
    )
    assert upsert() == 0
    assert "this account may use it" in capsys.readouterr().err


def test_upserting_changes_tags_and_names_the_schedules_left_behind(upsert, client, capsys):
    client("s3").create_bucket(Bucket="own-bucket")
    assert upsert("--set", "tags.stage=test") == 0
    sagemaker, functions = client("sagemaker"), client("lambda")
    arns = [
        sagemaker.describe_pipeline(PipelineName=NAME)["PipelineArn"],
        sagemaker.describe_model_package_group(ModelPackageGroupName=NAME)["ModelPackageGroupArn"],
    ]
    function = functions.get_function_configuration(FunctionName=f"{NAME}-deploy")["FunctionArn"]
    for arn in arns:
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "cost-centre", "Value": "7"}])
    functions.tag_resource(Resource=function, Tags={"cost-centre": "7"})
    _schedule(client("scheduler"), arns[0])
    capsys.readouterr()

    assert upsert("--set", "tags.team=vision") == 0
    expected = {"project": NAME, "team": "vision", "deployment": NAME, "cost-centre": "7"}
    for arn in arns:
        tags = sagemaker.list_tags(ResourceArn=arn)["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == expected
    assert functions.list_tags(Resource=function)["Tags"] == expected
    told = capsys.readouterr()
    assert f"function {NAME}-deploy: updated\n" in told.out
    assert f"model package group {NAME}: updated, its tags\n" in told.out
    assert told.out.endswith("lines of its definition, its tags\n")
    assert "schedule weekly names Sharpness, which the new definition lacks" in told.err

    assert upsert("--set", "tags.team=vision") == 0
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "unchanged"
    ] * 3


def _schedule(scheduler, pipeline):
    parameters = [{"Name": name, "Value": "1"} for name in ("Epochs", "Sharpness")]
    scheduler.create_schedule(
        Name="weekly",
        FlexibleTimeWindow={"Mode": "OFF"},
        ScheduleExpression="rate(7 days)",
        Target={
            "Arn": pipeline,
            "RoleArn": "arn:aws:iam::123456789012:role/scheduler",
            "SageMakerPipelineParameters": {"PipelineParameterList": parameters},
        },
    )


@pytest.mark.parametrize("option", ["--dry-run", "--no-debugger"])
def test_a_probe_goes_with_what_upserts_debugger(run, refused, option):
    refused(run("upsert_pipeline.py", "--probe-debugger", option), "--probe-debugger", "--no-debugger")


def test_the_example_account_is_refused_on_aws(run, refused):
    credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    refused(
        run("upsert_pipeline.py", **credentials), "bucket, execution_role", "example account", "stack.yaml"
    )


def test_a_missing_bucket_is_refused_before_anything_is_made(run, refused, client, url):
    refused(
        run("upsert_pipeline.py", "--local", url, "--set", "bucket=there-is-none"),
        "bucket there-is-none does not exist",
        "aws s3 mb",
    )
    assert client("sagemaker").list_pipelines()["PipelineSummaries"] == []


def test_a_role_that_does_not_exist_is_refused_in_one_line(run, s3, url):
    assert s3
    done = run("upsert_pipeline.py", "--local", url)
    assert done.returncode == 2
    assert "CreateFunction" in done.stderr.splitlines()[-1]


def test_wheels_that_cannot_be_fetched_end_it_before_anything_but_code_is_made(monkeypatch):
    def fetch(_):
        raise WheelsError("no package index")

    monkeypatch.setattr(wheels, "fetch", fetch)
    asked = []
    session = SimpleNamespace(client=lambda service: asked.append(service) or StubS3())
    with pytest.raises(Failure, match=r"^no package index$"):
        upsert_pipeline.upsert(load(environ={}, overrides=["package_source=bundle"]), session, "{}")
    assert asked == ["s3"]


class StubS3:
    """A bucket without objects, which takes any."""

    def head_object(self, **_):
        raise ClientError({"Error": {"Code": "404"}}, "HeadObject")

    def put_object(self, **_):
        pass


def test_a_service_that_does_not_answer_is_refused(run, refused):
    refused(run("upsert_pipeline.py", "--local", "http://127.0.0.1:9"), "127.0.0.1:9", "--local")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tunning.jobs=4", ("tunning.jobs", "did you mean tuning.jobs")),
        ("tuning.jobs=many", ("tuning.jobs", "many")),
        ("tuning.learning_rate_min=0.5", ("tuning.learning_rate_min", "below")),
        ("execution_role=me", ("execution_role", "ARN")),
    ],
)
def test_wrong_settings_are_refused(run, refused, override, words):
    refused(run("upsert_pipeline.py", "--dry-run", "--set", override), *words)


def test_a_tag_is_taken_away_here_too(tmp_path, monkeypatch, url):
    """With the local service; moto, used by the test above, has all operations that AWS has."""

    def trained(settings):
        step = training("TrainModel")
        step["Arguments"]["Tags"] = [
            {"Key": key, "Value": value} for key, value in settings.resource_tags.items()
        ]
        return document(step)

    assert url  # moto, whose state belongs to the process, is empty
    monkeypatch.setattr(upsert_pipeline, "definition", trained)
    with LocalService(tmp_path / "home") as service:
        service.client("s3").create_bucket(Bucket="image-classification-123456789012")
        assert upsert_pipeline.main(["--local", service.url, "--set", "tags.stage=test"]) == 0
        assert upsert_pipeline.main(["--local", service.url, "--set", "tags.team=vision"]) == 0
        expected = {"project": NAME, "team": "vision", "deployment": NAME}
        for resource in (f"pipeline/{NAME}", f"model-package-group/{NAME}"):
            arn = f"arn:aws:sagemaker:us-east-1:123456789012:{resource}"
            tags = service.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]
            assert {tag["Key"]: tag["Value"] for tag in tags} == expected
        function = f"arn:aws:lambda:us-east-1:123456789012:function:{NAME}-deploy"
        assert service.client("lambda").list_tags(Resource=function)["Tags"] == expected
