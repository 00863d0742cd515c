"""Training jobs with rules, and the rules' final findings."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from local.application import application
from local.home.home import Home
from local.home.store import Record, Store
from local.jobs import training
from local.jobs.jobs import JobService
from local.s3.operations import S3
from local.server import Server
from local.wire.operations import ControlPlane
from tests.local.job_requests import script

IMAGE = "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest"
# The files of a training's hook, all at once.
TRAIN = "import os, shutil, sys, time; shutil.copytree(sys.argv[2], sys.argv[1], dirs_exist_ok=True); "
REPORTS = "s3://b/jobs/t/rule-output/ProfilerReport/profiler-output/profiler-reports"


def rule(rule_to_invoke: str, name: str | None = None, **parameters: str) -> Record:
    """The configuration of a rule."""
    return {
        "RuleConfigurationName": name or rule_to_invoke,
        "RuleEvaluatorImage": IMAGE,
        "RuleParameters": {"rule_to_invoke": rule_to_invoke, **parameters},
    }


def request(program: str, *arguments: object, **members: Any) -> Record:
    """A request for the training job t; `program` gets the folder of its tensors and the arguments."""
    return {
        "TrainingJobName": "t",
        "RoleArn": "arn:aws:iam::123456789012:role/execution",
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [sys.executable, script(program)],
            "ContainerArguments": ["/opt/ml/output/tensors", *map(str, arguments)],
        },
        "OutputDataConfig": {"S3OutputPath": "s3://b/jobs"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "DebugHookConfig": {"S3OutputPath": "s3://b/debug"},
        "ProfilerConfig": {"S3OutputPath": "s3://b/profile", "ProfilingIntervalInMilliseconds": 100},
        **members,
    }


@contextlib.contextmanager
def judged_jobs(home: Home, store: Store) -> Iterator[JobService]:
    """Training jobs behind a server, so that a rule's action finds them."""
    home.object_path("s3://b").mkdir(parents=True, exist_ok=True)  # where jobs leave their outputs

    def environment() -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    jobs = JobService(home, store, training.KIND, environment)
    others: Any = None  # no test requests them
    server = Server(application(S3(home).handle, ControlPlane(jobs.operations()), others, others, others))
    server.start()
    try:
        yield jobs
    finally:
        jobs.close()
        server.stop()


def statuses(record: Record, kind: str = "Debug") -> dict[str, tuple[str, str]]:
    """Each rule's status and details."""
    return {
        status["RuleConfigurationName"]: (status["RuleEvaluationStatus"], status.get("StatusDetails", ""))
        for status in record[f"{kind}RuleEvaluationStatuses"]
    }


def write_metrics(home: Home, metric: Record, count: int) -> None:
    """A metric of the job t, once a second, in the file of a minute ago."""
    before = int(time.time()) - 60
    hour = time.strftime("%Y%m%d%H", time.gmtime(before))
    folder = home.object_path(f"s3://b/profile/t/profiler-output/system/incremental/{hour}")
    folder.mkdir(parents=True)
    lines = [metric | {"NodeId": "algo-1", "Timestamp": before + second + 0.5} for second in range(count)]
    (folder / f"{before}.algo-1.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
