"""Ask the endpoint what is on pictures.

With --tensor each picture is transformed here and sent as a float32 tensor (application/x-npy), and the
highest of the answered scores is the label, the way the original notebook did it. Classes and preprocessing
then come from model.json in the model artifact that the endpoint serves: the one place that cannot disagree
with the model.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from botocore.exceptions import ClientError
from rich.table import Table

import scripts.command as command
from entrypoints.contract import JPEG, JSON, MODEL_CARD, NPY, PNG
from entrypoints.serving import image

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker_runtime.client import SageMakerRuntimeClient

# Pillow's name of a format -> how the endpoint calls it; MPO is a JPEG with more pictures behind it.
CONTENT_TYPES = {"JPEG": JPEG, "MPO": JPEG, "PNG": PNG}
SHOWN = 3  # classes in the table's row of a picture

Prediction = dict[str, Any]


def predict_picture(path: Path, endpoint: str, runtime: SageMakerRuntimeClient) -> Prediction:
    """What the endpoint says of a picture: {"label": ..., "probabilities": {class: 0..1}}.

    JPEG and PNG files are sent as they are, other formats as PNG.

    Raises:
        Failure: the file is not a picture, or cannot be read.
        ClientError: the endpoint refused or is not there.
    """
    picture = _decode(path)
    content_type = CONTENT_TYPES.get(picture.info["format"], PNG)
    if picture.info["format"] in CONTENT_TYPES:
        body = path.read_bytes()
    else:
        file = BytesIO()
        picture.save(file, "PNG")
        body = file.getvalue()
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType=content_type, Accept=JSON, Body=body)
    prediction: Prediction = json.loads(answer["Body"].read())
    return prediction


def predict_tensor(
    path: Path, endpoint: str, runtime: SageMakerRuntimeClient, card: Mapping[str, Any]
) -> Prediction:
    """The same answer by way of a tensor; `card` is the content of the artifact's model.json.

    Raises:
        Failure: the file is not a picture, or cannot be read.
        ClientError: the endpoint refused or is not there.
    """
    body = BytesIO()
    np.save(body, transform(path, card["preprocessing"]), allow_pickle=False)
    answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType=NPY, Accept=NPY, Body=body.getvalue())
    scores = np.load(BytesIO(answer["Body"].read()), allow_pickle=False)[0].astype(np.float64)
    exponentials = np.exp(scores - scores.max())
    probabilities = exponentials / exponentials.sum()
    return {
        "label": card["classes"][int(np.argmax(scores))],
        "probabilities": dict(zip(card["classes"], probabilities.tolist(), strict=True)),
    }


def transform(path: Path, preprocessing: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The network's input for a picture, float32 of shape 1 x 3 x H x W: resized, cropped, normalised.

    Raises:
        Failure: the file is not a picture, or cannot be read.
    """
    pixels = image.preprocess(_decode(path), preprocessing["image_size"], preprocessing["resize"])
    mean, std = (np.array(preprocessing[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    return ((pixels.astype(np.float32) / 255 - mean) / std)[np.newaxis].astype(np.float32)


def model_card(endpoint: str, sagemaker: SageMakerClient, s3: S3Client) -> dict[str, Any]:
    """The content of model.json in the artifact that the endpoint serves.

    Raises:
        Failure: the artifact holds no model.json.
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
    # Read as it comes, and no further than model.json.
    with tarfile.open(fileobj=s3.get_object(Bucket=bucket, Key=key)["Body"], mode="r|gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and member.name.removeprefix("./") == MODEL_CARD:
                card: dict[str, Any] = json.load(file)
                return card
    raise command.Failure(f"{url} holds no {MODEL_CARD}: it is not of this pipeline; leave out --tensor")


def _decode(path: Path) -> Any:
    try:
        return image.decode(path)
    except image.ImageError as error:
        command.fail(f"{path} {error}")
    except OSError as error:
        command.fail(f"{path} cannot be read ({error.strerror}); give a picture")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    endpoint = arguments.endpoint or command.default(settings, "EndpointName")
    for path in arguments.images:
        _decode(path)  # before the first request: a mistyped name costs nothing
    try:
        predictions = _predict(arguments, endpoint, command.session(arguments, settings))
    except ClientError as error:
        if command.is_missing(error):
            command.fail(
                f"there is no endpoint {endpoint} in {settings.region}; "
                "run the pipeline, or name another one with --endpoint"
            )
        raise
    if arguments.json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
    else:
        command.output.print(_table(predictions))
    return 0


def _predict(arguments: argparse.Namespace, endpoint: str, session: boto3.Session) -> list[Prediction]:
    runtime = session.client("sagemaker-runtime")
    card = (
        model_card(endpoint, session.client("sagemaker"), session.client("s3")) if arguments.tensor else None
    )
    predictions = []
    for path in arguments.images:
        answer = (
            predict_picture(path, endpoint, runtime)
            if card is None
            else predict_tensor(path, endpoint, runtime, card)
        )
        predictions.append({"file": str(path), **answer})
    return predictions


def _table(predictions: Sequence[Prediction]) -> Table:
    table = Table("picture", "label", "probability", "then")
    for prediction in predictions:
        ranked = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
        others = ", ".join(f"{name} {value:.1%}" for name, value in ranked[1:SHOWN])
        label = prediction["label"]
        table.add_row(prediction["file"], label, f"{prediction['probabilities'][label]:.1%}", others)
    return table


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "")
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="a picture")
    parser.add_argument("--endpoint", metavar="NAME", help="the endpoint (the default of EndpointName)")
    parser.add_argument(
        "--tensor", action="store_true", help="send the transformed tensor, argmax the scores"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(argv)


if __name__ == "__main__":
    command.run(main)
