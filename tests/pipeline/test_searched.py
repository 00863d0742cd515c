"""The search's results in the training that follows it: a real execution on the local service."""

import json
import time

import pytest

from config.settings import load
from local.service import LocalService
from pipeline.pipeline import build_pipeline, pipeline_session
from steps import code, tune
from steps.sdk import ContinuousParameter
from tests.entrypoints.pictures import write_classes

OVERRIDES = ["tuning.jobs=2", "tuning.parallel_jobs=2", "debugger.enabled=false"]
VALUES = {"Epochs": "1", "ImageSize": "32"}


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with LocalService(tmp_path / "home") as service:
        yield service


def test_a_third_hyperparameter_is_tuned_and_its_best_value_trained_with(service, tmp_path, monkeypatch):
    monkeypatch.setitem(tune.SEARCHED, "weight_decay", lambda _: ContinuousParameter(0.01, 0.1))
    settings = load(environ={}, overrides=OVERRIDES)
    definition = json.loads(build_pipeline(settings, pipeline_session(settings)).definition())
    wanted = ("SplitDataset", "TuneHyperparameters", "TrainModel")
    definition["Steps"] = [step for step in definition["Steps"] if step["Name"] in wanted]
    s3, sagemaker = service.client("s3"), service.client("sagemaker")
    s3.create_bucket(Bucket=settings.bucket)
    code.upload(s3, settings, code.bundles().values())
    for picture in write_classes(tmp_path / "data", 6).rglob("*.png"):
        key = f"{settings.name}/{picture.relative_to(tmp_path).as_posix()}"
        s3.upload_file(str(picture), settings.bucket, key)

    sagemaker.create_pipeline(
        PipelineName=settings.name,
        PipelineDefinition=json.dumps(definition),
        RoleArn=settings.execution_role,
        ClientRequestToken="a" * 32,
    )
    url = f"s3://{settings.bucket}/{settings.name}/data"
    arn = sagemaker.start_pipeline_execution(
        PipelineName=settings.name,
        PipelineParameters=[
            {"Name": name, "Value": value} for name, value in {**VALUES, "InputDataUrl": url}.items()
        ],
        ClientRequestToken="b" * 32,
    )["PipelineExecutionArn"]
    deadline = time.monotonic() + 240
    while (execution := sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn))[
        "PipelineExecutionStatus"
    ] == "Executing":
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert execution["PipelineExecutionStatus"] == "Succeeded", execution

    [tuning] = sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    best = sagemaker.describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=tuning["HyperParameterTuningJobName"]
    )["BestTrainingJob"]["TunedHyperParameters"]
    assert best.keys() == {"learning_rate", "batch_size", "weight_decay"}
    assert 0.01 <= float(best["weight_decay"]) <= 0.1
    [name] = [
        job["TrainingJobName"]
        for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]
        if "TrainModel" in job["TrainingJobName"]
    ]
    given = sagemaker.describe_training_job(TrainingJobName=name)["HyperParameters"]
    assert {key: given[key] for key in best} == best
