"""What stands around the pipeline: the function, logs, alarms, the dead-letter queue, the pipeline itself."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

import scripts.command as command
from scripts import served
from scripts.belongings.thing import Thing, is_gone, ours
from scripts.belongings.work import tagged
from scripts.checks.check import Subject
from scripts.execution import parameters_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

# The newest executions whose parameters tell how their endpoints were called: as many requests.
MAX_EXECUTIONS = 100
# us-east-1, November 2026: aws.amazon.com/cloudwatch/pricing. A month of an alarm, and of a GB of logs.
USD_PER_ALARM, USD_PER_LOG_GB = 0.10, 0.03
GB = 1 << 30


def function(subject: Subject) -> Iterator[Thing]:
    """The Lambda function that deploys."""
    client, name = subject.client("lambda"), subject.settings.function_name
    try:
        client.get_function_configuration(FunctionName=name)
    except ClientError as error:
        if not is_gone(error):
            raise
        return
    yield Thing(
        "function",
        name,
        partial(client.delete_function, FunctionName=name),
        subject.aws("lambda", "delete-function", f"--function-name={name}"),
        after=("execution",),
    )


def logs(subject: Subject, endpoints: Collection[str]) -> Iterator[Thing]:
    """The log groups of the function and of these endpoints, and of those that are deleted already.

    Jobs share their log groups with those of others; they stay.
    """
    client = subject.client("logs")
    names = {f"/aws/lambda/{subject.settings.function_name}"}
    names |= {f"/aws/sagemaker/Endpoints/{endpoint}" for endpoint in {*endpoints, *_deleted(subject)}}
    for name in sorted(names):
        for page in client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name):
            for group in page["logGroups"]:
                if group["logGroupName"] == name:
                    usd = group.get("storedBytes", 0) / GB * USD_PER_LOG_GB
                    yield Thing(
                        "log group",
                        name,
                        partial(client.delete_log_group, logGroupName=name),
                        subject.aws("logs", "delete-log-group", f"--log-group-name={name}"),
                        f"about {usd:.2f} USD a month" if _priced(subject) and usd >= 0.005 else "",
                    )


def _deleted(subject: Subject) -> set[str]:
    """The names that endpoints of this deployment had and no endpoint has now."""
    sagemaker = subject.client("sagemaker")
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName=subject.settings.pipeline_name,
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"MaxItems": MAX_EXECUTIONS},
    )
    found = {command.default(subject.settings, "EndpointName")}
    try:
        for item in [item for page in pages for item in page["PipelineExecutionSummaries"]]:
            given = parameters_of(subject.session, item["PipelineExecutionArn"])
            found |= {given[name] for name in ("EndpointName",) if name in given}
    except ClientError as error:
        if not is_gone(error):
            raise
    return found - set(served.names(sagemaker))


def alarms(subject: Subject) -> Iterator[Thing]:
    """The alarms that the settings name, if they are called after the deployment and no stack made them."""
    client, settings = subject.client("cloudwatch"), subject.settings
    names = [name for name in settings.deployment.alarms if name.startswith(settings.name)]
    found = client.describe_alarms(AlarmNames=names)["MetricAlarms"] if names else []
    for alarm in found:
        arn, name = alarm["AlarmArn"], alarm["AlarmName"]
        tags = {tag["Key"]: tag["Value"] for tag in client.list_tags_for_resource(ResourceARN=arn)["Tags"]}
        if ours(tags, settings.name):
            yield Thing(
                "alarm",
                name,
                partial(client.delete_alarms, AlarmNames=[name]),
                subject.aws("cloudwatch", "delete-alarms", f"--alarm-names={name}"),
                f"about {USD_PER_ALARM:.2f} USD a month" if _priced(subject) else "",
            )


def queue(subject: Subject) -> Iterator[Thing]:
    """The dead-letter queue that the settings name, under the same conditions as alarms."""
    settings = subject.settings
    arn = settings.schedule.dead_letter_queue or ""
    name = arn.rpartition(":")[2]
    if not name.startswith(settings.name):  # also: there is none
        return
    client = subject.client("sqs")
    try:
        url = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=arn.split(":")[4])["QueueUrl"]
        tags = client.list_queue_tags(QueueUrl=url).get("Tags", {})
    except ClientError as error:
        if not is_gone(error):
            raise
        return
    if ours(tags, settings.name):
        yield Thing(
            "queue",
            name,
            partial(client.delete_queue, QueueUrl=url),
            subject.aws("sqs", "delete-queue", f"--queue-url={url}"),
        )


def pipeline(subject: Subject, name: str) -> Iterator[Thing]:
    """A pipeline: the last to go, since schedules and executions are found by it."""
    sagemaker = subject.client("sagemaker")
    if _exists(sagemaker, name):
        token = uuid.uuid4().hex
        yield Thing(
            "pipeline",
            name,
            partial(sagemaker.delete_pipeline, PipelineName=name, ClientRequestToken=token),
            subject.aws(
                *("sagemaker", "delete-pipeline", f"--pipeline-name={name}"),
                f"--client-request-token={token}",
            ),
            after=("schedule", "event rule", "execution"),
        )


def pipelines(subject: Subject) -> list[str]:
    """The deployment's pipelines: NAME and, if it watches its requests, NAME-monitor. That name may also be
    another deployment's, which the tag tells.
    """
    settings, sagemaker = subject.settings, subject.client("sagemaker")
    monitor = f"{settings.name}-monitor"
    arn = _exists(sagemaker, monitor)
    return [settings.pipeline_name, *([monitor] if arn and tagged(sagemaker, arn, settings.name) else [])]


def _exists(sagemaker: SageMakerClient, name: str) -> str:
    """A pipeline's ARN; "" if there is none of this name."""
    try:
        return sagemaker.describe_pipeline(PipelineName=name)["PipelineArn"]
    except ClientError as error:
        if not is_gone(error):
            raise
        return ""


def _priced(subject: Subject) -> bool:
    return not subject.local and subject.settings.region == "us-east-1"
