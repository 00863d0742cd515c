"""The versions of the model: packages of the model package group, and which of them to serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from entrypoints.contract import ACCURACY
from scripts import aws_errors
from scripts.served import Served, behind

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

APPROVED = "Approved"


@dataclass(frozen=True)
class Version:
    """A model package of the group."""

    number: int
    arn: str
    status: str  # its ModelApprovalStatus


def of_group(sagemaker: SageMakerClient, group: str) -> dict[int, Version]:
    """The versions of a group by number; empty for a group that does not exist.

    Raises:
        ClientError: SageMaker refused.
    """
    try:
        pages = list(sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group))
    except ClientError as error:
        if aws_errors.is_missing(error):
            return {}
        raise
    found = [item for page in pages for item in page["ModelPackageSummaryList"]]
    return {
        item["ModelPackageVersion"]: Version(
            item["ModelPackageVersion"], item["ModelPackageArn"], item["ModelApprovalStatus"]
        )
        for item in found
        if "ModelPackageVersion" in item
    }


def accuracy(sagemaker: SageMakerClient, package: str) -> str:
    """A version's accuracy on the test pictures, as RegisterModel wrote it down; "" if it did not.

    Raises:
        ClientError: SageMaker refused.
    """
    try:
        described = sagemaker.describe_model_package(ModelPackageName=package)
    except ClientError as error:
        if aws_errors.is_missing(error):  # an endpoint outlives its package
            return ""
        raise
    return described.get("CustomerMetadataProperties", {}).get(f"test_{ACCURACY}", "")


def to_serve(versions: dict[int, Version], group: str, wanted: int | None, approving: str | None) -> Version:
    """The version to serve: `wanted`, else the newest that is Approved.

    Args:
        approving: the command that approves the version that was named, too; "" if it was that command.

    Raises:
        Failure: there is no such version, or it is not Approved.
    """
    known = ", ".join(f"{item.number} ({item.status})" for _, item in sorted(versions.items()))
    if wanted is None:
        numbers = [number for number, version in versions.items() if version.status == APPROVED]
        if not numbers:
            there = f"there are {known}: name one with --version" if versions else "run the pipeline first"
            command.fail(f"{group} has no Approved version; {there}")
        return versions[max(numbers)]
    if wanted not in versions:
        there = f"there are {known}" if versions else "there is none; run the pipeline first"
        command.fail(f"{group} has no version {wanted}; {there}")
    found = versions[wanted]
    if approving and found.status != APPROVED:
        command.fail(
            f"version {wanted} of {group} is {found.status}, and only Approved ones are deployed; "
            f"approve and deploy it with {approving}"
        )
    return found


def to_go_back_to(
    versions: dict[int, Version], current: Served, wanted: int | None, before: str = ""
) -> Version:
    """The version to return to: `wanted`, else `before`, else the newest before the current one.

    `before` is the ARN of the version served before; VerifyEndpoint may have rolled back a version between it
    and the current. All must be approved.

    Raises:
        Failure: there is no such version, or it is already served.
    """
    approved = {number: version for number, version in versions.items() if version.status == APPROVED}
    if wanted == current.version:
        command.fail(
            f"version {wanted} of {current.group} is what the endpoint serves; name another with --to"
        )
    known = ", ".join(map(str, sorted(approved))) or "none"
    if wanted is not None:
        if wanted not in approved:
            command.fail(f"{current.group} has no approved version {wanted}; approved are {known}")
        return approved[wanted]
    older = [number for number in approved if number < current.version]
    if not older:
        command.fail(
            f"{current.group} has no approved version before {current.version}, which the endpoint serves; "
            f"approved are {known}: name one with --to"
        )
    same = [number for number in older if approved[number].arn == before]
    return approved[same[0] if same else max(older)]


def served_before(sagemaker: SageMakerClient, endpoint_arn: str) -> str:
    """The ARN of the model package that the last deployment of another one replaced; "" if unknown."""
    from entrypoints.deploy import noted_previous  # imports boto3, which --help does not need

    config = noted_previous(sagemaker, endpoint_arn)
    try:
        return behind(sagemaker, config)[1] if config else ""
    except ClientError as error:
        if aws_errors.is_missing(error):  # deleted meanwhile
            return ""
        raise


def set_status(sagemaker: SageMakerClient, package: str, status: Any, why: str) -> None:
    """Give a package another ModelApprovalStatus."""
    sagemaker.update_model_package(
        ModelPackageArn=package, ModelApprovalStatus=status, ApprovalDescription=why
    )
