"""Delete the endpoint, with the configs and models of all its deployments.

An endpoint costs as long as it exists, asked or not. The registered model packages stay: the next
execution, or the deploying function, can serve them again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

import scripts.command as command

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

SETTINGS = ("name", "region")
# https://aws.amazon.com/sagemaker/ai/pricing/, real-time inference, us-east-1, November 2026, rounded.
COST = "an ml.m5.2xlarge costs about 0.46 USD an hour in us-east-1 (aws.amazon.com/sagemaker/ai/pricing)"


@dataclass(frozen=True)
class Deployment:
    """What stands for one endpoint; `endpoint` is None when only remains of it are there."""

    endpoint: str | None
    configs: tuple[str, ...]
    models: tuple[str, ...]


def find(sagemaker: SageMakerClient, name: str, group: str) -> Deployment:
    """The endpoint, and the configs and models that the deploying function left.

    The function names configs and models after the model package and not after the endpoint
    (entrypoints/deploy.py), so that endpoints share them. Ours are those whose models were made from packages
    of the model package group `group`, less what another endpoint uses.

    Raises:
        Failure: the endpoint serves a model that is not of the group.
        ClientError: SageMaker refused.
    """
    used = {endpoint: _configs_of(sagemaker, endpoint) for endpoint in _endpoints(sagemaker)}
    current = used.pop(name, set())
    others = set().union(*used.values())
    listed = {config: _models_of(sagemaker, config) for config in _configs(sagemaker, group) | current}
    served = {config: models for config, models in listed.items() if models is not None}
    models = set().union(*served.values()) | _models(sagemaker, group)
    ours = {model for model in models if _is_of_group(sagemaker, model, group)}
    for config in current:
        if foreign := served.get(config, set()) - ours:
            command.fail(
                f"endpoint {name} serves {', '.join(sorted(foreign))}, which is not from model package group "
                f"{group}; delete it with the AWS CLI if it is to go"
            )
    kept = {model for config in others for model in served.get(config, set())}
    configs = {config for config, models in served.items() if models <= ours} - others
    return Deployment(name if current else None, tuple(sorted(configs)), tuple(sorted(ours - kept)))


def delete(sagemaker: SageMakerClient, deployment: Deployment) -> None:
    """Delete it all, the endpoint first: that ends the costs.

    Raises:
        ClientError: SageMaker refused, e.g. while the endpoint is being created or updated.
    """
    if deployment.endpoint:
        sagemaker.delete_endpoint(EndpointName=deployment.endpoint)
    for config in deployment.configs:
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
    for model in deployment.models:
        sagemaker.delete_model(ModelName=model)


def _endpoints(sagemaker: SageMakerClient) -> list[str]:
    pages = sagemaker.get_paginator("list_endpoints").paginate()
    return [item["EndpointName"] for page in pages for item in page["Endpoints"]]


def _configs_of(sagemaker: SageMakerClient, endpoint: str) -> set[str]:
    """The config that an endpoint uses, and the one that it is being updated to."""
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    pending = described.get("PendingDeploymentSummary")
    return {described["EndpointConfigName"], *([pending["EndpointConfigName"]] if pending else [])}


def _configs(sagemaker: SageMakerClient, group: str) -> set[str]:
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate()
    names = (item["EndpointConfigName"] for page in pages for item in page["EndpointConfigs"])
    return {name for name in names if _is_named_after(name, group)}


def _models(sagemaker: SageMakerClient, group: str) -> set[str]:
    pages = sagemaker.get_paginator("list_models").paginate()
    names = (item["ModelName"] for page in pages for item in page["Models"])
    return {name for name in names if _is_named_after(name, group)}


def _is_named_after(name: str, group: str) -> bool:
    # ARNs, and what is named after them, may have lost the group's capitals.
    return name.lower().startswith(f"{group.lower()}-")


def _models_of(sagemaker: SageMakerClient, config: str) -> set[str] | None:
    """The models of an endpoint config; None if it is gone, which an endpoint that it made outlives."""
    try:
        variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    except ClientError as error:
        if command.is_missing(error):
            return None
        raise
    return {variant["ModelName"] for variant in variants if "ModelName" in variant}


def _is_of_group(sagemaker: SageMakerClient, model: str, group: str) -> bool:
    try:
        described = sagemaker.describe_model(ModelName=model)
    except ClientError as error:
        if command.is_missing(error):
            return False
        raise
    containers = [*described.get("Containers", []), described.get("PrimaryContainer", {})]
    packages = [container["ModelPackageName"] for container in containers if "ModelPackageName" in container]
    # arn:aws:sagemaker:REGION:ACCOUNT:model-package/GROUP/VERSION
    return bool(packages) and all(
        f":model-package/{group}/".lower() in package.lower() for package in packages
    )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    name = arguments.name or command.default(settings, "EndpointName")
    sagemaker = command.session(arguments, settings).client("sagemaker")
    found = find(sagemaker, name, settings.model_package_group_name)
    if found == Deployment(None, (), ()):
        command.fail(f"there is no endpoint {name} in {settings.region}; name another one")

    for kind, names in (
        ("endpoint", [found.endpoint] if found.endpoint else []),
        ("endpoint config", found.configs),
        ("model", found.models),
    ):
        for item in names:
            command.console.print(f"{kind}: {item}")
    if found.endpoint:
        command.console.print(f"While the endpoint exists it costs money: {COST}.", soft_wrap=True)
    if not command.confirm("Delete all of this?", arguments):
        command.console.print("Nothing is deleted.")
        return 1
    delete(sagemaker, found)
    command.output.print(
        f"Deleted {name}: {len(found.configs)} endpoint configs, {len(found.models)} models"
        + ("." if found.endpoint else "; the endpoint was gone already.")
    )
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the endpoint (the default of EndpointName)")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    return parser.parse_args(argv)


if __name__ == "__main__":
    command.run(main)
