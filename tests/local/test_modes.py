"""Only its owner may read a home, whatever runs in it and for any umask."""

import io
import os
import sqlite3
import stat
import tarfile
import time
import zipfile

import pytest

from local.service import LocalService
from tests.local.endpoint_service import APP
from tests.local.job_requests import processing_request, training_request

ROLE = "arn:aws:iam::123456789012:role/execution"


def open_to_others(home):
    """Files in a home, and the home itself, that others may read, write or enter; except those that jobs
    write."""
    return [
        f"{stat.S_IMODE(path.lstat().st_mode):o} {path.relative_to(home)}"
        for path in (home, *home.rglob("*"))
        if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]


def packed(name, text, archive):
    """An archive with one file that everybody may read and write."""
    data = io.BytesIO()
    if archive == "zip":
        with zipfile.ZipFile(data, "w") as file:
            file.writestr(name, text)
    else:
        with tarfile.open(fileobj=data, mode="w:gz") as file:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o666
            file.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture
def umask_0():
    before = os.umask(0)
    yield
    os.umask(before)


WRITE = """
import pathlib, sys, time
for folder in map(pathlib.Path, sys.argv[1:]):
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("x")
time.sleep(1)
"""


@pytest.mark.usefixtures("umask_0")
def test_nobody_else_may_look_into_a_home_whatever_runs_in_it(tmp_path):
    home = tmp_path / "home"
    with LocalService(home) as service:
        s3, sagemaker = service.client("s3"), service.client("sagemaker")
        s3.create_bucket(Bucket="pictures")
        s3.put_object(Bucket="pictures", Key="in/a/b.txt", Body=b"x", Metadata={"of": "a"})
        s3.put_object(Bucket="pictures", Key="marker/")
        s3.copy_object(Bucket="pictures", Key="copy/c", CopySource="pictures/in/a/b.txt")
        upload = s3.create_multipart_upload(Bucket="pictures", Key="parts/p")["UploadId"]
        s3.upload_part(Bucket="pictures", Key="parts/p", UploadId=upload, PartNumber=1, Body=b"x")

        arguments = ["/opt/ml/processing/output"]
        for name, program in (("p", WRITE), ("q", WRITE + "sys.exit(1)")):
            request = processing_request(program, ProcessingJobName=name)
            request["AppSpecification"]["ContainerArguments"] = arguments
            request["ProcessingInputs"][0]["S3Input"]["S3Uri"] = "s3://pictures/in"
            request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = "s3://pictures/out"
            sagemaker.create_processing_job(**request)
        folders = ["model", "output/data", "checkpoints", "output/tensors"]
        for name, program in (("t", WRITE), ("u", WRITE + "sys.exit(1)")):
            request = training_request(
                program,
                TrainingJobName=name,
                OutputDataConfig={"S3OutputPath": "s3://pictures/jobs"},
                CheckpointConfig={"S3Uri": f"s3://pictures/checkpoints/{name}"},
                DebugHookConfig={"S3OutputPath": "s3://pictures/debug"},
                ProfilerConfig={
                    "S3OutputPath": "s3://pictures/profile",
                    "ProfilingIntervalInMilliseconds": 100,
                },
                ProfilerRuleConfigurations=[
                    {
                        "RuleConfigurationName": "report",
                        "RuleEvaluatorImage": "image",
                        "RuleParameters": {"rule_to_invoke": "ProfilerReport"},
                    }
                ],
            )
            request["AlgorithmSpecification"]["ContainerArguments"] = [f"/opt/ml/{f}" for f in folders]
            request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://pictures/in"
            sagemaker.create_training_job(**request)

        functions = service.client("lambda")
        functions.create_function(
            FunctionName="f",
            Runtime="python3.12",
            Role=ROLE,
            Handler="main.run",
            Code={"ZipFile": packed("main.py", "def run(e, c): open('written', 'w')", "zip")},
        )
        functions.invoke(FunctionName="f")
        s3.put_object(Bucket="pictures", Key="model.tar.gz", Body=packed("app.py", APP, "tar"))
        model = {"Image": "image", "ModelDataUrl": "s3://pictures/model.tar.gz"}
        sagemaker.create_model(ModelName="m", PrimaryContainer=model, ExecutionRoleArn=ROLE)
        sagemaker.create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[
                {
                    "VariantName": "v",
                    "ModelName": "m",
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                }
            ],
        )
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        deadline = time.monotonic() + 120
        statuses = {}
        while not statuses or {"InProgress", "Creating"} & {*statuses.values()}:
            assert time.monotonic() < deadline, statuses
            time.sleep(0.1)
            statuses = {"e": sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"]}
            for name in "pq":
                job = sagemaker.describe_processing_job(ProcessingJobName=name)
                statuses[name] = job["ProcessingJobStatus"]
            for name in "tu":
                job = sagemaker.describe_training_job(TrainingJobName=name)
                statuses[name] = job["TrainingJobStatus"]
                (rule,) = job["ProfilerRuleEvaluationStatuses"]
                statuses[f"rule of {name}"] = rule["RuleEvaluationStatus"].removeprefix("No")
        assert statuses == {
            "e": "InService",
            "p": "Completed",
            "q": "Failed",
            "t": "Completed",
            "u": "Failed",
            "rule of t": "IssuesFound",
            "rule of u": "IssuesFound",
        }
        assert open_to_others(home) == []
    assert open_to_others(home) == []
    found = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert any(path.startswith("s3/pictures/profile/t/profiler-output/system/") for path in found)
    assert any(path.startswith("s3/pictures/jobs/t/rule-output/report/") for path in found)
    assert {
        "service.json",
        "records.sqlite",
        "s3/pictures/in/a/b.txt",
        "s3/pictures/out/sub/file",
        "s3/pictures/checkpoints/t/sub/file",
        "s3/pictures/checkpoints/u/sub/file",
        "s3/pictures/debug/t/debug-output/sub/file",
        "s3/pictures/jobs/t/output/model.tar.gz",
        "s3/pictures/jobs/t/output/output.tar.gz",
        "processing-jobs/q/ml/processing/output/sub/file",
        "training-jobs/u/ml/model/sub/file",
        "endpoints/e/c/server.log",
        "functions/f/function.log",
    } <= found


@pytest.mark.usefixtures("umask_0")
def test_a_home_that_others_could_read_is_closed_to_them(tmp_path):
    home = tmp_path / "home"
    (home / "s3").mkdir(parents=True)
    (home / "service.json").write_text("")
    with sqlite3.connect(home / "records.sqlite") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE other (a)")
        assert (home / "records.sqlite-wal").exists()
        assert len(open_to_others(home)) == 6
        with LocalService(home):
            assert open_to_others(home) == []
    database.close()
