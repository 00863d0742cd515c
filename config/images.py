"""Which container image runs what."""

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal

from sagemaker.core import image_uris

from config.settings import Settings
from config.values import SettingsError


@dataclass(frozen=True)
class Image:
    """A container of AWS, by its name in SageMaker's image list."""

    framework: str
    scope: str | None
    setting: str | None  # the key under [images] with its version


Purpose = Literal["training", "serving", "rules"]

IMAGES: dict[Purpose, Image] = {
    "training": Image("pytorch-amzn2023", "training", "training_version"),
    "serving": Image("ray-serve", None, "serving_version"),
    "rules": Image("debugger", None, None),
}

# The last day of security patches, by framework and version.
# https://aws.github.io/deep-learning-containers/ (support policy), read 2026-11-22. AWS announces none
# for the others.
END_OF_PATCH: dict[tuple[str, str | None], date] = {("pytorch-amzn2023", "2.13"): date(2027, 7, 20)}


def uri(purpose: Purpose, settings: Settings, device: Literal["cpu", "gpu"] = "cpu") -> str:
    """The image's address in the registry of the settings' region.

    Raises SettingsError for a version or a region that SageMaker's image list lacks.
    """
    image = IMAGES[purpose]
    version = _version(image, settings)
    try:
        return _retrieve(image, settings.region, version, device)
    except ValueError as error:
        key = f"images.{image.setting} = {version!r}, " if image.setting else ""
        reason = str(error).replace("\n", " ")
        raise SettingsError(f"{key}region = {settings.region!r}: no {purpose} image: {reason}") from error


def end_of_patch(purpose: Purpose, settings: Settings) -> date | None:
    """The last day on which AWS patches the image in the settings; None if AWS announces none."""
    image = IMAGES[purpose]
    return END_OF_PATCH.get((image.framework, _version(image, settings)))


def _version(image: Image, settings: Settings) -> str | None:
    return getattr(settings.images, image.setting) if image.setting else None


@cache
def _retrieve(image: Image, region: str, version: str | None, device: str) -> str:
    # The list tells CPU from GPU images by an instance type.
    instance_type = "ml.g5.xlarge" if device == "gpu" else "ml.m5.xlarge"
    found: str = image_uris.retrieve(
        image.framework, region, version=version, image_scope=image.scope, instance_type=instance_type
    )
    return found
