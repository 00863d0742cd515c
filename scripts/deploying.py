"""Putting a version behind an endpoint, by the deploying function that the pipeline's DeployEndpoint calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

import scripts.command as command
from config.settings import Settings
from entrypoints import contract
from scripts import aws_errors
from scripts.execution import wait_for_endpoint

if TYPE_CHECKING:
    import boto3

# Longer than the function's own limit (TIMEOUT_S in upsert_pipeline.py): whoever hangs up before does not
# know what it did.
ANSWER_TIMEOUT_S = 300
POLL_S = 1.0


def put_behind(session: boto3.Session, settings: Settings, event: dict[str, Any]) -> dict[str, Any]:
    """Invoke the deploying function, and return its answer; contract.py has both.

    Raises:
        Failure: there is no such function, or it refused; the message is the function's own.
        ClientError: AWS refused.
    """
    # Once: the function answers the same a second time, but a second one beside the first would collide.
    config = Config(read_timeout=ANSWER_TIMEOUT_S, retries={"total_max_attempts": 1})
    try:
        answer = session.client("lambda", config=config).invoke(
            FunctionName=settings.function_name, Payload=json.dumps(event).encode()
        )
    except ClientError as error:
        if aws_errors.is_missing(error):
            command.fail(
                f"there is no function {settings.function_name} in {settings.region}, which deploys; "
                "create it with python scripts/upsert_pipeline.py"
            )
        raise
    content: dict[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        kind, said = content.get("errorType", "error"), content.get("errorMessage", "it does not say why")
        # The function's own refusals say what to do; anything else is named with its kind.
        command.fail(said if kind == "DeployError" else f"{settings.function_name} failed: {kind}: {said}")
    if not content[contract.DEPLOYED]:
        command.fail(f"nothing is deployed: {content[contract.REASON]}")
    return content


def event_for(
    settings: Settings, package: str, endpoint: str, instance_type: str, instance_count: int
) -> dict[str, Any]:
    """The event that puts a model package behind an endpoint."""
    return {
        contract.MODEL_PACKAGE_ARN: package,
        contract.ENDPOINT_NAME: endpoint,
        contract.ENDPOINT_INSTANCE_TYPE: instance_type,
        contract.ENDPOINT_INSTANCE_COUNT: instance_count,
        contract.EXECUTION_ROLE: settings.execution_role,
    }


def wait(session: boto3.Session, endpoint: str, config: str, ways: str) -> str:
    """Wait until the endpoint serves the config; why it never will, or an empty string.

    Args:
        ways: the command that looks at it again, for those who wait no longer.

    Raises:
        KeyboardInterrupt: interrupted; the message says that the deployment goes on.
    """
    try:
        return wait_for_endpoint(session, endpoint, config, POLL_S)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the deployment goes on without this command; look with {ways}") from None
