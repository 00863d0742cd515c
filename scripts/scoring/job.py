"""One transform job of a scoring: its request, its results as they come, and why pictures have none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from entrypoints.answer import read_answer
from entrypoints.contract import ANY_IMAGE, JSON
from scripts import aws_errors
from scripts.pictures import in_order
from scripts.scoring.ledger import Ledger

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sagemaker.client import SageMakerClient

# API reference, CreateTransformJob: MaxPayloadInMB at most 100, and so MaxConcurrentTransforms times it. A
# megabyte is taken as the smaller of its two meanings.
MOST_MB = 100
DEFAULT_MB = 6
MEGABYTE = 1_000_000
RUNNING = {"InProgress", "Stopping"}
GROUP = "/aws/sagemaker/TransformJobs"
# Which line of a job's log is about an object (aws/sagemaker-python-sdk#1951):
# 2020-10-18T04:44:18.107:[sagemaker logs]: bucket/key: ClientError: 413
_LINE = re.compile(r"\[sagemaker logs\]: (?P<rest>.*)", re.DOTALL)
SUFFIX = ".out"


@dataclass(frozen=True)
class Place:
    """Where a scoring lies in S3: the pictures' prefix, and that of the results; both end in a slash."""

    bucket: str
    prefix: str
    results_bucket: str
    results: str


@dataclass(frozen=True)
class Resources:
    """On what a transform job runs, and how many requests a model has at a time."""

    instance_type: str
    instance_count: int
    concurrency: int


def request(
    name: str, model: str, manifest_url: str, place: Place, resources: Resources, largest_bytes: int
) -> dict[str, Any]:
    """A CreateTransformJob request: each object is one record, sent whole, and answered by one object.

    A payload is at least as large as the largest picture, and as many are sent at once as may be then.
    """
    payload_mb = max(DEFAULT_MB, math.ceil(largest_bytes / MEGABYTE))
    return {
        "TransformJobName": name,
        "ModelName": model,
        "MaxConcurrentTransforms": max(1, min(resources.concurrency, MOST_MB // payload_mb)),
        "MaxPayloadInMB": payload_mb,
        # The only one without a split: MultiRecord needs a SplitType (API reference).
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": manifest_url}},
            "ContentType": ANY_IMAGE,
            "CompressionType": "None",
            "SplitType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://{place.results_bucket}/{place.results}",
            "Accept": JSON,
            "AssembleWith": "None",
        },
        "TransformResources": {
            "InstanceType": resources.instance_type,
            "InstanceCount": resources.instance_count,
        },
    }


def manifest(place: Place, keys: Sequence[str]) -> bytes:
    """A manifest of objects under the pictures' prefix (API reference, TransformS3DataSource)."""
    return json.dumps([{"prefix": f"s3://{place.bucket}/{place.prefix}"}, *keys], ensure_ascii=False).encode()


def describe(sagemaker: SageMakerClient, name: str) -> dict[str, Any] | None:
    """DescribeTransformJob's answer; None if there is no such job."""
    try:
        return dict(sagemaker.describe_transform_job(TransformJobName=name))
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise


def collect(s3: S3Client, place: Place, ledger: Ledger) -> Iterator[str]:
    """Read the results that are new, and yield the object of each.

    Raises:
        Failure: a result is not this pipeline's model's.
        ClientError: S3 refused.
    """

    def read(found: tuple[str, str]) -> tuple[str, Mapping[str, Any]]:
        key, picture = found
        content = s3.get_object(Bucket=place.results_bucket, Key=key)["Body"].read()
        try:
            return picture, read_answer(content)
        except ValueError as error:
            command.fail(
                f"s3://{place.results_bucket}/{key} is not an answer of this pipeline's models ({error}); "
                "name another --version"
            )

    noted = "classes" in ledger.notes()
    for picture, answer in in_order(read, _new(s3, place, ledger)):
        if not noted:
            ledger.note(classes=json.dumps(list(answer["probabilities"])))
            noted = True
        ledger.answer(picture, answer)
        yield picture


def _new(s3: S3Client, place: Place, ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Key and picture of the results that the ledger lacks."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=place.results_bucket, Prefix=place.results)
    for page in pages:
        for item in page.get("Contents", []):
            name = item["Key"].removeprefix(place.results)
            if name.endswith(SUFFIX):
                picture = _picture(name.removesuffix(SUFFIX), ledger)
                if picture is not None and ledger.is_left(picture):
                    yield item["Key"], picture


def _picture(name: str, ledger: Ledger) -> str | None:
    """The object that a result is of.

    Whether AWS puts the folders of a manifest's prefix before the name is not published: the longest end of
    the name that is an object's.
    """
    while name:
        if ledger.is_object(name):
            return name
        name = name.partition("/")[2]
    return None


def refuse(session: boto3.Session, name: str, place: Place, ledger: Ledger) -> None:
    """Note why pictures of a job have no result, as its log says it.

    AWS goes on after a picture that the model refuses, and fails the job (developer guide, "Batch Transform",
    on jobs that show as failed). The log has the model's answer, in JSON as serving/app.py writes it.

    Raises:
        ClientError: CloudWatch refused, other than that there is no log.
    """
    said: dict[str, list[str]] = {}
    pages = session.client("logs").get_paginator("filter_log_events")
    try:
        for page in pages.paginate(
            logGroupName=GROUP, logStreamNamePrefix=f"{name}/", filterPattern='"[sagemaker logs]"'
        ):
            for event in page["events"]:
                found = _of_object(event["message"], place, ledger)
                if found and found[1]:
                    said.setdefault(found[0], []).append(found[1])
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
    for picture, lines in said.items():
        ledger.refuse(picture, reason(lines))


def _of_object(message: str, place: Place, ledger: Ledger) -> tuple[str, str] | None:
    """The object that a line of the log is about, and what it says of it."""
    if not (found := _LINE.search(message)):
        return None
    rest = found["rest"].removeprefix(f"{place.bucket}/").removeprefix(place.prefix)
    place_of = rest.find(": ")
    while place_of != -1:  # names may hold ": ", too
        if ledger.is_left(rest[:place_of]):
            return rest[:place_of], rest[place_of + 2 :].strip()
        place_of = rest.find(": ", place_of + 1)
    return (rest[:-1], "") if rest.endswith(":") else None


def reason(lines: Sequence[str]) -> str:
    """Why the model refused, in its own words where it said so."""
    headline, *rest = lines
    text = " ".join(line for line in rest if line != "Message:")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{headline} {text}".strip()
