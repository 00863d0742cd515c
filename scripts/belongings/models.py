"""Endpoints, what they serve, and the registered versions of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from scripts import aws_errors, removal, served
from scripts.belongings.thing import Thing, is_gone, wait_until
from scripts.checks.check import Subject
from scripts.endpoints import cost
from scripts.prices import Prices


def endpoints(subject: Subject) -> Iterator[Thing]:
    """The endpoints that serve the deployment's model package group."""
    sagemaker, settings = subject.client("sagemaker"), subject.settings
    prices = Prices(subject.session, settings.region)
    for item in served.of_group(sagemaker, settings.model_package_group_name, ""):
        yield Thing(
            "endpoint",
            item.endpoint,
            partial(_delete_endpoint, sagemaker, item.endpoint),
            subject.aws("sagemaker", "delete-endpoint", f"--endpoint-name={item.endpoint}"),
            "" if subject.local else cost(item.hosting, prices),
        )


def _delete_endpoint(sagemaker: Any, name: str) -> None:
    def state() -> str:
        try:
            return str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])
        except ClientError as error:
            if not aws_errors.is_missing(error):
                raise
            return ""

    if state() != "Deleting":
        sagemaker.delete_endpoint(EndpointName=name)
    wait_until(state, f"endpoint {name}")


def behind(subject: Subject, endpoints: Sequence[str]) -> Iterator[Thing]:
    """The endpoint configs and models that no endpoint has but these."""
    sagemaker = subject.client("sagemaker")
    found = removal.find_all(sagemaker, endpoints, subject.settings.model_package_group_name)
    for config in found.configs:
        yield Thing(
            "endpoint config",
            config,
            partial(sagemaker.delete_endpoint_config, EndpointConfigName=config),
            subject.aws("sagemaker", "delete-endpoint-config", f"--endpoint-config-name={config}"),
            after=("endpoint",),
        )
    for model in found.models:
        yield Thing(
            "model",
            model,
            partial(sagemaker.delete_model, ModelName=model),
            subject.aws("sagemaker", "delete-model", f"--model-name={model}"),
            after=("endpoint", "endpoint config"),
        )


def versions(subject: Subject) -> Iterator[Thing]:
    """The versions of the model, and their group."""
    sagemaker, group = subject.client("sagemaker"), subject.settings.model_package_group_name
    try:
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if not is_gone(error):
            raise
        return
    for package in packages(sagemaker, group):
        arn = package["ModelPackageArn"]
        yield Thing(
            "model version",
            f"{group}/{package['ModelPackageVersion']}",
            partial(sagemaker.delete_model_package, ModelPackageName=arn),
            subject.aws("sagemaker", "delete-model-package", f"--model-package-name={arn}"),
        )
    yield Thing(
        "model package group",
        group,
        partial(sagemaker.delete_model_package_group, ModelPackageGroupName=group),
        subject.aws("sagemaker", "delete-model-package-group", f"--model-package-group-name={group}"),
        after=("model version",),
    )


def packages(sagemaker: Any, group: str) -> list[dict[str, Any]]:
    """What ListModelPackages says of each version of a group; none where there is no group."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    try:
        return [item for page in pages for item in page["ModelPackageSummaryList"]]
    except ClientError as error:
        if not is_gone(error):
            raise
        return []


def artifacts(subject: Subject) -> set[str]:
    """The URLs of the objects that the versions of the model are made of."""
    sagemaker = subject.client("sagemaker")
    urls = set()
    for package in packages(sagemaker, subject.settings.model_package_group_name):
        described = sagemaker.describe_model_package(ModelPackageName=package["ModelPackageArn"])
        containers = described.get("InferenceSpecification", {}).get("Containers", [])
        urls |= {container["ModelDataUrl"] for container in containers if "ModelDataUrl" in container}
    return urls
