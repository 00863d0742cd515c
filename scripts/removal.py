"""Deleting an endpoint, with the endpoint configs and models of its deployments.

SageMaker does not record which endpoint an endpoint config was made for. Known are the config that an
endpoint uses, the one that it is being updated to, and the previous one, to which a rollback returns. These
are deleted with their endpoint unless another endpoint has them. Older configs are deleted with the last
endpoint of the model package group, or earlier as remains, with what an interrupted deletion left.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

import scripts.command as command
from scripts import aws_errors, served

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient


@dataclass(frozen=True)
class Deployment:
    """What to delete: an endpoint with its configs and models, or what no endpoint needs."""

    endpoint: str | None
    configs: tuple[str, ...]
    models: tuple[str, ...]
    staying: tuple[str, ...] = ()  # configs that may belong to another endpoint's earlier deployments


def find(sagemaker: SageMakerClient, name: str | None, group: str) -> Deployment:
    """The endpoint, and the configs and models that the deploying function left; None: the remains.

    The function names configs and models after the model package, not after the endpoint
    (entrypoints/deploy.py), so that endpoints share them. This pipeline's are those whose models were made
    from packages of the model package group `group`, except what another endpoint uses or would return to.
    While another endpoint serves the group, configs that `name` is not known to have had may belong to that
    one, and stay.

    Raises:
        Failure: there is no such endpoint, or it serves a model that is not of the group.
        ClientError: SageMaker refused.
    """
    endpoints = served.names(sagemaker)
    if name is not None and name not in endpoints:
        remedy = "name another one with --endpoint, or delete what no endpoint needs with --remains"
        raise served.no_endpoint(sagemaker, name, group, "nothing is deleted", remedy)
    needed = {endpoint: _configs_of(sagemaker, endpoint) for endpoint in endpoints}
    current, previous = needed.pop(name) if name else (set[str](), set[str]())
    own = current | previous
    others = set().union(*(configs for both in needed.values() for configs in both))
    listed = {config: _models_of(sagemaker, config) for config in _configs(sagemaker, group) | own | others}
    models_of = {config: models for config, models in listed.items() if models is not None}
    candidates = set().union(*models_of.values()) | _models(sagemaker, group)
    ours = {model for model in candidates if _is_of_group(sagemaker, model, group)}
    for used in current:
        if foreign := models_of.get(used, set()) - ours:
            command.fail(
                f"endpoint {name} serves {', '.join(sorted(foreign))}, which is not from model package group "
                f"{group}; delete it with the AWS CLI if it is to go"
            )
    # A config without models is one of inference components, never ours.
    configs = {config for config, models in models_of.items() if models and models <= ours} - others
    staying: set[str] = set()
    if name and any(models_of.get(config, set()) & ours for config in others):
        staying, configs = configs - own, configs & own
        ours = set().union(*(models_of[config] for config in configs))
    kept = set().union(*(models_of[config] for config in models_of.keys() - configs))
    return Deployment(name, *(tuple(sorted(found)) for found in (configs, ours - kept, staying)))


def find_all(sagemaker: SageMakerClient, endpoints: Collection[str], group: str) -> Deployment:
    """The configs and models of a group, once these endpoints are gone: all but what another endpoint has.

    Raises:
        ClientError: SageMaker refused.
    """
    others: set[str] = set()
    own: set[str] = set()
    for name in served.names(sagemaker):
        current, previous = _configs_of(sagemaker, name)
        (own if name in endpoints else others).update(current | previous)
    listed = {config: _models_of(sagemaker, config) for config in _configs(sagemaker, group) | own | others}
    models_of = {config: models for config, models in listed.items() if models is not None}
    found = set().union(*models_of.values()) | _models(sagemaker, group)
    ours = {model for model in found if _is_of_group(sagemaker, model, group)}
    configs = {config for config, models in models_of.items() if models and models <= ours} - others
    kept = set().union(*(models_of[config] for config in models_of.keys() - configs))
    return Deployment(None, tuple(sorted(configs)), tuple(sorted(ours - kept)))


def delete(sagemaker: SageMakerClient, deployment: Deployment) -> None:
    """Delete everything, the endpoint first: that ends the costs.

    Raises:
        ClientError: SageMaker refused, e.g. while the endpoint is being created or updated.
    """
    if deployment.endpoint:
        sagemaker.delete_endpoint(EndpointName=deployment.endpoint)
    for config in deployment.configs:
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
    for model in deployment.models:
        sagemaker.delete_model(ModelName=model)


def _configs_of(sagemaker: SageMakerClient, endpoint: str) -> tuple[set[str], set[str]]:
    """An endpoint's config, with the one that it is being updated to; and the previous one, from a tag."""
    from entrypoints.deploy import noted_previous  # imports boto3, which --help does not need

    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    pending = described.get("PendingDeploymentSummary")
    current = {described["EndpointConfigName"], *([pending["EndpointConfigName"]] if pending else [])}
    previous = noted_previous(sagemaker, described["EndpointArn"])
    return current, {previous} if previous else set()


def _configs(sagemaker: SageMakerClient, group: str) -> set[str]:
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate()
    names = (item["EndpointConfigName"] for page in pages for item in page["EndpointConfigs"])
    return {name for name in names if _is_named_after(name, group)}


def _models(sagemaker: SageMakerClient, group: str) -> set[str]:
    pages = sagemaker.get_paginator("list_models").paginate()
    names = (item["ModelName"] for page in pages for item in page["Models"])
    return {name for name in names if _is_named_after(name, group)}


def _is_named_after(name: str, group: str) -> bool:
    # ARNs, and names derived from them, may have lost the group's capitals.
    return name.lower().startswith(f"{group.lower()}-")


def _models_of(sagemaker: SageMakerClient, config: str) -> set[str] | None:
    """The models of an endpoint config; None if it is gone: its endpoint may outlive it."""
    try:
        described = sagemaker.describe_endpoint_config(EndpointConfigName=config)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise
    variants = [*described["ProductionVariants"], *described.get("ShadowProductionVariants", [])]
    return {variant["ModelName"] for variant in variants if "ModelName" in variant}


def _is_of_group(sagemaker: SageMakerClient, model: str, group: str) -> bool:
    try:
        described = sagemaker.describe_model(ModelName=model)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return False
        raise
    containers = [*described.get("Containers", []), described.get("PrimaryContainer", {})]
    packages = [container["ModelPackageName"] for container in containers if "ModelPackageName" in container]
    # arn:aws:sagemaker:REGION:ACCOUNT:model-package/GROUP/VERSION
    return bool(packages) and all(
        f":model-package/{group}/".lower() in package.lower() for package in packages
    )
