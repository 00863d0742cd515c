"""Requests for tuning jobs, and a control plane that runs them with trials that start at once."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local.home.home import Home
from local.home.store import Record, Store
from local.jobs import training
from local.jobs.jobs import JobService
from local.processes.container import Container
from local.tuning.tuning import TuningService
from local.wire.operations import ControlPlane
from tests.local.job_requests import script

RATE = {"Name": "rate", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
SIZE = {"Name": "size", "Values": ["32", "64"]}
RANGES = {"ContinuousParameterRanges": [RATE], "CategoricalParameterRanges": [SIZE]}

OBJECTIVE = """
import json, math, pathlib, sys
h = json.loads((pathlib.Path(sys.argv[1]) / "input/config/hyperparameters.json").read_text())
assert h["_tuning_objective_metric"] == "acc" and h["epochs"] == "1"
print(f"acc={1 - (math.log10(float(h['rate'])) + 2) ** 2 / 4:.6f}")
"""


def config(jobs: int, parallel: int, ranges: dict[str, Any] = RANGES, **more: Any) -> dict[str, Any]:
    """A HyperParameterTuningJobConfig that maximizes acc."""
    return {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "acc"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
        "ParameterRanges": ranges,
        "RandomSeed": 1,
        **more,
    }


def request(program: str = OBJECTIVE, **more: Any) -> dict[str, Any]:
    """A request for the job h: four trials, two at a time."""
    return {
        "HyperParameterTuningJobName": "h",
        "HyperParameterTuningJobConfig": config(4, 2, **more),
        "TrainingJobDefinition": {
            "StaticHyperParameters": {
                "epochs": "1",
                "sagemaker_program": program if program.endswith(".py") else script(program),
                "sagemaker_submit_directory": "s3://b/code/sourcedir.tar.gz",
            },
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9.-]+)"}],
            },
            "RoleArn": "arn:aws:iam::123456789012:role/execution",
            "OutputDataConfig": {"S3OutputPath": "s3://b/tuning"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    }


def prepare(home: Home, record: Record, service: Mapping[str, str]) -> Container:
    """The real job, except that the program replaces the toolkit, which takes 2 s to start."""
    container = training.prepare(home, record, service)
    program = record["HyperParameters"]["sagemaker_program"]
    return dataclasses.replace(container, command=[sys.executable, program, str(container.folder)])


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """The operations of training and tuning jobs, on a home folder."""
    home = Home(folder)
    home.object_path("s3://b").mkdir(parents=True, exist_ok=True)  # where jobs leave their outputs
    store = Store(home.database)
    jobs = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    tuning = TuningService(home, store, jobs)
    try:
        yield ControlPlane(jobs.operations() | tuning.operations())
    finally:
        jobs.close()
        tuning.close()
        store.close()


def finished(control: ControlPlane, name: str = "h") -> dict[str, Any]:
    """The record of a tuning job once it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        record = control.call("DescribeHyperParameterTuningJob", {"HyperParameterTuningJobName": name})
        if record["HyperParameterTuningJobStatus"] not in {"InProgress", "Stopping"}:
            return record
        time.sleep(0.05)
    raise AssertionError("the tuning job did not end")


def trials(control: ControlPlane, name: str = "h", **query: Any) -> list[dict[str, Any]]:
    """The summaries of a tuning job's training jobs."""
    answer = control.call(
        "ListTrainingJobsForHyperParameterTuningJob", {"HyperParameterTuningJobName": name, **query}
    )
    summaries: list[dict[str, Any]] = answer["TrainingJobSummaries"]
    return summaries
