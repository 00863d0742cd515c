"""The EventBridge Scheduler schedules that start the pipeline, whoever created them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from scripts import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_scheduler.client import EventBridgeSchedulerClient

MAX_LISTED = 1000  # an account's schedules; ten requests, 1 to 2 s


def outdated(
    scheduler: EventBridgeSchedulerClient,
    pipeline_arn: str,
    definition: str,
    which: str = "the new definition",
) -> list[str]:
    """A line for each schedule of the pipeline that names a parameter which the definition lacks.

    StartPipelineExecution refuses such a parameter, so that schedule no longer starts anything. What could
    not be checked also gets a line.

    Args:
        which: what the lines call the definition.

    Raises:
        ClientError: AWS refused, and not because a permission is missing.
    """
    known = {parameter["Name"] for parameter in json.loads(definition).get("Parameters", [])}
    lines = []
    try:
        listed = (
            scheduler.get_paginator("list_schedules")
            .paginate(PaginationConfig={"MaxItems": MAX_LISTED, "PageSize": 100})
            .build_full_result()
        )
        for summary in listed["Schedules"]:
            if summary["Target"]["Arn"] != pipeline_arn:
                continue
            name, group = summary["Name"], summary["GroupName"]
            try:
                schedule = scheduler.get_schedule(Name=name, GroupName=group)
            except scheduler.exceptions.ResourceNotFoundException:  # deleted meanwhile
                continue
            named = [entry["Name"] for entry in pipeline_parameters(schedule["Target"])]
            if unknown := [parameter for parameter in named if parameter not in known]:
                lines.append(
                    f"schedule {name} names {', '.join(unknown)}, which {which} lacks, and will "
                    "start nothing; delete it and create it again without: aws scheduler get-schedule "
                    f"--name {name} --group-name {group} shows what it holds"
                )
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        return [*lines, f"the schedules' parameters are not checked: {aws_errors.explain(error)}"]
    if "NextToken" in listed:
        lines.append(f"of the account's schedules only {MAX_LISTED} were checked")
    return lines


def pipeline_parameters(target: Mapping[str, Any]) -> list[dict[str, str]]:
    """The execution parameters that a schedule's target gives, each {"Name", "Value"}."""
    found: list[dict[str, str]] = target.get("SageMakerPipelineParameters", {}).get(
        "PipelineParameterList", []
    )
    return found
