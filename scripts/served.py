"""What endpoints serve: which versions of the model, on what, since when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from scripts import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient


@dataclass(frozen=True)
class Hosting:
    """On what an endpoint runs: instances, or a ServerlessConfig. False where nobody knows."""

    instance_type: str = ""
    instance_count: int = 0
    serverless: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __bool__(self) -> bool:
        return bool(self.instance_type or self.serverless)

    def __str__(self) -> str:
        if self.serverless:
            memory, at_once = self.serverless["MemorySizeInMB"], self.serverless["MaxConcurrency"]
            return f"serverless, {memory} MB, at most {at_once} requests at once"
        return f"{self.instance_count} {self.instance_type}" if self else "unknown instances"


@dataclass(frozen=True)
class Served:
    """What an endpoint serves, or served when it failed: a model package, and on what."""

    endpoint: str
    endpoint_arn: str
    status: str
    reason: str  # why it failed, or went back; "" for none
    since: datetime  # its last change
    config: str
    model: str  # "" if the endpoint config is gone
    package: str  # its ARN; "" for a model without one
    hosting: Hosting

    @property
    def group(self) -> str:
        """The model package group, as the ARN has it; "" for none."""
        # arn:aws:sagemaker:REGION:ACCOUNT:model-package/GROUP/VERSION
        parts = self.package.split("/")
        return parts[1] if len(parts) == 3 and parts[2].isdecimal() else ""

    @property
    def version(self) -> int:
        """The version of the group; only where there is a group."""
        return int(self.package.rpartition("/")[2])

    @property
    def serves(self) -> str:
        """What it serves, in words."""
        if self.group:
            return f"version {self.version} of {self.group}"
        return f"model {self.model}, of no version" if self.model else "what nobody knows"


def names(sagemaker: SageMakerClient) -> list[str]:
    """All endpoints of the account and region, in the order of their names."""
    pages = sagemaker.get_paginator("list_endpoints").paginate(SortBy="Name", SortOrder="Ascending")
    return [item["EndpointName"] for page in pages for item in page["Endpoints"]]


def find(sagemaker: SageMakerClient, endpoint: str) -> Served:
    """What an endpoint serves.

    Raises:
        ClientError: there is no such endpoint, or SageMaker refused.
    """
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    config = described["EndpointConfigName"]
    try:
        variant, package = behind(sagemaker, config)
    except ClientError as error:
        if not aws_errors.is_missing(error):  # an endpoint outlives its config and its model
            raise
        variant, package = {}, ""
    return Served(
        endpoint=endpoint,
        endpoint_arn=described["EndpointArn"],
        status=described["EndpointStatus"],
        reason=described.get("FailureReason", ""),
        since=described["LastModifiedTime"],
        config=config,
        model=variant.get("ModelName", ""),
        package=package,
        hosting=Hosting(
            variant.get("InstanceType", ""),
            variant.get("InitialInstanceCount", 0),
            dict(variant.get("ServerlessConfig", {})),
        ),
    )


def find_any(sagemaker: SageMakerClient, endpoint: str) -> Served | None:
    """The same; None if there is no such endpoint."""
    try:
        return find(sagemaker, endpoint)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise


def of_group(sagemaker: SageMakerClient, group: str, default: str) -> Iterator[Served]:
    """The endpoints that serve a model package group, and the one named `default`, whatever it serves."""
    for name in names(sagemaker):
        found = find_any(sagemaker, name)  # None: deleted meanwhile
        # ARNs may have lost the group's capitals.
        if found and (name == default or found.group.lower() == group.lower()):
            yield found


def no_endpoint(
    sagemaker: SageMakerClient,
    name: str,
    group: str,
    effect: str,
    remedy: str = "name another one with --endpoint",
) -> command.Failure:
    """The refusal of a name that no endpoint has; it names the endpoints that there are.

    Args:
        effect: what therefore does not happen, as in "nothing is deleted".
    """
    there = [found.endpoint for found in of_group(sagemaker, group, name)]
    known = f"endpoints of {group} are {', '.join(there)}" if there else f"no endpoint serves {group}"
    region = sagemaker.meta.region_name
    return command.Failure(f"there is no endpoint {name} in {region}, and {effect}; {known}: {remedy}")


def behind(sagemaker: SageMakerClient, config: str) -> tuple[dict[str, Any], str]:
    """The first production variant of an endpoint config, and the ARN of its model package ("" for none).

    Raises:
        ClientError: the config or its model is not there, or SageMaker refused.
    """
    variant: Any = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
    if "ModelName" not in variant:  # an endpoint of inference components
        return variant, ""
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    container: Any = model.get("PrimaryContainer") or model["Containers"][0]
    return variant, container.get("ModelPackageName", "")
