"""An endpoint as clients see it, the same with both servers: uvicorn with workers, and Ray Serve."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from entrypoints.contract import CUSTOM_ATTRIBUTES, JPEG, JSON, NPY
from entrypoints.serving import predictor
from local.endpoints.model_server import SERVERS, UVICORN, LaunchError, launch, require
from local.home.home import Home
from local.processes.environment import base_environment
from tests.entrypoints.conftest import change_in_the_middle
from tests.entrypoints.pictures import COLORS
from tests.entrypoints.serving.servers import encoded, served

# Short times and queues for tests, put at the top of the artifact's own modules.
CHANGES = """\
import entrypoints.serving.app
import entrypoints.serving.workers
entrypoints.serving.app.BODY_TIMEOUT_S = 3.0
entrypoints.serving.workers.WAITING_PER_WORKER = 4
"""
LIMIT = 25_000_000


@pytest.fixture(scope="module", params=SERVERS)
def client(
    request: pytest.FixtureRequest, artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a running server."""
    try:
        require(request.param)
    except LaunchError as missing:
        pytest.skip(str(missing))
    with served(artifact, tmp_path_factory.mktemp("served"), request.param, CHANGES) as (_, client):
        yield client


@pytest.fixture(scope="module")
def model(artifact: Path) -> predictor.Model:
    return predictor.load(artifact)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def promising(width: int, height: int) -> bytes:
    """A PNG of one pixel whose header promises more."""
    png = bytearray(encoded(image_format="PNG"))
    png[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


def post(client: httpx.Client, body: bytes, content_type: str = JPEG, **headers: str) -> httpx.Response:
    return client.post("/invocations", content=body, headers={"content-type": content_type, **headers})


def test_healthy_once_it_has_predicted(client: httpx.Client) -> None:
    answer = client.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_other_web_sites_are_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/"), ("POST", "/invocations"), ("POST", "/")):
        answer = client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/invocations", "/"])
@pytest.mark.parametrize(
    ("content_type", "image_format"),
    [
        ("image/jpeg", "JPEG"),
        ("image/png", "PNG"),
        ("image/webp", "WEBP"),
        ("application/x-image", "TIFF"),
        ("Image/JPEG; charset=binary", "JPEG"),
    ],
)
def test_a_picture(
    client: httpx.Client, model: predictor.Model, path: str, content_type: str, image_format: str
) -> None:
    body = encoded("bees", image_format)
    answer = client.post(path, content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.headers[CUSTOM_ATTRIBUTES] == f"engine={model.engine}"
    assert answer.json()["label"] == "bees"
    expected = predictor.answer(model, body, "application/x-image", JSON)
    assert answer.json() == json.loads(expected)


def test_every_way_in_gives_the_same_prediction(client: httpx.Client, model: predictor.Model) -> None:
    bodies = [encoded("ants"), encoded("bees")]
    texts = [base64.b64encode(body).decode() for body in bodies]
    one_by_one = [post(client, body).json() for body in bodies]
    assert [answer["label"] for answer in one_by_one] == ["ants", "bees"]
    assert [post(client, json.dumps({"image": text}).encode(), JSON).json() for text in texts] == one_by_one
    at_once = post(client, json.dumps({"images": texts}).encode(), JSON).json()
    tensor = np.concatenate([predictor.decode(model, body, JPEG) for body in bodies])
    assert post(client, saved(tensor), NPY).json() == at_once
    scores = np.load(io.BytesIO(post(client, saved(tensor), NPY, accept=NPY).content))
    assert (scores.dtype, scores.shape) == (np.float32, (2, 2))
    described = predictor.describe(model, scores)
    for answer, alone, from_scores in zip(at_once, one_by_one, described, strict=True):
        assert (answer["label"], answer["known"]) == (alone["label"], alone["known"])
        assert answer["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
        assert answer == {**from_scores, "known": answer["known"], "score": answer["score"]}


def test_the_accept_header_asks_for_a_map(client: httpx.Client) -> None:
    plain = post(client, encoded()).json()
    answer = post(client, encoded(), accept="application/json; explain=map")
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    said = answer.json()
    assert np.array(said.pop("map")).shape == (1, 1)
    assert said.pop("map_side") == 32 / 37
    assert said == plain
    scores = post(client, encoded(), accept="application/x-npy, application/json;explain=map;q=0.5")
    assert scores.headers["content-type"] == NPY


def test_the_original_notebook_s_flow(client: httpx.Client, tmp_path: Path) -> None:
    """Open with PIL, transform with torchvision, send the tensor, argmax the scores."""
    from torchvision import transforms

    (tmp_path / "bee.jpg").write_bytes(encoded("bees"))
    transform = transforms.Compose(
        [
            transforms.Resize(37),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    tensor = transform(Image.open(tmp_path / "bee.jpg")).unsqueeze(0)
    answer = post(client, saved(tensor.numpy()), NPY, accept=NPY)
    assert answer.headers["content-type"] == NPY
    assert ["ants", "bees"][int(np.load(io.BytesIO(answer.content)).argmax())] == "bees"


def test_a_picture_is_turned_upright(client: httpx.Client) -> None:
    """A strip, red left and blue right, or red above and blue below."""
    strip = Image.new("RGB", (90, 30), COLORS["ants"])
    strip.paste(COLORS["bees"], (45, 0, 90, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    lying, upright = io.BytesIO(), io.BytesIO()
    strip.save(lying, "PNG", exif=exif)
    strip.transpose(Image.Transpose.ROTATE_270).save(upright, "PNG")
    turned = post(client, lying.getvalue(), "image/png").json()
    assert turned == post(client, upright.getvalue(), "image/png").json()
    plain = io.BytesIO()
    strip.save(plain, "PNG")
    assert turned != post(client, plain.getvalue(), "image/png").json()


WHOLE = encoded()


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "message"),
    [
        ({"content-type": "image/jpeg"}, b"text", 400, "invalid_image", "The body is not an image."),
        ({"content-type": "image/png"}, b"", 400, "invalid_image", "The body is empty."),
        ({"content-type": "image/jpeg"}, WHOLE[:-400], 400, "invalid_image", "is truncated or damaged"),
        ({"content-type": "image/jpeg"}, b"PNG" + WHOLE, 400, "invalid_image", "The body is not an image."),
        ({"content-type": "image/png"}, promising(20000, 10000), 400, "invalid_image", "100,000,000"),
        ({"content-type": "image/png"}, promising(50000, 50000), 400, "invalid_image", "has 50000 x 50000"),
        ({"content-type": "image/png"}, promising(9000, 9000), 400, "invalid_image", "truncated"),
        ({"content-type": "application/x-npy"}, b"text", 400, "invalid_tensor", "not a NumPy"),
        ({"content-type": "application/json"}, b"{", 400, "invalid_json", "not JSON"),
        ({"content-type": "application/json"}, b'{"image": "?"}', 400, "invalid_json", "base64"),
        ({"content-type": "image/jpeg", "accept": "text/html"}, b"", 406, "not_acceptable", "Accept must"),
        ({"content-type": "image/jpeg", "accept": "*/*;q=high"}, b"", 400, "bad_request", "q=high"),
        ({"content-type": "image/jpeg", "accept": "*/*;explain=all"}, b"", 400, "bad_request", "=all"),
        ({"content-type": "image/jpeg"}, b"\0" * (LIMIT + 1), 413, "too_large", "larger than 25,000,000"),
        ({"content-type": "image/gif"}, b"", 400, "invalid_image", "The body is empty."),
        ({}, b"", 400, "invalid_image", "The body is empty."),
        ({"content-type": "text/csv"}, b"", 415, "unsupported_media_type", "must be one of image/jpeg"),
        ({"content-type": "text/csv"}, b"", 415, "unsupported_media_type", "or missing; not text/csv."),
    ],
)  # fmt: skip
def test_an_error_is_a_code_and_a_sentence(
    client: httpx.Client, headers: dict[str, str], body: bytes, status: int, code: str, message: str
) -> None:
    answer = client.post("/invocations", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, JSON)
    assert answer.json()["code"] == code
    assert message in answer.json()["message"]
    assert answer.json()["message"].endswith(".")


def test_a_body_of_unknown_length_is_read_no_further_than_the_limit(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent <= 2 * LIMIT:
            sent += 1_000_000
            yield b"\0" * 1_000_000

    assert post(client, endless()).json()["code"] == "too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/models", 404, "not_found"),
        ("POST", "/ping/", 404, "not_found"),
        ("GET", "/invocations", 405, "method_not_allowed"),
        ("DELETE", "/", 405, "method_not_allowed"),
    ],
)
def test_other_paths_and_methods(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_page(client: httpx.Client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<html" in answer.content


def test_a_slow_client_is_given_up(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as slow:
        slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n")
        slow.sendall(b"Content-Length: 1000\r\n\r\n\xff\xd8")
        assert post(client, WHOLE).status_code == 200
        answer = b""
        while chunk := slow.recv(65536):
            answer += chunk
            if b"}" in chunk:
                break
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code": "slow_client"' in answer


def test_requests_at_once(client: httpx.Client) -> None:
    colors = ["ants", "bees"] * 2  # as many as may wait for a single worker
    with ThreadPoolExecutor(len(colors)) as pool:
        answers = list(pool.map(lambda color: post(client, encoded(color)).json()["label"], colors))
    assert answers == colors


def test_too_many_requests_are_refused_at_once_and_the_others_answered(client: httpx.Client) -> None:
    """Of 40 slow pictures, two are processed at a time and four wait for each of them."""
    slow = io.BytesIO()
    Image.new("L", (4000, 4000)).save(slow, "PNG")

    def ask(_: int) -> tuple[httpx.Response, float]:
        began = time.monotonic()
        return post(client, slow.getvalue(), "image/png"), time.monotonic() - began

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    accepted = [seconds for answer, seconds in answers if answer.status_code == 200]
    refused = [(answer, seconds) for answer, seconds in answers if answer.status_code == 503]
    assert len(accepted) + len(refused) == 40
    assert 4 <= len(accepted) <= 30
    assert {answer.headers["retry-after"] for answer, _ in refused} == {"1"}
    assert {answer.json()["code"] for answer, _ in refused} == {"busy"}
    assert np.median([seconds for _, seconds in refused]) < max(accepted)
    assert post(client, WHOLE).status_code == 200


def test_a_damaged_artifact_is_not_served(archive: Path, tmp_path: Path) -> None:
    """Its weights would load, but give wrong answers."""
    change_in_the_middle(archive / "model.tar.gz")
    with pytest.raises(LaunchError, match=r"damaged .* put a whole one there .*: CRC check failed"):
        launch(Home(tmp_path), archive / "model.tar.gz", tmp_path / "endpoint", base_environment({})).stop()


def test_uvicorn_is_always_tested() -> None:
    require(UVICORN)
