"""Send a picture to an endpoint, as its file or as the network's input, and read the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import scripts.command as command
from entrypoints import depth, image
from entrypoints.answer import ATTEMPTS, read_answer, retry_while_busy
from entrypoints.archives import read_members
from entrypoints.contract import (
    ANY_IMAGE,
    EXPLAINED_JSON,
    JPEG,
    JSON,
    MAX_BODY_BYTES,
    MODEL_CARD,
    NPY,
    PNG,
    WEBP,
)

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker_runtime.client import SageMakerRuntimeClient

REQUESTS = 8  # in parallel
# First bytes of files whose content type is sent (WEBP has a length between, see `_content_type`).
SIGNATURES = {b"\xff\xd8\xff": JPEG, b"\x89PNG\r\n\x1a\n": PNG}
HEAD_BYTES = 12

Prediction = dict[str, Any]


def connect(session: boto3.Session) -> SageMakerRuntimeClient:
    """A client for parallel requests; it slows down and tries again when the service asks it to."""
    from botocore.config import Config  # as slow to import as boto3

    config = Config(
        max_pool_connections=REQUESTS, retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS}
    )
    runtime = session.client("sagemaker-runtime", config=config)
    retry_while_busy(runtime)
    return runtime


def predict_picture(
    source: Path | bytes, endpoint: str, runtime: SageMakerRuntimeClient, explain: bool = False
) -> Prediction:
    """The endpoint's answer to a picture, as answer.py reads it; with `explain`, also its map.

    Files are sent as they are, except BMP and TIFF files larger than an endpoint takes, which become PNG.

    Raises:
        ImageError: not a picture, or larger than an endpoint takes.
        OSError: the file cannot be read.
        ClientError: the endpoint refused or does not exist.
        Failure: the endpoint serves no model of this pipeline.
    """
    body, content_type = body_of(source)
    accept = EXPLAINED_JSON if explain else JSON
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, ContentType=content_type, Accept=accept, Body=body
    )
    content = answer["Body"].read()
    try:
        return read_answer(content)
    except ValueError:
        raise _unknown(endpoint, content) from None


def predict_tensor(
    source: Path | bytes, endpoint: str, runtime: SageMakerRuntimeClient, card: Mapping[str, Any]
) -> Prediction:
    """The same answer, with the picture sent as a tensor; `card` is the content of the artifact's model.json.

    Raises:
        ImageError: not a picture.
        OSError: the file cannot be read.
        ClientError: the endpoint refused or does not exist.
        Failure: the endpoint's answer is not a row of scores for the card's classes.
    """
    body = BytesIO()
    np.save(body, transform(source, card["preprocessing"]), allow_pickle=False)
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType=NPY, Accept=NPY, Body=body.getvalue())
    content = answer["Body"].read()
    try:
        rows = np.load(BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError):
        raise _unknown(endpoint, content) from None
    if rows.shape != (1, len(card["classes"])):
        raise _unknown(endpoint, content)
    # Artifacts of earlier versions have no temperature.
    scores = rows[0].astype(np.float64) / card.get("temperature", 1.0)
    exponentials = np.exp(scores - scores.max())
    probabilities = exponentials / exponentials.sum()
    return {
        "label": card["classes"][int(np.argmax(scores))],
        "probabilities": dict(zip(card["classes"], probabilities.tolist(), strict=True)),
    }


def _unknown(endpoint: str, content: bytes) -> command.Failure:
    begins = content[:40].decode(errors="replace")
    return command.Failure(
        f"endpoint {endpoint} does not answer as this pipeline's do, but with {len(content)} bytes that "
        f"begin {begins!r}; name another one with --endpoint"
    )


def transform(source: Path | bytes, preprocessing: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The network's input for a picture, float32 of shape 1 x 3 x H x W: resized, cropped, normalized.

    Raises:
        ImageError: not a picture.
        OSError: the file cannot be read.
    """
    picture = image.decode(source, depth.of(preprocessing), image.least_side(preprocessing))
    pixels = image.preprocess(picture, preprocessing["image_size"], preprocessing["resize"])
    return image.normalize(pixels, preprocessing["mean"], preprocessing["std"])[np.newaxis]


def check(source: Path | bytes) -> None:
    """Refuse what is not a picture; of JPEG, PNG and WebP files only the first bytes are read.

    Raises:
        ImageError: not a picture.
        OSError: the file cannot be read.
    """
    if _content_type(_head(source)) is None:
        image.decode(source)


def model_card(endpoint: str, sagemaker: SageMakerClient, s3: S3Client) -> dict[str, Any]:
    """The content of model.json in the artifact that the endpoint serves.

    Raises:
        Failure: the artifact holds no model.json, or cannot be read.
        ClientError: there is no such endpoint, or the artifact is gone.
    """
    config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    container: Mapping[str, Any] = model.get("PrimaryContainer") or model["Containers"][0]
    if package := container.get("ModelPackageName"):
        described = sagemaker.describe_model_package(ModelPackageName=package)
        container = described["InferenceSpecification"]["Containers"][0]
    url = container["ModelDataUrl"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    # Read as it arrives, and only as far as model.json.
    answer = s3.get_object(Bucket=bucket, Key=key)
    try:
        with answer["Body"] as body:
            for _, content in read_members(body, answer["ContentLength"], [MODEL_CARD]):
                card: dict[str, Any] = json.loads(content)
                if not isinstance(card, dict) or not {"classes", "preprocessing"} <= card.keys():
                    raise ValueError(f"its {MODEL_CARD} is not this pipeline's")
                return card
    except (ValueError, RecursionError) as error:  # includes UnsafeArchive and json's errors
        raise command.Failure(
            f"{url} cannot be read ({error}); deploy a whole model artifact, or leave out --tensor"
        ) from None
    raise command.Failure(f"{url} holds no {MODEL_CARD}: it is not from this pipeline; leave out --tensor")


def body_of(source: Path | bytes) -> tuple[bytes, str]:
    """The request's body for a picture, and its content type."""
    content_type = _content_type(_head(source))
    picture = image.decode(source) if content_type is None else None
    if isinstance(source, bytes):
        body = source
    else:
        with source.open("rb") as opened:
            body = opened.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES and picture is not None and image.largest_value(source) is None:
        file = BytesIO()
        picture.save(file, "PNG")
        body, content_type = file.getvalue(), PNG
    if len(body) > MAX_BODY_BYTES:
        raise image.ImageError(f"has over {MAX_BODY_BYTES:,} bytes, more than an endpoint takes")
    return body, content_type or ANY_IMAGE


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:HEAD_BYTES]
    with source.open("rb") as file:
        return file.read(HEAD_BYTES)


def _content_type(head: bytes) -> str | None:
    """The content type of a file that begins with `head`; None if more of the file is needed."""
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return WEBP
    return next((name for start, name in SIGNATURES.items() if head.startswith(start)), None)
