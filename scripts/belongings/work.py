"""What runs or will run for a deployment: schedules, rules, executions and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from config.settings import DEPLOYMENT_TAG
from scripts import aws_errors
from scripts.belongings.thing import Thing, is_gone, ours, wait_until
from scripts.checks.check import Subject

STOPPING = {"Executing", "Stopping", "InProgress"}


@dataclass(frozen=True)
class _Kind:
    """A kind of job: its operations, its name's key, and what the CLI calls it."""

    noun: str
    key: str
    words: str


JOBS = (
    _Kind("hyper_parameter_tuning_job", "HyperParameterTuningJob", "hyper-parameter-tuning-job"),
    _Kind("training_job", "TrainingJob", "training-job"),
    _Kind("processing_job", "ProcessingJob", "processing-job"),
    _Kind("transform_job", "TransformJob", "transform-job"),
)
JOB_KINDS = tuple(kind.words.replace("-", " ") for kind in JOBS)


def schedules(subject: Subject, pipeline_arn: str) -> Iterator[Thing]:
    """The schedules that start the pipeline, whoever made them: the first to go, lest they start it again."""
    scheduler = subject.client("scheduler")
    for page in scheduler.get_paginator("list_schedules").paginate():
        for item in page["Schedules"]:
            name, group = item["Name"], item["GroupName"]
            if item["Target"]["Arn"] == pipeline_arn:
                yield Thing(
                    "schedule",
                    name,
                    partial(scheduler.delete_schedule, Name=name, GroupName=group),
                    subject.aws("scheduler", "delete-schedule", f"--name={name}", f"--group-name={group}"),
                )


def rules(subject: Subject, pipeline_arn: str) -> Iterator[Thing]:
    """The default bus's rules that start the pipeline and nothing else, but not those of a stack."""
    events = subject.client("events")
    names: list[str] = []
    for page in events.get_paginator("list_rule_names_by_target").paginate(TargetArn=pipeline_arn):
        names += page["RuleNames"]
    for name in names:
        targets = events.list_targets_by_rule(Rule=name)["Targets"]
        arn = events.describe_rule(Name=name)["Arn"]
        tags = {it["Key"]: it["Value"] for it in events.list_tags_for_resource(ResourceARN=arn)["Tags"]}
        if ours(tags, subject.settings.name) and all(target["Arn"] == pipeline_arn for target in targets):
            yield Thing(
                "event rule",
                name,
                partial(_remove_rule, events, name, [target["Id"] for target in targets]),
                subject.aws("events", "delete-rule", f"--name={name}"),
            )


def _remove_rule(events: Any, name: str, targets: list[str]) -> None:
    if targets:
        events.remove_targets(Rule=name, Ids=targets)
    events.delete_rule(Name=name)


def executions(subject: Subject, name: str) -> Iterator[Thing]:
    """The executions of a pipeline that are not over."""
    sagemaker = subject.client("sagemaker")
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=name)
    try:
        found = [item for page in pages for item in page["PipelineExecutionSummaries"]]
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        return
    for item in found:
        arn = item["PipelineExecutionArn"]
        if item["PipelineExecutionStatus"] in STOPPING:
            yield Thing(
                "execution",
                arn,
                partial(_stop_execution, sagemaker, arn),
                subject.aws("sagemaker", "stop-pipeline-execution", f"--pipeline-execution-arn={arn}"),
                "its jobs cost by the second while it runs",
            )


def _stop_execution(sagemaker: Any, arn: str) -> None:
    def state() -> str:
        status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
        return status if status in STOPPING else ""

    if state() == "Executing":
        sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn)
    wait_until(state, f"execution {arn.rpartition('/')[2]}")


def jobs(subject: Subject) -> Iterator[Thing]:
    """The running jobs with the deployment's tag, which each job of the pipeline has."""
    sagemaker = subject.client("sagemaker")
    for kind in JOBS:
        pages = sagemaker.get_paginator(f"list_{kind.noun}s").paginate(StatusEquals="InProgress")
        for item in [item for page in pages for item in page[f"{kind.key}Summaries"]]:
            name, arn = item[f"{kind.key}Name"], item[f"{kind.key}Arn"]
            if tagged(sagemaker, arn, subject.settings.name):
                yield Thing(
                    kind.words.replace("-", " "),
                    name,
                    partial(_stop_job, sagemaker, kind, name),
                    subject.aws("sagemaker", f"stop-{kind.words}", f"--{kind.words}-name={name}"),
                    "costs by the second while it runs",
                )


def _stop_job(sagemaker: Any, kind: _Kind, name: str) -> None:
    """Stop a job, unless it ends meanwhile, and wait: it writes its results when it stops."""

    def state() -> str:
        described = getattr(sagemaker, f"describe_{kind.noun}")(**{f"{kind.key}Name": name})
        status = str(described[f"{kind.key}Status"])
        return status if status in STOPPING else ""

    if state() == "InProgress":
        try:
            getattr(sagemaker, f"stop_{kind.noun}")(**{f"{kind.key}Name": name})
        except ClientError:
            if state() == "InProgress":
                raise
    wait_until(state, f"{kind.words.replace('-', ' ')} {name}")


def tagged(sagemaker: Any, arn: str, name: str) -> bool:
    """Whether a SageMaker resource has the tag of the deployment of this name."""
    try:
        pages = list(sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn))
    except ClientError as error:
        if not is_gone(error):
            raise
        return False
    return {"Key": DEPLOYMENT_TAG, "Value": name} in [tag for page in pages for tag in page["Tags"]]
