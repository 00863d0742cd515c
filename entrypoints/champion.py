"""Find the champion: the model that an endpoint serves, or else the newest approved one.

Part of the deploying Lambda function (deploy.py), whose role may read both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from entrypoints.contract import (
    CHAMPION,
    CHAMPION_URL,
    ENDPOINT_NAME,
    MODEL_PACKAGE_GROUP_NAME,
    NO_CHAMPION_URL,
    NONE,
    REASON,
)
from entrypoints.deploy import describe_endpoint, is_missing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

MAX_REASON = 256  # botocore's service model, ContainerArgument: it becomes an argument of EvaluateModel
# States in which an endpoint does not answer.
NOT_SERVING = {"Creating", "Failed", "OutOfService", "Deleting"}


class NoChampionError(Exception):
    """Why there is nothing to compare with, in words."""


def find(sagemaker: SageMakerClient, s3: S3Client, event: dict[str, Any]) -> dict[str, str]:
    """The champion's name and artifact; contract.py has the keys of event and answer."""
    try:
        name, container, reason = champion(sagemaker, event[ENDPOINT_NAME], event[MODEL_PACKAGE_GROUP_NAME])
        url = artifact(container)
        if not url or not exists(s3, url):
            raise NoChampionError(f"the artifact of {name}, {reason}, is gone: {url or 'it has no URL'}")
    except NoChampionError as problem:
        reason = str(problem)[:MAX_REASON]
        return {CHAMPION: NONE, CHAMPION_URL: event[NO_CHAMPION_URL], REASON: reason}
    return {CHAMPION: name, CHAMPION_URL: url, REASON: reason}


def champion(sagemaker: SageMakerClient, endpoint: str, group: str) -> tuple[str, Any, str]:
    """The champion's name, its container, and why it is the champion.

    Raises:
        NoChampionError: there is none.
    """
    current = describe_endpoint(sagemaker, endpoint)
    if current is not None and current["EndpointStatus"] not in NOT_SERVING:
        return serving(sagemaker, endpoint, current["EndpointConfigName"])
    approved = sagemaker.list_model_packages(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=1,
    )["ModelPackageSummaryList"]
    if not approved:
        raise NoChampionError(f"endpoint {endpoint} serves nothing, and {group} has no approved version")
    name, container = of_package(sagemaker, approved[0]["ModelPackageArn"])
    return name, container, "the newest approved version"


def serving(sagemaker: SageMakerClient, endpoint: str, config: str) -> tuple[str, Any, str]:
    """`champion` for an endpoint that answers: the model with most of its traffic.

    Raises:
        NoChampionError: the resources that it was made from are deleted.
    """
    try:
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
        model = max(variants, key=lambda variant: variant.get("InitialVariantWeight", 1.0))["ModelName"]
        answer = sagemaker.describe_model(ModelName=model)
        container: Any = answer.get("PrimaryContainer") or answer["Containers"][0]
        if "ModelPackageName" in container:
            model, container = of_package(sagemaker, container["ModelPackageName"])
    except ClientError as error:
        if not is_missing(error):
            raise
        raise NoChampionError(
            f"what endpoint {endpoint} serves is gone: {error.response['Error']['Message']}"
        ) from None
    return model, container, f"which endpoint {endpoint} serves"


def of_package(sagemaker: SageMakerClient, arn: str) -> tuple[str, Any]:
    """A model package's name, such as flowers/7, and its container."""
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    name = package["ModelPackageArn"].partition(":model-package/")[2]
    return name, package["InferenceSpecification"]["Containers"][0]


def artifact(container: dict[str, Any]) -> str:
    """The S3 URI of a container's artifact, or ""."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    return str(container.get("ModelDataUrl") or source.get("S3Uri", ""))


def exists(s3: S3Client, url: str) -> bool:
    """Whether the object exists.

    HeadObject reports a missing object only with an unconditional s3:ListBucket (API reference).
    """
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            return False
        raise
    return [item["Key"] for item in listed.get("Contents", [])] == [key]
