"""The container images: whether they exist in the region, and how long AWS still mends them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from scripts.checks.check import Check, Result, Subject

if TYPE_CHECKING:
    from config.images import Purpose

# ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, and amazonaws.com.cn in China.
_URI = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com[a-z.]*/([^:]+):(.+)")
_WARNED_DAYS = 60


def checks() -> dict[str, Check]:
    """A check for each image."""
    purposes: tuple[Purpose, ...] = ("training", "serving", "rules")
    return {f"{purpose} image": partial(image, purpose) for purpose in purposes}


def image(purpose: Purpose, subject: Subject) -> Iterator[Result]:
    """Whether the image is in SageMaker's list for the region, and in AWS's registry.

    Raises:
        SettingsError: the list lacks it.
        ClientError: AWS refused; accounts may look into the registry of AWS's images (`aws ecr
            describe-images --registry-id 763104351884` is how many do) unless their own policies forbid it.
    """
    from config import images  # it imports the SDK: seconds that other checks need not wait for

    settings, name = subject.settings, f"{purpose} image"
    if purpose == "rules" and not settings.debugger.enabled:
        return
    device = settings.images.training_device if purpose == "training" else "cpu"
    uri = images.uri(purpose, settings, device)
    last = images.end_of_patch(purpose, settings)
    if last and (left := (last - datetime.now(UTC).date()).days) < _WARNED_DAYS:
        yield Result(
            name,
            "warning",
            f"AWS mends {uri} until {last}, {left} days from now",
            f"choose a newer images.{images.IMAGES[purpose].setting} in pipeline.toml",
        )
    if subject.local:
        yield Result(name, "ok", f"in SageMaker's list: {uri}; the local service runs programs without it")
        return
    parts = _URI.fullmatch(uri)
    assert parts, uri
    registry, region, repository, tag = parts.groups()
    ecr = subject.session.client("ecr", region_name=region)
    try:
        ecr.describe_images(registryId=registry, repositoryName=repository, imageIds=[{"imageTag": tag}])
    except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
        setting = images.IMAGES[purpose].setting
        yield Result(
            name,
            "failure",
            f"SageMaker's list names {uri}, which AWS does not have in {region}",
            f"choose another images.{setting} in pipeline.toml" if setting else "choose another region",
        )
    else:
        yield Result(name, "ok", uri)
