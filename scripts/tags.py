"""The tags that upserting puts on what it creates. Tags from others stay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

import scripts.command as command
from scripts import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_sagemaker.client import SageMakerClient

Tags = Mapping[str, str]


def upserted_before(definition: str | None) -> dict[str, str]:
    """The tags that an earlier upsert added: the live definition has them at every job.

    So they can be told from others' tags (a cost-allocation tool's, CloudFormation's, the answer that
    debugger.py keeps). The definition changes last, so that the next upsert repairs an interrupted one.
    """
    steps = json.loads(definition)["Steps"] if definition else []
    jobs = [step["Arguments"] for step in steps if step["Type"] in {"Processing", "Tuning", "Training"}]
    tags = [tag for job in jobs for tag in job.get("Tags", [])]
    return {tag["Key"]: tag["Value"] for tag in tags}


def update_sagemaker(client: SageMakerClient, arn: str, wanted: Tags, before: Tags) -> bool:
    """Give a SageMaker resource the wanted tags in place of those from the previous upsert.

    Returns:
        whether anything changed.

    Raises:
        ClientError: AWS refused. If the settings' tags have not changed, a missing permission is accepted.
    """

    def live() -> Tags:
        pages = client.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    added, removed = _changes(live, wanted, before)
    if added:
        client.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in added.items()])
    if removed:
        client.delete_tags(ResourceArn=arn, TagKeys=removed)
    return bool(added or removed)


def update_function(client: LambdaClient, arn: str, wanted: Tags, before: Tags) -> bool:
    """The same for a Lambda function."""
    added, removed = _changes(lambda: client.list_tags(Resource=arn)["Tags"], wanted, before)
    if added:
        client.tag_resource(Resource=arn, Tags=added)
    if removed:
        client.untag_resource(Resource=arn, TagKeys=removed)
    return bool(added or removed)


def _changes(read: Callable[[], Tags], wanted: Tags, before: Tags) -> tuple[dict[str, str], list[str]]:
    """The tags to add, and the keys to remove: those of the previous upsert, unless somebody changed the
    value."""
    if not wanted and not before:
        return {}, []
    try:
        live = read()
    except ClientError as error:
        if not aws_errors.is_denied(error) or wanted != before:
            raise
        command.console.print(f"tags are not checked: {aws_errors.explain(error)}", soft_wrap=True)
        return {}, []
    added = {key: value for key, value in wanted.items() if live.get(key) != value}
    removed = [key for key, value in before.items() if key not in wanted and live.get(key) == value]
    return added, removed
