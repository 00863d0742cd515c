import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scripts.command import Failure
from scripts.predict import model_card, transform

SCRIPT = "predict.py"
BUCKET = "image-classification-111122223333"
ENDPOINT = "image-classification"
PREPROCESSING = {"image_size": 16, "resize": 20, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}
CARD = {"classes": ["ants", "große Bienen"], "preprocessing": PREPROCESSING}
ANSWER = {"label": "große Bienen", "probabilities": {"ants": 0.25, "große Bienen": 0.75}}


class Runtime(BaseHTTPRequestHandler):
    """SageMaker Runtime with one endpoint: bees for pictures, scores that mean the same for tensors."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.headers["Content-Type"], body))
        if self.path != f"/endpoints/{ENDPOINT}/invocations":
            message = {"message": f"Endpoint {self.path.split('/')[2]} of account 123456789012 not found."}
            return self.answer(400, "application/json", json.dumps(message).encode(), "ValidationError")
        if self.headers["Accept"] == "application/x-npy":
            file = io.BytesIO()
            np.save(file, np.array([[0.0, np.log(3)]], np.float32))
            return self.answer(200, "application/x-npy", file.getvalue())
        return self.answer(200, "application/json", json.dumps(ANSWER).encode())

    def answer(self, status, content_type, body, error=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing to stderr."""


@pytest.fixture
def runtime():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": url}
    yield SimpleNamespace(url=url, requests=server.requests, environment=keys)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def deployed(client, s3):
    """An endpoint that serves a model package, as far as DescribeEndpoint and S3 know."""
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


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "große Biene.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_label_and_probabilities_in_a_table(run, runtime, picture):
    completed = run(SCRIPT, picture, "--local", runtime.url)
    assert completed.returncode == 0, completed.stderr
    assert "große Bienen" in completed.stdout
    assert "75.0%" in completed.stdout
    assert "ants 25.0%" in completed.stdout
    assert runtime.requests == [("image/png", picture.read_bytes())]


def test_json(run, runtime, picture):
    completed = run(SCRIPT, picture, picture, "--json", "--local", runtime.url)
    assert json.loads(completed.stdout) == [{"file": str(picture), **ANSWER}] * 2


def test_jpegs_are_sent_as_they_are_and_other_formats_as_png(run, runtime, picture, tmp_path):
    with Image.open(picture) as image:
        for suffix in ("jpg", "bmp"):
            image.save(tmp_path / f"bee.{suffix}")
    run(SCRIPT, tmp_path / "bee.jpg", tmp_path / "bee.bmp", "--local", runtime.url)
    (jpeg, body), (png, converted) = runtime.requests
    assert (jpeg, body) == ("image/jpeg", (tmp_path / "bee.jpg").read_bytes())
    assert png == "image/png"
    with Image.open(io.BytesIO(converted)) as sent, Image.open(picture) as image:
        assert sent.format == "PNG"
        assert sent.tobytes() == image.tobytes()


@pytest.mark.usefixtures("deployed")
def test_tensor(run, url, runtime, picture):
    completed = run(
        SCRIPT, picture, "--tensor", "--json", **runtime.environment,
        AWS_ENDPOINT_URL_SAGEMAKER=url, AWS_ENDPOINT_URL_S3=url,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    (prediction,) = json.loads(completed.stdout)
    assert prediction["label"] == "große Bienen"
    assert prediction["probabilities"] == pytest.approx(ANSWER["probabilities"])
    ((content_type, body),) = runtime.requests
    assert content_type == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), transform(picture, PREPROCESSING))


def test_the_tensor_is_what_the_endpoint_makes_of_the_picture(picture):
    from entrypoints.serving import predictor

    model = predictor.Model(network=None, classes=tuple(CARD["classes"]), **PREPROCESSING)
    theirs = predictor.decode(model, picture.read_bytes(), "image/png").numpy()
    ours = transform(picture, PREPROCESSING)
    assert (ours.dtype, ours.shape) == (np.float32, (1, 3, 16, 16))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_an_artifact_of_another_origin_has_no_model_card(deployed, s3):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz"):
        pass
    s3.put_object(Bucket=BUCKET, Key="models/model.tar.gz", Body=archive.getvalue())
    with pytest.raises(Failure, match=r"holds no model\.json"):
        model_card(ENDPOINT, deployed, s3)


def test_bad_input_is_one_line(run, refused, runtime, picture, tmp_path):
    refused(run(SCRIPT), "IMAGE")
    refused(run(SCRIPT, tmp_path / "none.png"), "none.png", "No such file")
    refused(run(SCRIPT, tmp_path), "directory")
    (tmp_path / "notes.png").write_text("bees")
    refused(run(SCRIPT, picture, tmp_path / "notes.png", "--local", runtime.url), "notes.png is not an image")
    assert runtime.requests == []
    refused(
        run(SCRIPT, picture, "--endpoint", "flowers", "--local", runtime.url),
        "there is no endpoint flowers",
        "--endpoint",
    )


def test_a_missing_endpoint_is_one_line_with_tensor_too(run, refused, url, picture):
    refused(run(SCRIPT, picture, "--tensor", "--local", url), f"there is no endpoint {ENDPOINT}")
