"""Deploy the previous approved version of the model to the endpoint again.

SageMaker says which version the endpoint serves. The version that it served before, or the one named with
--to, is deployed as the pipeline's step DeployEndpoint would deploy it, on the same instances and with all
traffic at once. DeployEndpoint notes the version that it replaced in a tag of the endpoint; if that is not an
earlier approved version, the newest approved one before the current is taken.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from entrypoints import contract
from entrypoints.deploy import DeployError, deploy, noted_previous
from scripts import aws_errors
from scripts.execution import wait_for_endpoint

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

SETTINGS = ("name", "region", "execution_role", "endpoint_role")
POLL_S = 1.0


@dataclass(frozen=True)
class Served:
    """What an endpoint serves: a model package, and the instances."""

    endpoint_arn: str
    package: str  # its ARN
    instance_type: str
    instance_count: int

    @property
    def group(self) -> str:
        """The model package group, as the ARN has it."""
        return self.package.split("/")[1]

    @property
    def version(self) -> int:
        return int(self.package.rpartition("/")[2])


def served(sagemaker: SageMakerClient, endpoint: str) -> Served:
    """What the endpoint serves now, or what it served when it failed.

    Raises:
        Failure: its model is not a version of a model package group.
        ClientError: there is no such endpoint, or SageMaker refused.
    """
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    variant, package = behind(sagemaker, described["EndpointConfigName"])
    # arn:aws:sagemaker:REGION:ACCOUNT:model-package/GROUP/VERSION
    if not package.rpartition("/")[2].isdecimal():
        command.fail(
            f"endpoint {endpoint} serves {variant['ModelName']}, which is not a version of a model package "
            "group; put another one behind it with the AWS CLI"
        )
    if "InstanceType" not in variant:
        command.fail(f"endpoint {endpoint} is serverless; put another version behind it with the AWS CLI")
    instances = variant["InstanceType"], variant["InitialInstanceCount"]
    return Served(described["EndpointArn"], package, *instances)


def served_before(sagemaker: SageMakerClient, endpoint_arn: str) -> str:
    """The ARN of the model package that the last deployment of another one replaced; "" if unknown."""
    config = noted_previous(sagemaker, endpoint_arn)
    try:
        return behind(sagemaker, config)[1] if config else ""
    except ClientError as error:
        if aws_errors.is_missing(error):  # deleted meanwhile
            return ""
        raise


def behind(sagemaker: SageMakerClient, config: str) -> tuple[Any, str]:
    """The production variant of an endpoint config, and the ARN of its model package ("" for none).

    Raises:
        ClientError: the config or its model does not exist, or SageMaker refused.
    """
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    container: Any = model.get("PrimaryContainer") or model["Containers"][0]
    return variant, container.get("ModelPackageName", "")


def approved(sagemaker: SageMakerClient, group: str) -> dict[int, str]:
    """The ARNs of a group's approved packages, by version."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved"
    )
    return {
        item["ModelPackageVersion"]: item["ModelPackageArn"]
        for page in pages
        for item in page["ModelPackageSummaryList"]
    }


def choose(packages: dict[int, str], current: Served, wanted: int | None, before: str = "") -> str:
    """The ARN of the version to return to: `wanted`, else `before`, else the newest before the current.

    `before` is the ARN of the version served before; VerifyEndpoint may have rolled back a version between it
    and the current. All must be approved.

    Raises:
        Failure: there is no such version, or it is already served.
    """
    if wanted == current.version:
        command.fail(
            f"version {wanted} of {current.group} is what the endpoint serves; name another with --to"
        )
    known = ", ".join(map(str, sorted(packages))) or "none"
    if wanted is not None:
        if wanted not in packages:
            command.fail(f"{current.group} has no approved version {wanted}; approved are {known}")
        return packages[wanted]
    older = [version for version in packages if version < current.version]
    if not older:
        command.fail(
            f"{current.group} has no approved version before {current.version}, which the endpoint serves; "
            f"approved are {known}: name one with --to"
        )
    return next((packages[version] for version in older if packages[version] == before), packages[max(older)])


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    name = command.endpoint(arguments, settings)
    session = command.session(arguments, settings)
    command.refuse_placeholders(settings, "execution_role", "endpoint_role")
    sagemaker = session.client("sagemaker")
    try:
        current = served(sagemaker, name)
    except ClientError as error:
        if aws_errors.is_missing(error):
            command.fail(
                f"there is no endpoint {name} in {settings.region} to roll back; "
                "name another one with --endpoint"
            )
        raise
    packages = approved(sagemaker, current.group)
    before = served_before(sagemaker, current.endpoint_arn) if arguments.to is None else ""
    package = choose(packages, current, arguments.to, before)
    say, version = command.console.print, package.rpartition("/")[2]
    say(
        f"endpoint {name} serves version {current.version} of {current.group} on {current.instance_count} "
        f"{current.instance_type}; version {version} takes its place",
        soft_wrap=True,
    )
    if arguments.reject:
        say(f"version {current.version} becomes Rejected, so nothing deploys it again", soft_wrap=True)
    if not command.confirm("Go back?", arguments):
        say("Nothing is changed.")
        return 1
    event = {
        contract.MODEL_PACKAGE_ARN: package,
        contract.ENDPOINT_NAME: name,
        contract.ENDPOINT_INSTANCE_TYPE: current.instance_type,
        contract.ENDPOINT_INSTANCE_COUNT: current.instance_count,
        contract.EXECUTION_ROLE: settings.role("endpoint"),
    }
    try:
        answer = deploy(sagemaker, event)
    except DeployError as error:
        command.fail(str(error))
    if arguments.reject:
        sagemaker.update_model_package(
            ModelPackageArn=current.package,
            ModelApprovalStatus="Rejected",
            ApprovalDescription=f"Rolled back to version {version}",
        )
    config = answer[contract.ENDPOINT_CONFIG_NAME]
    if arguments.wait and (problem := wait_for_endpoint(session, name, config, POLL_S)):
        command.output.print(problem, soft_wrap=True)
        return 1
    done = "serves" if arguments.wait else "is on its way to"
    command.output.print(f"endpoint {name} {done} version {version} of {current.group}", soft_wrap=True)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    command.add_endpoint(parser, positional=True)
    parser.add_argument("--to", metavar="VERSION", type=int, help="the version to return to")
    parser.add_argument("--reject", action="store_true", help="mark the version served now as Rejected")
    parser.add_argument("--wait", action="store_true", help="follow it until the endpoint is InService")
    parser.add_argument("--yes", action="store_true", help="roll back without asking")
    return parser.parse_args(argv)


if __name__ == "__main__":
    command.run(main)
