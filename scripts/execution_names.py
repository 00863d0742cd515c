"""What people call an execution: its ARN, the id at the ARN's end, or `latest`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

import scripts.command as command
from config.settings import Settings
from scripts.aws_errors import is_missing

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribePipelineExecutionResponseTypeDef

LATEST = "latest"
NAMES = f"an execution's id (12 letters and digits), its ARN, or {LATEST}"
# PipelineExecutionArn in botocore's model; ids as the service's recorded ones, such as 4pgs2cmubnq3.
_ARN = re.compile(r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:\d{12}:pipeline/[^/\s]+/execution/[^/\s]+")
_ID = re.compile(r"[a-z0-9]{12}")


def is_name(text: str) -> bool:
    """Whether a text may name an execution."""
    return text == LATEST or bool(_ID.fullmatch(text) or _ARN.fullmatch(text))


def check(named: str, option: str = "EXECUTION") -> None:
    """Refuse what cannot name an execution, before anything is asked of AWS.

    Args:
        option: where it was given.

    Raises:
        Failure: it is no id, no ARN of an execution and not `latest`.
    """
    if not is_name(named):
        command.fail(
            f"{option} is {command.shown(named)!r}; give {NAMES} (python scripts/executions.py lists them)"
        )


def find(
    sagemaker: SageMakerClient, settings: Settings, named: str, option: str = "EXECUTION"
) -> DescribePipelineExecutionResponseTypeDef:
    """DescribePipelineExecution's answer for the execution of that name.

    Raises:
        Failure: the name is wrong, there is no such execution, or no pipeline.
        ClientError: AWS refused for another reason.
    """
    check(named, option)
    arn = arn_of(sagemaker, settings, named)
    try:
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
    except ClientError as error:
        if not is_missing(error):
            raise
        raise command.Failure(
            f"{option}: there is no execution {named} of {settings.pipeline_name} in {settings.region}; "
            "python scripts/executions.py lists them"
        ) from None


def arn_of(sagemaker: SageMakerClient, settings: Settings, named: str) -> str:
    """The ARN that the name stands for; only `latest` is known to exist.

    Raises:
        Failure: there is no pipeline, or it has no execution yet.
        ClientError: AWS refused.
    """
    if named.startswith("arn:"):
        return named
    pipeline = command.live_pipeline(sagemaker, settings)
    if named != LATEST:
        return f"{pipeline['PipelineArn']}/execution/{named}"
    found = sagemaker.list_pipeline_executions(
        PipelineName=settings.pipeline_name, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )["PipelineExecutionSummaries"]
    if not found:
        command.fail(
            f"pipeline {settings.pipeline_name} has no execution yet; "
            "start one with python scripts/start_execution.py"
        )
    return found[0]["PipelineExecutionArn"]


def id_of(arn: str) -> str:
    """The last part of an execution's ARN."""
    return arn.rpartition("/")[2]
