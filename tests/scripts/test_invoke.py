import io
import json
import tarfile
from types import SimpleNamespace

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from PIL import Image

from entrypoints.answer import ATTEMPTS
from scripts.command import Failure
from scripts.invoke import connect, model_card, predict_picture, predict_tensor, transform
from tests.entrypoints.archives import UNSAFE, archive_of
from tests.entrypoints.pictures import HEIC, png16
from tests.scripts.conftest import BUCKET
from tests.scripts.runtime import ANSWER, ENDPOINT, SCRIPT, THROTTLED, UNAVAILABLE, model_error, npy

PREPROCESSING = {"image_size": 16, "resize": 20, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}
CARD = {"classes": ["ants", "große Bienen"], "preprocessing": PREPROCESSING}


@pytest.fixture
def deployed(client, s3):
    """An endpoint that serves a model package, according to DescribeEndpoint and S3."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in (
            ("app.py", b"app"),
            ("model.json", json.dumps(CARD).encode()),
            ("weights", b"\0"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    s3.put_object(Bucket=BUCKET, Key="models/model.tar.gz", Body=archive.getvalue())
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName=ENDPOINT)
    package = sagemaker.create_model_package(
        ModelPackageGroupName=ENDPOINT,
        InferenceSpecification={
            "Containers": [{"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/models/model.tar.gz"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    sagemaker.create_model(
        ModelName="m",
        Containers=[{"ModelPackageName": package}],
        ExecutionRoleArn="arn:aws:iam::1:role/r",
    )
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="c")
    return sagemaker


def test_pictures_are_sent_as_they_are_unless_they_are_too_large(run, runtime, picture, tmp_path):
    with Image.open(picture) as image:
        for suffix in ("jpg", "webp", "bmp"):
            image.save(tmp_path / f"bee.{suffix}")
    (tmp_path / "ants.heic").write_bytes(HEIC)
    (tmp_path / "12 bits.png").write_bytes(png16(np.full((40, 40), 4095, np.uint16)))
    Image.new("RGB", (4000, 2100), "red").save(tmp_path / "large.bmp")
    names = ("bee.jpg", "bee.webp", "bee.bmp", "ants.heic", "12 bits.png", "large.bmp")
    for name in names:
        run(SCRIPT, tmp_path / name, "--local", runtime.url)
    *as_they_are, (png, converted) = runtime.requests
    types = ("image/jpeg", "image/webp", "application/x-image", "application/x-image", "image/png")
    assert as_they_are == [
        (kind, (tmp_path / name).read_bytes()) for kind, name in zip(types, names, strict=False)
    ]
    assert png == "image/png"
    with Image.open(io.BytesIO(converted)) as sent:
        assert (sent.format, sent.size, sent.getpixel((0, 0))) == ("PNG", (4000, 2100), (255, 0, 0))


def test_a_picture_that_is_too_large_is_not_sent(run, runtime, tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(25_000_001)
    completed = run(SCRIPT, large, "--local", runtime.url)
    assert completed.returncode == 1
    assert completed.stderr == f"refused: {large}: has over 25,000,000 bytes, more than an endpoint takes\n"
    assert runtime.requests == []


def test_throttled_and_busy_endpoints_are_asked_again(run, runtime, picture):
    runtime.server.errors[:] = [THROTTLED, UNAVAILABLE, model_error(503, "The queue is full.")]
    completed = run(SCRIPT, picture, "--format", "json", "--local", runtime.url)
    assert completed.returncode == 0, completed.stderr
    assert len(runtime.requests) == 4


def test_an_endpoint_that_stays_busy_is_given_up(runtime, picture, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda *_: 0)
    for name, value in runtime.environment.items():
        monkeypatch.setenv(name, value)
    runtime.server.errors[:] = [model_error(503, "The queue is full.")] * (ATTEMPTS + 1)
    with pytest.raises(ClientError, match="ModelError"):
        predict_picture(picture, ENDPOINT, connect(boto3.Session(region_name="us-east-1")))
    assert len(runtime.requests) == ATTEMPTS


@pytest.mark.parametrize(
    "content", [b"bees,0.75", b'["bees"]', b'{"label": "bees"}', b'{"label": "a", "probabilities": {"b": 1}}']
)
def test_an_answer_of_another_kind_is_one_line(run, refused, runtime, picture, content):
    runtime.server.errors[:] = [(200, "application/json", content, None)]
    done = run(SCRIPT, picture, "--local", runtime.url)
    refused(done, "does not answer as this pipeline's do", content.decode()[:30], "--endpoint")


def test_scores_of_another_kind_are_a_failure(runtime, picture, monkeypatch):
    for name, value in runtime.environment.items():
        monkeypatch.setenv(name, value)
    client = connect(boto3.Session(region_name="us-east-1"))
    for content in (b"no scores", b"", npy([[1.0, 2.0, 3.0]]), npy(1.0)):
        runtime.server.errors[:] = [(200, "application/x-npy", content, None)]
        with pytest.raises(Failure, match="does not answer as this pipeline's do"):
            predict_tensor(picture, ENDPOINT, client, CARD)


@pytest.mark.usefixtures("deployed")
def test_tensor(run, url, runtime, picture):
    completed = run(
        SCRIPT, picture, "--tensor", "--format", "json", **runtime.environment,
        AWS_ENDPOINT_URL_SAGEMAKER=url, AWS_ENDPOINT_URL_S3=url,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    (prediction,) = json.loads(completed.stdout)
    assert prediction["label"] == "große Bienen"
    assert prediction["probabilities"] == pytest.approx(ANSWER["probabilities"])
    ((content_type, body),) = runtime.requests
    assert content_type == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), transform(picture, PREPROCESSING))


def test_a_tensor_s_scores_become_probabilities_at_the_model_s_temperature(runtime, picture, monkeypatch):
    for name, value in runtime.environment.items():
        monkeypatch.setenv(name, value)
    client = connect(boto3.Session(region_name="us-east-1"))
    answer = predict_tensor(picture, ENDPOINT, client, {**CARD, "temperature": 0.5})
    assert answer["label"] == "große Bienen"
    assert answer["probabilities"] == pytest.approx({"ants": 0.1, "große Bienen": 0.9})  # odds of 3, squared


def test_the_tensor_is_what_the_endpoint_makes_of_the_picture(picture):
    from entrypoints.serving import predictor

    model = SimpleNamespace(**PREPROCESSING, max_value=65535, least_side=0)
    theirs = np.asarray(predictor.decode(model, picture.read_bytes(), "image/png"))
    ours = transform(picture, PREPROCESSING)
    assert (ours.dtype, ours.shape) == (np.float32, (1, 3, 16, 16))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("deployed")
def test_an_artifact_that_is_a_bomb_is_one_line(run, refused, url, runtime, picture, s3):
    s3.put_object(Bucket=BUCKET, Key="models/model.tar.gz", Body=UNSAFE["a bomb"][0]("model.json"))
    endpoints = {"AWS_ENDPOINT_URL_SAGEMAKER": url, "AWS_ENDPOINT_URL_S3": url}
    completed = run(SCRIPT, picture, "--tensor", **runtime.environment, **endpoints)
    refused(completed, "model.tar.gz cannot be read (a bomb: ", "or leave out --tensor")


UNREADABLE = {
    **{kind: unsafe for kind, unsafe in UNSAFE.items() if kind != "a bomb"},
    **{
        kind: (lambda name, content=content: archive_of(**{name: content}), words)
        for kind, content, words in (
            ("no JSON", b"{", "cannot be read (Expecting property name"),
            ("deep JSON", b"[" * 100_000, "cannot be read ("),
            ("a list", b"[]", "its model.json is not this pipeline's"),
            ("no classes", b'{"classes": []}', "its model.json is not this pipeline's"),
        )
    },
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_artifact_that_cannot_be_read_is_a_failure(kind, deployed, s3):
    make, words = UNREADABLE[kind]
    archive = make("model.json")
    s3.put_object(Bucket=BUCKET, Key="models/model.tar.gz", Body=archive)
    with pytest.raises(Failure, match=r"model\.tar\.gz cannot be read \(") as caught:
        model_card(ENDPOINT, deployed, s3)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_artifact_of_another_origin_has_no_model_card(deployed, s3):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz"):
        pass
    s3.put_object(Bucket=BUCKET, Key="models/model.tar.gz", Body=archive.getvalue())
    with pytest.raises(Failure, match=r"holds no model\.json"):
        model_card(ENDPOINT, deployed, s3)
