"""The pipelines for benchmarks/killed.py: one of small programs, and the digits' pipeline."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local.wire import clients
from scripts.datasets import digits

ROOT = Path(__file__).resolve().parents[1]
ROLE = "arn:aws:iam::123456789012:role/killed"
TRIALS = 4
SMALL, DIGITS = "killed", "image-classification"  # the names of the pipelines
# The file of a model.tar.gz that holds its weights, of either pipeline.
WEIGHTS = ("weights", "model.safetensors")

# Of the digits, so that an execution takes a minute: some pictures, few epochs, and what makes a model of
# these pass the gate.
PICTURES_PER_CLASS = 60
PARAMETERS = {"Epochs": "3", "ImageSize": "32", "AccuracyThreshold": "0.05"}
SETTINGS = {"PIPELINE_TUNING__JOBS": str(TRIALS), "PIPELINE_GATE__BETTER_THAN_GUESSING": "false"}

# One program for trials and training: a few "epochs", then a model that depends on its hyperparameters.
TRAIN = """
import argparse, os, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
rate = parser.parse_known_args()[0].rate
for epoch in range(3):
    time.sleep(0.1)
    print(f"acc={1 - abs(rate - 0.01) - 0.1 / (epoch + 1):.6f}", flush=True)
pathlib.Path(os.environ["SM_MODEL_DIR"], "weights").write_text(repr(rate) * 1000)
"""
# An entrypoint's words have 256 characters at most.
WRITE = (
    "import pathlib,sys,time;time.sleep(.3);"
    "pathlib.Path('/opt/ml/processing/out',sys.argv[1]).write_text(sys.argv[2])"
)


def _processing(name: str, file: str, content: str, **more: Any) -> dict[str, Any]:
    output = {
        "OutputName": "out",
        "AppManaged": False,
        "S3Output": {
            "LocalPath": "/opt/ml/processing/out",
            "S3UploadMode": "EndOfJob",
            "S3Uri": {
                "Std:Join": {
                    "On": "/",
                    "Values": ["s3://killed", {"Get": "Execution.PipelineExecutionId"}, name],
                }
            },
        },
    }
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {
                "ImageUri": "image",
                "ContainerEntrypoint": [sys.executable, "-c", WRITE, file, content],
            },
            "ProcessingResources": {"ClusterConfig": cluster},
            "ProcessingOutputConfig": {"Outputs": [output]},
            "RoleArn": ROLE,
        },
        **more,
    }


def definition() -> str:
    """Split, four trials, the training with the best of them, an evaluation that gates a registration."""
    algorithm = {
        "TrainingImage": "image",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9.-]+)"}],
    }
    shared = {
        "AlgorithmSpecification": algorithm,
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://killed/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    script = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://killed/sourcedir.tar.gz"}
    rate = {"Name": "rate", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    tuning = {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "acc"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": TRIALS, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [rate]},
            "RandomSeed": 1,
        },
        "TrainingJobDefinition": {**shared, "StaticHyperParameters": script},
    }
    best = {"Get": "Steps.Tune.BestTrainingJob.TunedHyperParameters['rate']"}
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "killed",
            "InferenceSpecification": {
                "Containers": [
                    {"Image": "image", "ModelDataUrl": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}}
                ],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        },
    }
    report = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.E"}, "Path": "a"}}
    gate = {
        "Name": "Check",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [{"Type": "GreaterThanOrEqualTo", "LeftValue": report, "RightValue": 0.5}],
            "IfSteps": [register],
            "ElseSteps": [],
        },
    }
    files = [{"PropertyFileName": "E", "OutputName": "out", "FilePath": "e.json"}]
    steps = [
        _processing("Split", "data.txt", "data"),
        {"Name": "Tune", "Type": "Tuning", "Arguments": tuning, "DependsOn": ["Split"]},
        {
            "Name": "Train",
            "Type": "Training",
            "Arguments": {**shared, "HyperParameters": {**script, "rate": best}},
        },
        _processing("Evaluate", "e.json", '{"a": 1}', DependsOn=["Train"], PropertyFiles=files),
        gate,
    ]
    return json.dumps({"Version": "2020-12-01", "Metadata": {}, "Parameters": [], "Steps": steps})


def archive() -> bytes:
    """sourcedir.tar.gz with TRAIN."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = len(TRAIN.encode())
        tar.addfile(member, io.BytesIO(TRAIN.encode()))
    return buffer.getvalue()


def start_small(url: str, _: Path) -> str:
    """Start the pipeline of small programs; the execution's ARN."""
    s3, sagemaker = client("s3", url), client("sagemaker", url)
    s3.create_bucket(Bucket="killed")
    s3.put_object(Bucket="killed", Key="sourcedir.tar.gz", Body=archive())
    sagemaker.create_pipeline(PipelineName=SMALL, PipelineDefinition=definition(), RoleArn=ROLE)
    arn: str = sagemaker.start_pipeline_execution(PipelineName=SMALL)["PipelineExecutionArn"]
    return arn


def start_digits(url: str, folder: Path) -> str:
    """Start the digits' pipeline as a user would, with its pictures in a folder; return its ARN."""
    client("s3", url).create_bucket(Bucket=f"{DIGITS}-123456789012")  # as pipeline.toml has it
    for command in (
        ["upload_dataset.py", str(pictures(folder))],
        ["upsert_pipeline.py"],
        ["start_execution.py", *parameters()],
    ):
        subprocess.run(
            [sys.executable, f"scripts/{command[0]}", *command[1:], f"--local={url}"],
            cwd=ROOT,
            env={**os.environ, **SETTINGS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    (found,) = client("sagemaker", url).list_pipeline_executions(PipelineName=DIGITS)[
        "PipelineExecutionSummaries"
    ]
    arn: str = found["PipelineExecutionArn"]
    return arn


def pictures(folder: Path, per_class: int = PICTURES_PER_CLASS) -> Path:
    """The first digits of each class, made once, below a folder."""
    few = folder / f"digits-{per_class}"
    if not few.is_dir():
        for of_class in sorted(digits(folder / "digits").iterdir()):
            (few / of_class.name).mkdir(parents=True)
            for file in sorted(of_class.iterdir())[:per_class]:
                shutil.copy(file, few / of_class.name)
    return few


def parameters() -> Sequence[str]:
    """PARAMETERS as command-line options."""
    return [f"--parameter={name}={value}" for name, value in PARAMETERS.items()]


def environment(home: Path) -> Mapping[str, str]:
    """The environment of a command that works on a home; it also identifies the command's processes."""
    return {**os.environ, **SETTINGS, "KILLED_HOME": str(home)}


def client(service: str, url: str) -> Any:
    """A boto3 client of a local service."""
    return clients.client(
        service,
        {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": clients.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": clients.SECRET_KEY,
        },
    )
