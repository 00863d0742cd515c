"""Bad records of any kind block nothing: they are closed or set aside, with the reason."""

import json
import logging
import os

import pytest

from local.home import recovery
from local.home.disk import NotRecorded
from local.home.store import Store
from local.service import LocalService
from tests.local.full_disk import fill

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
EXECUTION = f"{ARN}:pipeline/p/execution/abcdefghijkl"
JOB = {
    "TrainingJobName": "t",
    "TrainingJobArn": f"{ARN}:training-job/t",
    "TrainingJobStatus": "InProgress",
    "SecondaryStatus": "Training",
    "CreationTime": 1.0,
    "AlgorithmSpecification": {"TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://b/jobs"},
    "ModelArtifacts": {"S3ModelArtifacts": "s3://b/jobs/t/output/model.tar.gz"},
}


@pytest.fixture(autouse=True, scope="module")
def answers_have_their_shapes():
    """Not here: answers lack the lost parts of a record."""


def body(store, kind, name, text):
    """Damage a record."""
    connection = store._connection
    columns = "(kind, name, created, body)"
    connection.execute(f"INSERT OR REPLACE INTO records {columns} VALUES (?, ?, 1.0, ?)", (kind, name, text))


@pytest.fixture
def left(tmp_path):
    """left(...) puts records into the home as an earlier service would have left them."""

    def left(**records):
        store = Store(tmp_path / "records.sqlite")
        for kind, named in records.items():
            for name, record in named.items():
                text = record if isinstance(record, (str, bytes)) else json.dumps(record)
                body(store, kind.replace("_", "-"), name, text)
        store.close()

    return left


def test_what_cannot_be_taken_up_is_closed_and_the_service_starts(tmp_path, left, caplog):
    whole = {"TrainingJobName": "whole", "TrainingJobArn": f"{ARN}:training-job/whole"}
    left(
        TrainingJob={
            "whole": JOB | whole,
            "without-status": {key: value for key, value in JOB.items() if key != "TrainingJobStatus"},
            "no-json": '{"TrainingJobName": ',
            "no-text": b'{"\xff',
            "no-object": "[]",
            # What it kept contradicts S3.
            "checkpoint": JOB
            | {"TrainingJobName": "checkpoint", "TrainingJobArn": f"{ARN}:training-job/checkpoint"}
            | {"CheckpointConfig": {"S3Uri": "s3://b/checkpoints"}},
            "log": JOB | {"TrainingJobName": "log", "TrainingJobArn": f"{ARN}:training-job/log"},
        },
        ProcessingJob={"p": {"ProcessingJobName": "p"}},
        TransformJob={"f": '"f"'},
        HyperParameterTuningJob={
            "h": {
                "HyperParameterTuningJobName": "h",
                "HyperParameterTuningJobStatus": "InProgress",
                "CreationTime": 1.0,
            },
            "x": "x",
        },
        pipelines={"p": {"PipelineName": "p", "PipelineArn": f"{ARN}:pipeline/p", "CreationTime": 1.0}},
        pipeline_executions={
            EXECUTION: {"PipelineExecutionArn": EXECUTION, "PipelineExecutionStatus": "Executing"},
            f"{EXECUTION[:-1]}m": b"\xff",
        },
        endpoints={"e": {"EndpointName": "e", "EndpointStatus": "InService"}, "damaged": "{}}"},
        models={"m": "no model"},
    )
    for file in ("s3/b/checkpoints/a/b", "training-jobs/checkpoint/ml/checkpoints/a"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    # A folder in place of the log, so that reading the job's metrics fails.
    (tmp_path / "training-jobs" / "log" / "log.txt").mkdir(parents=True)
    store = Store(tmp_path / "records.sqlite")
    store.update(
        "TrainingJob",
        "log",
        lambda record: record["AlgorithmSpecification"].update(
            MetricDefinitions=[{"Name": "acc", "Regex": "acc=([0-9.]+)"}]
        ),
    )
    store.close()
    with caplog.at_level(logging.WARNING), LocalService(tmp_path) as service:
        sagemaker = service.client("sagemaker")
        jobs = {job["TrainingJobName"]: job for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]}
        assert {job["TrainingJobStatus"] for job in jobs.values()} == {"Failed"}
        reasons = {
            name: sagemaker.describe_training_job(TrainingJobName=name)["FailureReason"] for name in jobs
        }
        ended = "InternalServerError: the local service ended while the job was running"
        assert (reasons.pop("whole"), reasons.pop("checkpoint")) == (ended, ended)
        given_up = "InternalServerError: the local service started, and could not continue with this: "
        for name, fault in {
            "without-status": "it has no 'TrainingJobStatus'",
            "no-json": "JSONDecodeError: ",
            "no-text": "UnicodeDecodeError: ",
            "no-object": "ValueError: it is not a JSON object",
            "log": "IsADirectoryError: ",
        }.items():
            assert reasons.pop(name).startswith(f"{given_up}{fault}")
        assert reasons == {}
        kept = sagemaker.describe_training_job(TrainingJobName="log")
        assert kept["OutputDataConfig"] == JOB["OutputDataConfig"]
        assert kept["TrainingEndTime"] >= kept["CreationTime"]
        for operation, key, name in (
            ("list_processing_jobs", "ProcessingJob", "p"),
            ("list_transform_jobs", "TransformJob", "f"),
        ):
            (summary,) = getattr(sagemaker, operation)()[f"{key}Summaries"]
            assert (summary[f"{key}Name"], summary[f"{key}Status"]) == (name, "Failed")
        tunings = sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
        assert {
            job["HyperParameterTuningJobName"]: job["HyperParameterTuningJobStatus"] for job in tunings
        } == {"h": "Failed", "x": "Failed"}
        executions = sagemaker.list_pipeline_executions(PipelineName="p")["PipelineExecutionSummaries"]
        assert [execution["PipelineExecutionStatus"] for execution in executions] == ["Failed", "Failed"]
        for execution in executions:
            arn = execution["PipelineExecutionArn"]
            told = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["FailureReason"]
            assert told.startswith(given_up)
            assert (
                sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
                == []
            )
        endpoints = {
            it["EndpointName"]: it["EndpointStatus"] for it in sagemaker.list_endpoints()["Endpoints"]
        }
        assert endpoints == {"e": "Failed", "damaged": "Failed"}
        for name in endpoints:
            sagemaker.delete_endpoint(EndpointName=name)
        assert sagemaker.list_models()["Models"] == []
    said = [record.message for record in caplog.records if record.name == recovery.__name__]
    assert len(said) == 14 and "models m cannot be read: it is set aside in " in said[-1]


def test_what_was_damaged_is_kept_for_a_person_and_does_not_come_back(tmp_path, left, caplog):
    left(models={"m": "no model"}, TrainingJob={"t": "no job"})
    for _ in range(2):
        with caplog.at_level(logging.WARNING), LocalService(tmp_path):
            pass
    assert len([record for record in caplog.records if record.name == recovery.__name__]) == 2
    store = Store(tmp_path / "records.sqlite")
    rows = store._connection.execute("SELECT kind, name, body FROM records ORDER BY kind").fetchall()
    store.close()
    assert [row for row in rows if row[0].startswith("unreadable ")] == [
        ("unreadable TrainingJob", "t", "no job"),
        ("unreadable models", "m", "no model"),
    ]


def test_numbers_that_json_does_not_know_are_readable(store):
    store.create("models", "m", {"Loss": float("nan")})
    assert store.unreadable() == []


def test_a_full_disk_is_not_the_fault_of_a_record(store):
    store.create("jobs", "one", {"Status": "InProgress"})
    fill(store)

    def take_up(name, _record):
        store.update("jobs", name, lambda stored: stored.update(Reason="x" * 10_000))

    with pytest.raises(NotRecorded):
        recovery.recover(store, "jobs", dict, take_up, lambda *_: {})
    assert store.get("jobs", "one") == {"Status": "InProgress"}


def test_what_cannot_be_swept_stays_and_is_named(tmp_path, caplog):
    (tmp_path / "folder" / "closed").mkdir(parents=True)
    (tmp_path / "folder" / "closed" / "file").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    recovery.sweep([tmp_path / "absent", tmp_path / "folder", tmp_path / "file", tmp_path / "link"])
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert [os.fspath(tmp_path / "absent") in record.message for record in caplog.records] == [True]
