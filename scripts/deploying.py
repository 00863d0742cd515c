"""Putting a version behind an endpoint, by the function that the pipeline's step DeployEndpoint calls."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from config.parameters import INSTANCE_TYPE
from config.settings import Settings
from entrypoints import contract
from scripts import aws_errors, served, versions
from scripts.served import Hosting, Served
from scripts.versions import Version

if TYPE_CHECKING:
    import boto3

# Longer than the function's own limit (TIMEOUT_S in upsert_pipeline.py): whoever hangs up before does not
# know what it did.
ANSWER_TIMEOUT_S = 300
POLL_S = 1.0


def deploy(arguments: argparse.Namespace, settings: Settings) -> int:
    """Put a version behind the endpoint, new or not, and wait until it serves."""
    session = command.session(arguments, settings)
    command.refuse_placeholders(settings, "execution_role", "endpoint_role")
    sagemaker = session.client("sagemaker")
    name, group = command.endpoint(arguments, settings), settings.model_package_group_name
    packages = versions.of_group(sagemaker, group)
    words = ["deploy", f"--endpoint={name}", f"--version={arguments.version}", "--approve"]
    approving = command.another(arguments, "endpoints.py", *words, reads=arguments.reads)
    version = versions.to_serve(packages, group, arguments.version, "" if arguments.approve else approving)
    current = served.find_any(sagemaker, name)
    # An endpoint whose config is gone serves nobody knows what, and DeployEndpoint would update it, too.
    if current and current.model and current.group.lower() != group.lower():
        command.fail(
            f"endpoint {name} serves {current.serves}, not a version of {group}; "
            "name another one with --endpoint"
        )
    hosting = _hosting(arguments, settings, current)
    _tell(name, group, version, current, hosting)
    approve = version.status != versions.APPROVED
    if approve:
        command.console.print(f"version {version.number} is {version.status} and becomes Approved")
    if not command.confirm("Deploy it?", arguments):
        command.console.print("Nothing is changed.")
        return 1
    if approve:
        versions.set_status(sagemaker, version.arn, versions.APPROVED, "Deployed with endpoints.py")
    event = event_for(settings, version.arn, name, hosting)
    event[contract.DEPLOYMENT_CONFIG] = settings.deployment.request
    answer = put_behind(session, settings, event)
    return _conclude(session, arguments, answer, version, wait=True)


def roll_back(arguments: argparse.Namespace, settings: Settings) -> int:
    """Deploy the version that the endpoint served before, or the one that was named.

    SageMaker says which version it serves. It keeps its instances; all traffic moves at once.
    """
    session = command.session(arguments, settings)
    command.refuse_placeholders(settings, "execution_role", "endpoint_role")
    sagemaker = session.client("sagemaker")
    name, group = command.endpoint(arguments, settings), settings.model_package_group_name
    current = served.find_any(sagemaker, name)
    if current is None:
        raise served.no_endpoint(sagemaker, name, group, "there is nothing to roll back")
    if not (current.group and current.hosting):
        command.fail(
            f"endpoint {name} serves {current.serves}, which is not a version of a model package group; "
            "put another one behind it with the AWS CLI"
        )
    before = versions.served_before(sagemaker, current.endpoint_arn) if arguments.to is None else ""
    packages = versions.of_group(sagemaker, current.group)
    version = versions.to_go_back_to(packages, current, arguments.to, before)
    _tell(name, current.group, version, current, current.hosting)
    if arguments.reject:
        command.console.print(f"version {current.version} becomes Rejected, so nothing deploys it again")
    if not command.confirm("Go back?", arguments):
        command.console.print("Nothing is changed.")
        return 1
    answer = put_behind(session, settings, event_for(settings, version.arn, name, current.hosting))
    if arguments.reject:
        versions.set_status(
            sagemaker, current.package, "Rejected", f"Rolled back to version {version.number}"
        )
    return _conclude(session, arguments, answer, version, wait=arguments.wait)


def _hosting(arguments: argparse.Namespace, settings: Settings, current: Served | None) -> Hosting:
    """What the settings want; of instances those that were named, or the endpoint's, or the default ones."""
    if settings.deployment.serverless:
        if arguments.instance_type or arguments.instance_count:
            command.fail(
                "deployment.kind is serverless, which has no instances; leave --instance-type and "
                "--instance-count out, or add --set deployment.kind=realtime"
            )
        return Hosting(serverless=settings.deployment.serverless)
    own = current.hosting if current else Hosting()
    kind = arguments.instance_type or own.instance_type or command.default(settings, "EndpointInstanceType")
    count = arguments.instance_count or own.instance_count
    return Hosting(kind, count or int(command.default(settings, "EndpointInstanceCount")))


def _tell(name: str, group: str, version: Version, current: Served | None, hosting: Hosting) -> None:
    """Say what is going to happen."""
    if current is None:
        said = f"endpoint {name} is new: version {version.number} of {group} on {hosting}"
    else:
        moves = f", on {hosting}" if hosting != current.hosting else ""
        said = (
            f"endpoint {name} serves {current.serves} on {current.hosting}; "
            f"version {version.number} takes its place{moves}"
        )
        if current.hosting.serverless and not hosting.serverless:
            said += "; an endpoint on instances cannot become serverless again"
    command.console.print(said, soft_wrap=True)


def _conclude(
    session: boto3.Session,
    arguments: argparse.Namespace,
    answer: dict[str, Any],
    version: Version,
    *,
    wait: bool,
) -> int:
    """Wait for the endpoint where that is asked for, and say how to ask it."""
    name = answer[contract.ENDPOINT_NAME]
    if wait:
        look = command.another(arguments, "endpoints.py", "show", f"--endpoint={name}")
        if problem := _wait(session, name, answer[contract.ENDPOINT_CONFIG_NAME], look):
            command.output.print(problem, soft_wrap=True)
            return 1
    done = "serves" if wait else "is on its way to"
    group = version.arn.split("/")[1]
    command.output.print(f"endpoint {name} {done} version {version.number} of {group}", soft_wrap=True)
    asking = command.another(arguments, "predict.py", f"--endpoint={name}", "PICTURE")
    command.console.print(f"ask it with {asking}", soft_wrap=True)
    return 0


def put_behind(session: boto3.Session, settings: Settings, event: dict[str, Any]) -> dict[str, Any]:
    """Invoke the deploying function, and return its answer; contract.py has both.

    Raises:
        Failure: there is no such function, or it refused; the message is the function's own.
        ClientError: AWS refused.
    """
    from botocore.config import Config  # as slow to import as boto3

    # Once: the function answers the same a second time, but a second one beside the first would collide.
    config = Config(read_timeout=ANSWER_TIMEOUT_S, retries={"total_max_attempts": 1})
    try:
        with command.status(f"deploying to endpoint {event[contract.ENDPOINT_NAME]}"):
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
    if answer.get("FunctionError"):
        kind, said = content.get("errorType", "error"), content.get("errorMessage", "it does not say why")
        # The function's own refusals say what to do; anything else is named with its kind.
        command.fail(said if kind == "DeployError" else f"{settings.function_name} failed: {kind}: {said}")
    if not content[contract.DEPLOYED]:
        command.fail(f"nothing is deployed: {content[contract.REASON]}")
    return content


def event_for(settings: Settings, package: str, endpoint: str, hosting: Hosting) -> dict[str, Any]:
    """The event that puts a model package behind an endpoint."""
    return {
        contract.MODEL_PACKAGE_ARN: package,
        contract.ENDPOINT_NAME: endpoint,
        contract.ENDPOINT_INSTANCE_TYPE: hosting.instance_type,
        contract.ENDPOINT_INSTANCE_COUNT: hosting.instance_count,
        contract.SERVERLESS_CONFIG: dict(hosting.serverless),
        contract.EXECUTION_ROLE: settings.role("endpoint"),
    }


def _wait(session: boto3.Session, endpoint: str, config: str, look: str) -> str:
    """Wait until the endpoint serves the config; why it never will, or an empty string.

    Args:
        look: the command that looks at it again, for those who wait no longer.

    Raises:
        KeyboardInterrupt: interrupted; the message says that the deployment goes on.
    """
    from scripts.execution import wait_for_endpoint

    try:
        return wait_for_endpoint(session, endpoint, config, POLL_S)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the deployment goes on without this command; look with {look}") from None


def instance_type(text: str) -> str:
    """An option's instance type, as argparse takes it."""
    if not INSTANCE_TYPE.admits(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {INSTANCE_TYPE}")
    return text


def count(text: str) -> int:
    """An option's number of things, as argparse takes it."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)
