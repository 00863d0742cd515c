"""Whether AWS lets this account use SageMaker Debugger, which is closed to new customers since 2026-07-30.

AWS does not publish how it refuses, and TrainModel would find out after split and trials are paid for. So
this module looks at the account's earlier training jobs; on request it asks AWS, with a training job that it
stops at once.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from scripts import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

PROBE_HELP = (
    "ask AWS whether this account may use Debugger, with a training job that is stopped at once (a cent)"
)
TAG = "debugger-probe"  # of the pipeline: "accepted 2026-11-29"
# How many of the newest training jobs to look at: at most 51 requests, about 0.1 s each, free of charge.
MAX_JOBS = 50
# The smallest of the family that the pipeline trains on; about 0.12 USD an hour in us-east-1
# (aws.amazon.com/sagemaker/ai/pricing, November 2026), billed for at most these seconds.
PROBE_INSTANCE = "ml.m5.large"
PROBE_RUNTIME_S = 60
PROBE_TIMEOUT_S = 600.0  # until a stopped job has ended; takes minutes while SageMaker looks for an instance
POLL_S = 2.0
# What CreateTrainingJob may say if it refuses Debugger. Other errors, such as a quota's, say nothing about
# it.
REFUSALS = {"ValidationException", "AccessDeniedException", "AccessDenied"}
ENDED = {"Completed", "Failed", "Stopped"}
EXECUTION_ID = {"Get": "Execution.PipelineExecutionId"}


@dataclass(frozen=True)
class Answer:
    """Whether this account may use Debugger (None: unknown), and how that is known."""

    allowed: bool | None
    reason: str

    def advice(self) -> str:
        """What to tell a user who has upserted a pipeline with Debugger."""
        if self.allowed:
            return f"Debugger is on, and this account may use it: {self.reason}."
        if self.allowed is None:
            return (
                "Debugger is on, and closed to new customers since 2026-07-30; nobody knows whether this "
                f"account may use it: {self.reason}.\nBefore an execution pays for trials, upsert again with "
                "--probe-debugger, which asks AWS for a cent, or with --no-debugger, which leaves it out."
            )
        return f"AWS refuses Debugger to this account: upsert again with --no-debugger ({self.reason})"


def training_step(definition: str) -> dict[str, Any] | None:
    """The training step whose request has a DebugHookConfig; None if none has."""
    steps = [step for step in json.loads(definition)["Steps"] if step["Type"] == "Training"]
    return next((step for step in steps if "DebugHookConfig" in step["Arguments"]), None)


def ask(sagemaker: SageMakerClient, pipeline_arn: str, training: dict[str, Any], probing: bool) -> Answer:
    """Whether this account may use Debugger.

    Args:
        training: what `training_step` returns.
        probing: whether to ask AWS with a training job; a tag of the pipeline keeps the answer.

    Raises:
        ClientError: AWS refused, for another reason than Debugger or a missing permission.
        Failure: the training job of the probe does not end.
    """
    with command.status("finding out whether this account may use Debugger"):
        if not probing:
            return known(sagemaker, pipeline_arn)
        answer = probe(sagemaker, training["Arguments"])
    if answer.allowed is not None:
        _keep(sagemaker, pipeline_arn, answer.allowed)
    return answer


def known(sagemaker: SageMakerClient, pipeline_arn: str | None) -> Answer:
    """What an earlier probe's answer and the account's newest training jobs tell; starts nothing.

    Args:
        pipeline_arn: None where there is no pipeline yet, which could have kept an answer.
    """
    reasons = []
    kept = [partial(_kept, sagemaker, pipeline_arn)] if pipeline_arn else []
    for look in (*kept, partial(_used, sagemaker)):
        try:
            answer = look()
        except ClientError as error:
            if not aws_errors.is_denied(error):
                raise
            answer = Answer(None, aws_errors.explain(error))
        if answer.allowed is not None:
            return answer
        reasons.append(answer.reason)
    return Answer(None, "; ".join(reasons))


def _kept(sagemaker: SageMakerClient, pipeline_arn: str) -> Answer:
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=pipeline_arn)
    value = next((tag["Value"] for page in pages for tag in page["Tags"] if tag["Key"] == TAG), "")
    allowed = {"accepted": True, "refused": False}.get(value.partition(" ")[0])
    if allowed is None:
        return Answer(None, "nobody asked AWS yet")
    return Answer(allowed, f"AWS was asked, and the pipeline's tag {TAG} says {value}")


def _used(sagemaker: SageMakerClient) -> Answer:
    jobs = sagemaker.list_training_jobs(SortBy="CreationTime", SortOrder="Descending", MaxResults=MAX_JOBS)[
        "TrainingJobSummaries"
    ]
    for job in jobs:
        name = job["TrainingJobName"]
        described = sagemaker.describe_training_job(TrainingJobName=name)
        # A job that failed before it started on its instances has no such time (API reference,
        # DescribeTrainingJob), and may be just what Debugger's refusal looks like.
        if "DebugHookConfig" in described and "TrainingStartTime" in described:
            return Answer(True, f"training job {name} ran with Debugger")
    region = sagemaker.meta.region_name
    if not jobs:
        return Answer(None, f"there is no training job in {region}")
    return Answer(None, f"of the newest {len(jobs)} training jobs in {region} none ran with Debugger")


def probe(sagemaker: SageMakerClient, request: dict[str, Any]) -> Answer:
    """Ask AWS with a training job that has Debugger; if that is refused, with one that does not.

    So a refused role, image or permission is not mistaken for a refusal of Debugger.

    Args:
        request: of the training step.

    Raises:
        ClientError: AWS refused with an error that does not concern Debugger.
        Failure: the job does not end.
    """
    plain = _smallest(request)
    configs = {
        name: {**request[name], "S3OutputPath": _text(request[name]["S3OutputPath"])}
        for name in ("DebugHookConfig", "ProfilerConfig")
        if "S3OutputPath" in request.get(name, {})
    }
    refusal = _refusal(sagemaker, {**plain, **configs})
    if not refusal:
        return Answer(True, f"it accepted training job {plain['TrainingJobName']}")
    plain["TrainingJobName"] += "-plain"
    if other := _refusal(sagemaker, plain):
        return Answer(None, f"with Debugger: {refusal}; without Debugger: {other}")
    return Answer(False, f"it accepted the same training job without. {refusal}")


def _smallest(request: dict[str, Any]) -> dict[str, Any]:
    """The request, on the smallest instance, without inputs and with a program that ends at once."""
    return {
        "TrainingJobName": f"{TAG}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(3)}",
        "AlgorithmSpecification": {
            "TrainingImage": _text(request["AlgorithmSpecification"]["TrainingImage"]),
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/true"],
        },
        "RoleArn": _text(request["RoleArn"]),
        "OutputDataConfig": {"S3OutputPath": _text(request["OutputDataConfig"]["S3OutputPath"])},
        "ResourceConfig": {"InstanceType": PROBE_INSTANCE, "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": PROBE_RUNTIME_S},
        "Tags": request.get("Tags", []),
    }


def _text(value: Any) -> str:
    """A text of the request, with the probe's name in place of an execution's id.

    Raises:
        Failure: it refers to something else that only an execution knows.
    """
    if isinstance(value, str):
        return value
    if "Std:Join" in value:
        join = value["Std:Join"]
        return str(join["On"]).join(map(_text, join["Values"]))
    if value != EXECUTION_ID:
        command.fail(f"--probe-debugger: only an execution knows {json.dumps(value)}, which the request has")
    return TAG


def _refusal(sagemaker: SageMakerClient, request: dict[str, Any]) -> str:
    """Run a training job and stop it at once; return AWS's refusal, or an empty string."""
    name = request["TrainingJobName"]
    try:
        sagemaker.create_training_job(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] not in REFUSALS:
            raise
        return aws_errors.explain(error)
    try:
        sagemaker.stop_training_job(TrainingJobName=name)
    except ClientError:
        # It may have ended by itself.
        if sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] not in ENDED:
            raise
    deadline = time.monotonic() + PROBE_TIMEOUT_S
    while (job := sagemaker.describe_training_job(TrainingJobName=name))["TrainingJobStatus"] not in ENDED:
        if time.monotonic() > deadline:
            command.fail(
                f"training job {name} is still {job['TrainingJobStatus']}; see why with aws sagemaker "
                f"describe-training-job --training-job-name {name}"
            )
        time.sleep(POLL_S)
    failed = job["TrainingJobStatus"] == "Failed"
    return f"training job {name} failed: {job.get('FailureReason', 'no reason given')}" if failed else ""


def _keep(sagemaker: SageMakerClient, pipeline_arn: str, allowed: bool) -> None:
    value = f"{'accepted' if allowed else 'refused'} {datetime.now(UTC):%Y-%m-%d}"
    try:
        sagemaker.add_tags(ResourceArn=pipeline_arn, Tags=[{"Key": TAG, "Value": value}])
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        command.console.print(f"the answer is not kept: {aws_errors.explain(error)}", soft_wrap=True)
