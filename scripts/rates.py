"""How long the pipeline's jobs take, from rates that were measured on other machines: a rough guess."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from config.parameters import DATASET, WEIGHTS
from scripts import aws_errors
from scripts.prices import Use
from scripts.refusals import is_random

if TYPE_CHECKING:
    import boto3

# Seconds on one instance, measured on 2 cores of an AMD EPYC. benchmarks/README.md: training on generated
# pictures of 64 px, all layers, 4.2 ms a picture and epoch (here by its area); ants and bees at 224 px with
# frozen layers, 12 epochs of 244 pictures in 70.5 s, without bfloat16, which an m5 lacks, too. Splitting and
# evaluating ants and bees on 2026-11-30, processor time: 2 s for 397 pictures, 8.3 s for 153.
_SPLIT_S = 0.005  # a picture
_EVALUATE_S = 0.054  # a test picture of 224 px
_ALL_LAYERS_S = 0.0042 * (224 / 64) ** 2  # a training picture and epoch of 224 px
_FROZEN_LAYERS_S = 70.5 / 12 / 244  # the same
_SIDE_PX = 224
# A small training on an ml.m5.large was billed 135 s, mostly for its image and its start (a public log of
# 2024-11-03: "Training seconds: 135"). Billing begins before the program (API reference, TrainingStartTime).
_START_S = 120.0


class Rates:
    """How long jobs take, from measured seconds a picture."""

    def __init__(self, session: boto3.Session, definition: str, values: Mapping[str, str]) -> None:
        """Count the pictures.

        Args:
            values: the execution's parameters, defaults included.

        Raises:
            Failure: there are none.
            ClientError: S3 refused.
        """
        steps = list(every_step(json.loads(definition)["Steps"]))
        self._pictures = pictures(session, values[DATASET])
        self._test = _argument(steps, "--test-fraction") * self._pictures
        self._train = (self._pictures - self._test) * (1 - _argument(steps, "--validation-fraction"))
        self._epochs = int(values["Epochs"])
        self._area = (int(values["ImageSize"]) / _SIDE_PX) ** 2
        self._frozen = _is_frozen(steps, values)
        self._steps = {step["Name"]: step for step in steps}

    def hours(self, step: str, use: Use, instances: int, jobs: int) -> float:
        """Instance hours of a step's jobs, with those in which they start."""
        if use == "training":
            each = _FROZEN_LAYERS_S if self._frozen else _ALL_LAYERS_S
            # Instances that train together share the pictures.
            seconds = each * self._area * self._epochs * self._train / instances
        else:
            program = self._steps[step]["Arguments"]["AppSpecification"].get("ContainerEntrypoint", [])
            name = str(program[-1]) if program else ""
            rate = {"split": _SPLIT_S * self._pictures, "evaluate": _EVALUATE_S * self._area * self._test}
            seconds = rate.get(name, 0.0)  # verify asks about a handful of pictures
        return jobs * instances * (_START_S + seconds) / 3600


def _is_frozen(steps: Sequence[Mapping[str, Any]], values: Mapping[str, str]) -> bool:
    """Whether a training changes its last layers only (the setting training.trainable)."""
    for step in steps:
        given = step["Arguments"].get("HyperParameters", {})
        if step["Type"] == "Training" and "trainable" in given:
            return given["trainable"] in {"head", "last_block"} or (
                given["trainable"] == "auto" and not is_random(values.get(WEIGHTS, ""))
            )
    return False


def _argument(steps: Sequence[Mapping[str, Any]], option: str) -> float:
    """A number that the split program gets; 0.15, its default, if it gets none."""
    for step in steps:
        arguments = step["Arguments"].get("AppSpecification", {}).get("ContainerArguments", [])
        if option in arguments:
            return float(arguments[arguments.index(option) + 1])
    return 0.15


def pictures(session: boto3.Session, url: str) -> int:
    """How many objects below an S3 URI have names of pictures.

    Raises:
        Failure: there are none, or no such bucket.
        ClientError: S3 refused.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    closed = f"{prefix.rstrip('/')}/" if prefix else ""
    try:
        pages = session.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=closed)
        names = (item["Key"] for page in pages for item in page.get("Contents", []))
        found = sum((mimetypes.guess_type(name)[0] or "").startswith("image/") for name in names)
    except ClientError as error:
        if not (aws_errors.is_missing(error) or error.response["Error"]["Code"] == "NoSuchBucket"):
            raise
        found = 0
    if not found:
        command.fail(
            f"--estimate: there are no pictures below {url}, and no earlier execution to estimate from; name "
            f"them with --parameter {DATASET}=s3://..., or upload them with python scripts/upload_dataset.py"
        )
    return found


def every_step(steps: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Every step of a definition, and after a condition those of its yes."""
    for step in steps:
        yield step
        if step["Type"] == "Condition":
            yield from every_step(step["Arguments"].get("IfSteps", []))
