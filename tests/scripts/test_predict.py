import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from PIL import Image

from scripts.command import Failure
from scripts.invoke import ATTEMPTS, REQUESTS, connect, model_card, predict_picture, predict_tensor, transform
from scripts.predict import in_order

SCRIPT = "predict.py"
PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / SCRIPT
BUCKET = "image-classification-111122223333"
ENDPOINT = "image-classification"
PREPROCESSING = {"image_size": 16, "resize": 20, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}
CARD = {"classes": ["ants", "große Bienen"], "preprocessing": PREPROCESSING}
ANSWER = {"label": "große Bienen", "probabilities": {"ants": 0.25, "große Bienen": 0.75}}


THROTTLED = (400, "application/json", b'{"message": "Rate exceeded"}', "ThrottlingException")
UNAVAILABLE = (503, "application/json", b'{"message": "busy"}', "ServiceUnavailable")


def model_error(status, message):
    """How SageMaker hands on an error of the container."""
    original = json.dumps({"code": "invalid", "message": message})
    told = {"Message": "Received an error", "OriginalStatusCode": status, "OriginalMessage": original}
    return 424, "application/json", json.dumps(told).encode(), "ModelError"


def npy(values):
    file = io.BytesIO()
    np.save(file, np.array(values, np.float32))
    return file.getvalue()


class Runtime(BaseHTTPRequestHandler):
    """SageMaker Runtime with one endpoint: bees for pictures, scores that mean the same for tensors.

    It refuses pictures whose bytes end in BAD, and answers the first requests with `server.errors`.
    """

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.headers["Content-Type"], body))
        if self.server.errors:
            return self.answer(*self.server.errors.pop(0))
        if body.endswith(b"BAD"):
            return self.answer(*model_error(400, "The body is truncated."))
        if body.endswith(b"SLOW"):
            self.server.stop.wait(30)
        if self.path != f"/endpoints/{ENDPOINT}/invocations":
            message = {"message": f"Endpoint {self.path.split('/')[2]} of account 123456789012 not found."}
            return self.answer(400, "application/json", json.dumps(message).encode(), "ValidationError")
        if self.headers["Accept"] == "application/x-npy":
            return self.answer(200, "application/x-npy", npy([[0.0, np.log(3)]]))
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
    server.requests, server.errors, server.stop = [], [], threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": url}
    yield SimpleNamespace(url=url, server=server, requests=server.requests, environment=keys)
    server.stop.set()
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
    completed = run(SCRIPT, picture, picture, "--format", "json", "--local", runtime.url)
    assert json.loads(completed.stdout) == [{"file": str(picture), **ANSWER}] * 2


def test_jpeg_png_and_webp_are_sent_as_they_are_and_other_formats_as_png(run, runtime, picture, tmp_path):
    with Image.open(picture) as image:
        for suffix in ("jpg", "webp", "bmp"):
            image.save(tmp_path / f"bee.{suffix}")
        for suffix in ("jpg", "webp", "bmp"):
            run(SCRIPT, tmp_path / f"bee.{suffix}", "--local", runtime.url)
        jpeg, webp, (png, converted) = runtime.requests
        assert jpeg == ("image/jpeg", (tmp_path / "bee.jpg").read_bytes())
        assert webp == ("image/webp", (tmp_path / "bee.webp").read_bytes())
        assert png == "image/png"
        with Image.open(io.BytesIO(converted)) as sent:
            assert sent.format == "PNG"
            assert sent.tobytes() == image.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Pictures in two folders, and what is none."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(("2.png", "10.png", "b/1.png", "b/2.png")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
    (folder / ".hidden").write_text("x")
    (folder / "Thumbs.db").write_text("x")
    (folder / "b" / "notes.txt").write_text("bees")
    return folder


def test_a_folder_gives_its_pictures_in_order_and_lists_the_rest(run, runtime, folder):
    completed = run(SCRIPT, folder, "--format", "csv", "--local", runtime.url)
    assert completed.returncode == 0, completed.stderr
    rows = list(csv.DictReader(io.StringIO(completed.stdout)))
    assert [row["file"] for row in rows] == [
        str(folder / name) for name in ("10.png", "2.png", "b/1.png", "b/2.png")
    ]
    assert rows[0] == {
        "file": str(folder / "10.png"), "label": "große Bienen", "probability": "0.75",
        "probability_ants": "0.25", "probability_große Bienen": "0.75",
    }  # fmt: skip
    assert completed.stderr == f"left out: {folder / 'b' / 'notes.txt'} is not an image\n"


def test_a_folder_without_pictures(run, refused, runtime, tmp_path):
    refused(run(SCRIPT, tmp_path, "--local", runtime.url), f"there is no picture in {tmp_path}")


def test_a_picture_from_stdin(runtime, picture):
    completed = subprocess.run(
        [sys.executable, PROGRAM, "-", "--format", "json", "--local", runtime.url],
        input=picture.read_bytes(), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(completed.stdout) == [{"file": "-", **ANSWER}]
    assert runtime.requests == [("image/png", picture.read_bytes())]


def test_a_refused_picture_is_named_and_the_others_are_printed(run, runtime, picture, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(picture.read_bytes() + b"BAD")
    assert run(SCRIPT, bad, "--format", "json", "--local", runtime.url).stdout == "[]\n"
    completed = run(SCRIPT, bad, picture, "--format", "json", "--local", runtime.url)
    assert completed.returncode == 1
    assert json.loads(completed.stdout) == [{"file": str(picture), **ANSWER}]
    assert completed.stderr == f"refused: {bad}: The body is truncated.\n"


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


def test_results_come_in_order_and_few_wait():
    taken = []

    def items():
        for number in range(200):
            taken.append(number)
            yield number

    begun = threading.Semaphore(0)

    def slow_first(number):
        if number == 0:
            for _ in range(REQUESTS - 1):  # as many as there are threads run beside it
                assert begun.acquire(timeout=30)
        begun.release()
        return number

    results = in_order(slow_first, items())
    assert next(results) == 0
    assert len(taken) < 100
    assert list(results) == list(range(1, 200))


def test_a_reader_that_has_had_enough(runtime, picture):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, PROGRAM, picture, "--format", "json", "--local", runtime.url]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_keeps_what_was_answered(runtime, picture, tmp_path):
    slow = tmp_path / "slow.png"
    slow.write_bytes(picture.read_bytes() + b"SLOW")
    process = subprocess.Popen(
        [sys.executable, PROGRAM, picture, slow, "--format", "json", "--local", runtime.url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    begun = process.stdout.readline()  # one answer is there; the other does not come
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors == b"predict.py: interrupted\n"
    assert json.loads(begun + rest) == [{"file": str(picture), **ANSWER}]


def test_a_name_that_is_no_utf_8(run, runtime, picture, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff.png"
    os.link(picture, odd)
    completed = run(SCRIPT, os.fsdecode(odd), "--format", "json", "--local", runtime.url)
    assert json.loads(completed.stdout)[0]["file"] == f"{tmp_path}/\\udcff.png"


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


def test_the_tensor_is_what_the_endpoint_makes_of_the_picture(picture):
    from entrypoints.serving import predictor

    theirs = np.asarray(predictor.decode(SimpleNamespace(**PREPROCESSING), picture.read_bytes(), "image/png"))
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
    refused(run(SCRIPT), "PICTURE")
    refused(run(SCRIPT, "-", "-"), "stdin holds one picture")
    refused(run(SCRIPT, "-"), "- is empty")
    refused(run(SCRIPT, picture, "--format", "xml"), "xml")
    refused(run(SCRIPT, tmp_path / "none.png"), "none.png", "No such file")
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
