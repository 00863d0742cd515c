"""Requests for processing and training jobs, and the services that run them."""

import atexit
import contextlib
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.home.home import Home
from local.home.store import Store
from local.jobs import processing, training
from local.jobs.jobs import JobService
from local.wire.operations import ControlPlane

# A ContainerEntrypoint has words of at most 256 characters, on one line.
PROGRAMS = Path(tempfile.mkdtemp(prefix="programs-"))
PROGRAMS.chmod(0o755)  # some jobs are another user's
atexit.register(shutil.rmtree, PROGRAMS, ignore_errors=True)
ROLE = "arn:aws:iam::123456789012:role/execution"


@contextlib.contextmanager
def job_services(home: Home, store: Store) -> Iterator[list[JobService]]:
    """The services of training and of processing jobs."""
    made = [JobService(home, store, kind, dict) for kind in (training.KIND, processing.KIND)]
    try:
        yield made
    finally:
        for service in made:
            service.close()


def control_plane(services: list[JobService]) -> ControlPlane:
    """The operations of both services."""
    return ControlPlane(services[0].operations() | services[1].operations())


def put(home: Home, uri: str, content: str) -> None:
    path = home.object_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def finished(control: ControlPlane, kind: str, name: str) -> dict[str, Any]:
    """The record of a job once it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        record = control.call(f"Describe{kind}", {f"{kind}Name": name})
        if record[f"{kind}Status"] not in {"InProgress", "Stopping"}:
            return record
        time.sleep(0.05)
    raise AssertionError(f"{name} did not end")


def script(program: str) -> str:
    """The path of a file that holds a Python program."""
    path = PROGRAMS / hashlib.sha256(program.encode()).hexdigest()  # without .py it is not forked
    if not path.exists():  # another job may be reading it
        path.write_text(program)
    return str(path)


def processing_request(program: str, **members: Any) -> dict[str, Any]:
    """A request for the job p, whose program gets the folders of its input and output."""
    return {
        "ProcessingJobName": "p",
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": "image",
            "ContainerEntrypoint": [sys.executable, script(program)],
            "ContainerArguments": ["/opt/ml/processing/input/data", "/opt/ml/processing/output"],
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
        "ProcessingInputs": [
            {
                "InputName": "data",
                "S3Input": {
                    "S3Uri": "s3://b/in",
                    "LocalPath": "/opt/ml/processing/input/data",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": "s3://b/out",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
    } | members


def training_request(program: str, **members: Any) -> dict[str, Any]:
    """A request for the job t, whose program gets the folder that replaces /opt/ml."""
    return {
        "TrainingJobName": "t",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [sys.executable, script(program)],
            "ContainerArguments": ["/opt/ml"],
            "MetricDefinitions": [{"Name": "acc", "Regex": r"acc=([0-9.]+|nan)"}],
        },
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}},
            }
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://b/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    } | members
