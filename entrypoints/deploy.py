"""The Lambda function that deploys a registered model package to an endpoint, and finds the champion.

It returns at once: creating an endpoint takes minutes. Names derive from the package's ARN, the model's role
and the instances, so a second run finds the same resources, and a change of the role takes effect. A tag of
the endpoint records the endpoint config that an update replaces, so that a second run still knows it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from entrypoints.contract import (
    DEPLOYED,
    DEPLOYMENT_CONFIG,
    ENDPOINT_CONFIG_NAME,
    ENDPOINT_INSTANCE_COUNT,
    ENDPOINT_INSTANCE_TYPE,
    ENDPOINT_NAME,
    EXECUTION_ROLE,
    MODEL_NAME,
    MODEL_PACKAGE_ARN,
    NO_CHAMPION_URL,
    NONE,
    PREVIOUS_ENDPOINT_CONFIG_NAME,
    REASON,
    SERVERLESS_CONFIG,
)

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

MAX_NAME = 63
VARIANT = "AllTraffic"
# To stay within the function's time limit (TIMEOUT_S in scripts/upsert_pipeline.py): at most one deletion,
# and three requests that name new resources.
DELETION_TIMEOUT_S = 90.0
VISIBLE_TIMEOUT_S = 30.0
POLL_S = 3.0
PREVIOUS_TAG = "previous-endpoint-config"

BUSY = {"Creating", "Updating", "SystemUpdating", "RollingBack"}
UPDATABLE = {"InService", "OutOfService"}


class DeployError(RuntimeError):
    """Why the endpoint cannot be deployed now, and what to do."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Deploy the event's package, or find the champion; contract.py has both events.

    Raises:
        KeyError: the event lacks a key.
        DeployError: the endpoint is in a state that does not allow it; the message says what to do.
    """
    del context
    sagemaker = boto3.client("sagemaker")
    if NO_CHAMPION_URL in event:
        from entrypoints.champion import find  # it uses functions from here

        return find(sagemaker, boto3.client("s3"), event)
    return deploy(sagemaker, event)


def deploy(sagemaker: SageMakerClient, event: dict[str, Any]) -> dict[str, Any]:
    """Create or update the endpoint if the package is approved; see `handler`."""
    package, endpoint = event[MODEL_PACKAGE_ARN], event[ENDPOINT_NAME]
    # Executions of older definitions have none.
    deployment_config = event.get(DEPLOYMENT_CONFIG, {})
    hosting = hosting_of(event)
    status = sagemaker.describe_model_package(ModelPackageName=package)["ModelApprovalStatus"]
    if status != "Approved":
        return {
            DEPLOYED: False,
            REASON: f"the model package is {status}, not Approved: {package}",
            ENDPOINT_NAME: NONE,
            ENDPOINT_CONFIG_NAME: NONE,
            PREVIOUS_ENDPOINT_CONFIG_NAME: NONE,
            MODEL_NAME: NONE,
        }
    check_instances(deployment_config, hosting)
    role = event[EXECUTION_ROLE]
    model = name_for(package, package, role)
    config = name_for(package, package, role, *identity(hosting))
    current = wait_until_settled(sagemaker, endpoint, config)
    check_conversion(current, hosting)
    ensure_model(sagemaker, model, package, role)
    ensure_config(sagemaker, config, model, hosting)
    previous = note_previous(sagemaker, current, config, hosting)
    reason = bring_up(sagemaker, endpoint, config, current, deployment_config)
    return {
        DEPLOYED: True,
        REASON: reason,
        ENDPOINT_NAME: endpoint,
        ENDPOINT_CONFIG_NAME: config,
        PREVIOUS_ENDPOINT_CONFIG_NAME: previous or NONE,
        MODEL_NAME: model,
    }


def hosting_of(event: dict[str, Any]) -> dict[str, Any]:
    """The production variant's part that says on what it runs: instances, or a ServerlessConfig."""
    if serverless := event.get(SERVERLESS_CONFIG):
        return {"ServerlessConfig": serverless}
    return {
        "InstanceType": event[ENDPOINT_INSTANCE_TYPE],
        "InitialInstanceCount": int(event[ENDPOINT_INSTANCE_COUNT]),
    }


def identity(hosting: dict[str, Any]) -> list[str]:
    """What tells an endpoint config of a package from another one of the same package."""
    if serverless := hosting.get("ServerlessConfig"):
        return [f"{key}={serverless[key]}" for key in sorted(serverless)]
    return [hosting["InstanceType"], str(hosting["InitialInstanceCount"])]


def check_instances(deployment_config: dict[str, Any], hosting: dict[str, Any]) -> None:
    """Refuse to shift one instance's traffic in steps: a step is at most half of the instances."""
    routing = deployment_config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    instance_count = hosting.get("InitialInstanceCount", 0)
    if routing.get("Type", "ALL_AT_ONCE") != "ALL_AT_ONCE" and instance_count < 2:
        raise DeployError(
            f"{routing['Type']} shifts the traffic of 2 instances or more, and EndpointInstanceCount is "
            f"{instance_count}; raise it, or set deployment.traffic_routing to ALL_AT_ONCE"
        )


def check_conversion(current: dict[str, Any] | None, hosting: dict[str, Any]) -> None:
    """Refuse to make an endpoint on instances serverless.

    "You cannot convert your instance-based, real-time endpoint to a serverless endpoint" (developer guide,
    "Deploy models with Amazon SageMaker Serverless Inference"). A failed one is made anew.
    """
    if current is None or current["EndpointStatus"] == "Failed":
        return
    if "ServerlessConfig" in hosting and not is_serverless(current):
        raise DeployError(
            f"endpoint {current['EndpointName']} runs on instances, and SageMaker makes no such endpoint "
            "serverless; delete it with python scripts/endpoints.py delete, or use another EndpointName"
        )


def is_serverless(endpoint: dict[str, Any]) -> bool:
    """Whether an endpoint is serverless, as DescribeEndpoint says it."""
    return any(variant.get("CurrentServerlessConfig") for variant in endpoint.get("ProductionVariants", []))


def name_for(package: str, *identity: str) -> str:
    """A resource's name: the package's group and version, and a digest that makes it unique."""
    group, _, version = package.rpartition("/")
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:8]
    tail = f"-{version}-{digest}"
    readable = re.sub("[^A-Za-z0-9]+", "-", group.rpartition("/")[2]).strip("-")
    return readable[: MAX_NAME - len(tail)].rstrip("-") + tail


def wait_until_settled(sagemaker: SageMakerClient, endpoint: str, config: str) -> dict[str, Any] | None:
    """The endpoint before any change; None if there is none.

    Waits for a running deletion. Raises DeployError if the endpoint must not be changed now, unless an
    earlier, interrupted run already started the update to the wanted config.
    """
    current = describe_endpoint(sagemaker, endpoint)
    if current is not None and current["EndpointStatus"] == "Deleting":
        wait_until_deleted(sagemaker, endpoint)
        return None
    status = None if current is None else current["EndpointStatus"]
    if current is not None and status in BUSY and (status == "RollingBack" or target(current) != config):
        raise DeployError(f"endpoint {endpoint} is {status}; try again when it is InService")
    if status == "Failed" and current is not None and has_instances(current):
        raise DeployError(
            f"endpoint {endpoint} failed in an update and still has instances, which may be answering "
            f"({current.get('FailureReason', 'no reason given')}); delete it, then run this step again"
        )
    if status not in {None, "Failed", *BUSY, *UPDATABLE}:
        raise DeployError(f"endpoint {endpoint} is {status}; delete it or bring it to InService, then retry")
    return current


def target(endpoint: dict[str, Any]) -> str:
    """The endpoint config that an endpoint has or is changing to."""
    pending: dict[str, Any] = endpoint.get("PendingDeploymentSummary", endpoint)
    return str(pending["EndpointConfigName"])


def note_previous(
    sagemaker: SageMakerClient, current: dict[str, Any] | None, config: str, hosting: dict[str, Any]
) -> str:
    """The endpoint config before `config`, kept as a tag of the endpoint; "" for none that can come back.

    An endpoint that was serverless and gets instances cannot go back (see `check_conversion`).
    """
    if current is None or current["EndpointStatus"] == "Failed":
        return ""
    if is_serverless(current) and "ServerlessConfig" not in hosting:
        return ""
    arn, served = current["EndpointArn"], str(current["EndpointConfigName"])
    if served != config:
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": PREVIOUS_TAG, "Value": served}])
        return served
    noted = noted_previous(sagemaker, arn)
    return "" if noted == config else noted


def noted_previous(sagemaker: SageMakerClient, endpoint_arn: str) -> str:
    """The endpoint config that `note_previous` noted last; "" for none."""
    tags = sagemaker.list_tags(ResourceArn=endpoint_arn)["Tags"]
    return next((tag["Value"] for tag in tags if tag["Key"] == PREVIOUS_TAG), "")


def bring_up(
    sagemaker: SageMakerClient,
    endpoint: str,
    config: str,
    current: dict[str, Any] | None,
    deployment_config: dict[str, Any],
) -> str:
    """Make the endpoint use a config; return what was done, in words."""
    if current is not None and current["EndpointStatus"] == "Failed":
        # SageMaker allows only DeleteEndpoint on a failed endpoint (API reference, DescribeEndpoint).
        sagemaker.delete_endpoint(EndpointName=endpoint)
        wait_until_deleted(sagemaker, endpoint)
        current = None
    if current is None:
        once_visible(lambda: sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config))
        return "created the endpoint"
    if current["EndpointStatus"] in BUSY:
        return f"the endpoint is {current['EndpointStatus']} already, to this model package"
    if current["EndpointConfigName"] == config and current["EndpointStatus"] == "InService":
        return "the endpoint already runs this model package"
    more: Any = {"DeploymentConfig": deployment_config} if deployment_config else {}
    once_visible(lambda: sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config, **more))
    return "updated the endpoint"


def ensure_model(sagemaker: SageMakerClient, name: str, package: str, role: str) -> None:
    """Create the model unless it exists."""
    try:
        sagemaker.describe_model(ModelName=name)
    except ClientError as error:
        if not is_missing(error):
            raise
        once_visible(
            lambda: sagemaker.create_model(
                ModelName=name, ExecutionRoleArn=role, Containers=[{"ModelPackageName": package}]
            )
        )


def ensure_config(sagemaker: SageMakerClient, name: str, model: str, hosting: dict[str, Any]) -> None:
    """Create the endpoint config unless it exists."""
    try:
        sagemaker.describe_endpoint_config(EndpointConfigName=name)
    except ClientError as error:
        if not is_missing(error):
            raise
        variant: Any = {
            "VariantName": VARIANT,
            "ModelName": model,
            **hosting,
            "InitialVariantWeight": 1.0,
        }
        once_visible(
            lambda: sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        )


def once_visible(request: Callable[[], object]) -> None:
    """Make a request that names a new resource, and retry until SageMaker finds it.

    Its reads are eventually consistent, "so retry logic is recommended" (API reference, CreateEndpoint), and
    a Lambda step does not retry.
    """
    deadline = time.monotonic() + VISIBLE_TIMEOUT_S
    while True:
        try:
            request()
        except ClientError as error:
            if not is_missing(error) or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(POLL_S)


def describe_endpoint(sagemaker: SageMakerClient, endpoint: str) -> dict[str, Any] | None:
    try:
        return dict(sagemaker.describe_endpoint(EndpointName=endpoint))
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def wait_until_deleted(sagemaker: SageMakerClient, endpoint: str) -> None:
    deadline = time.monotonic() + DELETION_TIMEOUT_S
    while describe_endpoint(sagemaker, endpoint) is not None:
        if time.monotonic() > deadline:
            raise DeployError(f"endpoint {endpoint} is still being deleted; try again in a few minutes")
        time.sleep(POLL_S)


def has_instances(endpoint: dict[str, Any]) -> bool:
    """Whether a failed endpoint still has running instances; not if its creation failed."""
    return any(variant.get("CurrentInstanceCount", 0) for variant in endpoint.get("ProductionVariants", []))


def is_missing(error: ClientError) -> bool:
    """SageMaker has no specific error code for an unknown name."""
    detail = error.response["Error"]
    return detail["Code"] == "ValidationException" and "could not find" in detail["Message"].lower()
