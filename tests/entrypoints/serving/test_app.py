from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from entrypoints.serving import app as server
from tests.entrypoints.pictures import COLORS, picture


@pytest.fixture
def client(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(server, "ARTIFACT", artifact)
    with TestClient(server.app) as client:
        yield client


def encoded(color: str, image_format: str = "JPEG") -> bytes:
    file = BytesIO()
    picture(COLORS[color]).save(file, image_format)
    return file.getvalue()


def test_ping(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200


def test_nothing_answers_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ARTIFACT", tmp_path)
    with pytest.raises(FileNotFoundError), TestClient(server.app):
        pass


@pytest.mark.parametrize("path", ["/invocations", "/"])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_a_picture(client: TestClient, path: str, image_format: str) -> None:
    headers = {"content-type": f"image/{image_format.lower()}"}
    response = client.post(path, content=encoded("bees", image_format), headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["label"] == "bees"
    assert set(response.json()["probabilities"]) == {"ants", "bees"}


def test_the_original_notebook_s_flow(client: TestClient, tmp_path: Path) -> None:
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
    body = BytesIO()
    np.save(body, tensor.numpy())
    headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
    response = client.post("/invocations", content=body.getvalue(), headers=headers)
    assert response.headers["content-type"] == "application/x-npy"
    scores = np.load(BytesIO(response.content))
    assert scores.shape == (1, 2)
    assert ["ants", "bees"][int(torch.from_numpy(scores).argmax())] == "bees"


def test_a_batch_of_tensors_is_answered_with_a_list(client: TestClient) -> None:
    body = BytesIO()
    np.save(body, np.zeros((3, 3, 32, 32), np.float32))
    response = client.post("/", content=body.getvalue(), headers={"content-type": "application/x-npy"})
    assert [set(answer) for answer in response.json()] == [{"label", "probabilities"}] * 3


@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        ({"content-type": "image/jpeg"}, b"text", 400, "The body is not an image."),
        ({"content-type": "image/png"}, b"", 400, "The body is empty."),
        ({"content-type": "application/x-npy"}, b"text", 400, "not a NumPy"),
        ({"content-type": "image/jpeg", "accept": "text/html"}, b"", 406, "Accept must allow"),
        ({"content-type": "image/jpeg", "accept": "application/json;q=high"}, b"", 400, "q=high"),
        ({"content-type": "image/jpeg"}, b"\0" * 25_000_001, 413, "larger than 25,000,000 bytes"),
        ({"content-type": "image/gif"}, b"", 415, "Content-Type must be one of image/jpeg"),
        ({}, b"", 415, "Content-Type"),
    ],
)
def test_errors_are_json_with_one_sentence(
    client: TestClient, headers: dict[str, str], body: bytes, status: int, message: str
) -> None:
    response = client.post("/invocations", content=body, headers=headers)
    assert response.status_code == status
    assert message in response.json()["error"]


def test_other_paths_and_methods(client: TestClient) -> None:
    assert client.get("/invocations").status_code == 405
    assert client.get("/models").json() == {"error": "Not Found"}


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/*", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("application/json;q=0.5, application/x-npy", "application/x-npy"),
        ("text/html, application/json; q=0.1", "application/json"),
        ("APPLICATION/X-NPY ; q=0.9", "application/x-npy"),
    ],
)
def test_negotiate(accept: str, answer: str) -> None:
    assert server.negotiate(accept) == answer


def test_requests_at_once(client: TestClient) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(color: str) -> str:
        headers = {"content-type": "image/jpeg"}
        return client.post("/", content=encoded(color), headers=headers).json()["label"]

    colors = ["ants", "bees"] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, colors)) == colors
