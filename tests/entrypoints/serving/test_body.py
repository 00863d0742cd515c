"""Requests as users send them: each gets the answer to the picture's own bytes, or a refusal in one line."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from starlette.testclient import TestClient

from entrypoints.contract import FORM, JPEG, JSON, NPY
from entrypoints.serving import predictor
from entrypoints.serving.app import accepts, build
from entrypoints.serving.body import InputError
from entrypoints.serving.replica import InProcess
from tests.entrypoints.pictures import COLORS, HEIC, picture

OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def model(artifact: Path) -> predictor.Model:
    return predictor.load(artifact)


def encoded(color: str = "bees", image_format: str = "PNG") -> bytes:
    file = BytesIO()
    picture(COLORS[color]).save(file, image_format)
    return file.getvalue()


def saved(array: Any) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


PICTURE = encoded()
TEXT = base64.b64encode(PICTURE).decode()
LINES = base64.encodebytes(PICTURE).decode()
FOR_URLS = base64.urlsafe_b64encode(PICTURE).decode()


def said(model: predictor.Model, body: bytes, content_type: str) -> Any:
    return json.loads(predictor.answer(model, body, content_type, JSON))


@pytest.mark.parametrize(
    "content_type",
    ["", "image/jpg", "image/tiff", "image/bmp", "image/x-png", "image/heic", OCTETS, "binary/octet-stream"],
)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "AVIF", "HEIC"])
def test_pictures_under_every_type_or_none(
    model: predictor.Model, image_format: str, content_type: str
) -> None:
    assert accepts(content_type)
    body = HEIC if image_format == "HEIC" else encoded("ants", image_format)
    assert said(model, body, content_type)["label"] == "ants"


@pytest.mark.parametrize("content_type", [JSON, NPY])
def test_a_picture_that_is_called_something_else_is_a_picture(
    model: predictor.Model, content_type: str
) -> None:
    assert said(model, PICTURE, content_type) == said(model, PICTURE, "image/png")


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        LINES,
        LINES.replace("\n", "\r\n"),
        TEXT.rstrip("="),
        FOR_URLS,
        FOR_URLS.rstrip("="),
        f"data:image/png;base64,{TEXT}",
        f" DATA:;base64,{LINES}",
    ],
    ids=["plain", "lines", "CRLF", "unpadded", "for URLs", "for URLs, unpadded", "data URL", "odd data URL"],
)
def test_every_base64(model: predictor.Model, text: str) -> None:
    expected = said(model, PICTURE, "image/png")
    assert said(model, json.dumps({"image": text}).encode(), JSON) == expected
    for many in (
        {"images": [text]},
        {"instances": [text]},
        {"instances": [{"b64": text}]},
        {"instances": [{"image": text}]},
        [text],
    ):
        for content_type in (JSON, OCTETS, ""):
            assert said(model, json.dumps(many).encode(), content_type) == [expected]


def test_64_data_urls_are_not_too_many(model: predictor.Model) -> None:
    body = {"instances": [{"b64": f"data:image/png;base64,{TEXT}"}] * 64}
    assert len(said(model, json.dumps(body).encode(), JSON)) == 64
    body["instances"].append({"b64": TEXT})
    with pytest.raises(InputError, match="more than 64 images"):
        said(model, json.dumps(body).encode(), JSON)


@pytest.mark.parametrize("text", [TEXT, LINES, FOR_URLS, f"data:image/png;base64,{TEXT}"])
@pytest.mark.parametrize("content_type", [JPEG, OCTETS, "", "text/plain"])
def test_base64_under_a_picture_s_type_says_so(model: predictor.Model, text: str, content_type: str) -> None:
    with pytest.raises(InputError) as caught:
        said(model, text.encode(), content_type)
    assert str(caught.value) == (
        "The body is base64 text, not a picture; send the picture's bytes, or"
        ' {"image": BASE64} as application/json.'
    )


@pytest.mark.parametrize("text", ["words that are no picture", " " * 600, "short", "a,b\n1,2"])
def test_other_text_is_not_called_base64(model: predictor.Model, text: str) -> None:
    with pytest.raises(InputError, match=r"^The body is not an image\.$"):
        said(model, text.encode(), "")


def test_tensors_in_every_form(model: predictor.Model) -> None:
    one = predictor.decode(model, PICTURE, "image/png")
    both = np.concatenate([one, predictor.decode(model, encoded("ants"), "image/png")])
    expected = said(model, saved(both), NPY)
    assert [each["label"] for each in expected] == ["bees", "ants"]
    for body, content_type in (
        (saved(both.astype(np.float64)), NPY),
        (saved(both.astype(">f4")), NPY),
        (saved(np.asfortranarray(both)), OCTETS),
        (json.dumps(both.tolist()).encode(), JSON),
        (json.dumps(both.tolist()).encode(), ""),
        (json.dumps({"instances": both.tolist()}).encode(), JSON),
        (json.dumps({"images": both.tolist()}).encode(), JSON),
    ):
        assert said(model, body, content_type) == expected
    [alone] = said(model, saved(one), NPY)
    for body, content_type in (
        (saved(one[0]), NPY),
        (json.dumps(one[0].tolist()).encode(), JSON),
        (json.dumps({"instances": one[0].tolist()}).encode(), JSON),
        (json.dumps({"image": one[0].tolist()}).encode(), JSON),
    ):
        assert said(model, body, content_type) == alone
    halves = [each["label"] for each in said(model, saved(both.astype(np.float16)), NPY)]
    assert halves == ["bees", "ants"]


def test_a_tensor_of_another_size_is_told_both_sizes(model: predictor.Model) -> None:
    other = np.zeros((1, 3, 40, 36), np.float32)
    for body, content_type in ((saved(other), NPY), (json.dumps(other.tolist()).encode(), JSON)):
        with pytest.raises(InputError, match="have 40 x 36 pixels; this model's have 32 x 32: scale them"):
            said(model, body, content_type)


def form(files: Any, data: Mapping[str, str] | None = None) -> tuple[bytes, str]:
    """The body that `requests.post(files=..., data=...)` sends."""
    prepared = requests.Request("POST", "http://x/", files=files, data=data).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["content-type"].partition(";")[0]


# Bytes that a line-based parser would change, and bytes that look like the end of a part.
AWKWARD = PICTURE + b"\r\n\r\n--\r\n\n\r"


@pytest.mark.parametrize("content_type", [FORM, OCTETS, ""])
def test_forms(model: predictor.Model, content_type: str) -> None:
    expected = said(model, PICTURE, "image/png")
    for files in ({"file": PICTURE}, {"file": ("bee.jpg", AWKWARD, "image/jpeg")}):
        body, sent = form(files, {"comment": "a bee"})
        assert sent == FORM
        assert said(model, body, content_type) == expected
    two = form([("files", ("a.png", encoded("ants"))), ("files", ("b.png", PICTURE))])[0]
    assert [each["label"] for each in said(model, two, content_type)] == ["ants", "bees"]
    tensor = form({"tensor": ("x.npy", saved(predictor.decode(model, PICTURE, "image/png")))})[0]
    assert said(model, tensor, content_type) == [expected]


def browsers(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    """A form as browsers write it."""
    written = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {how}\r\n\r\n".encode() + content + b"\r\n"
        for how, content in parts
    )
    return written + f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", r"The body is not a form \(multipart/form-data\)"),
        (PICTURE, r"The body is not a form"),
        (browsers("x", ('name="file"; filename=""', b"")), "The form holds no file"),
        (browsers("x", ('name="a"', b"1"), ('name="b"', b"2")), "The form holds no file"),
        (browsers("x", ('name="f"; filename="a"', b"")), "The form's file is empty."),
        (browsers("x", ('name="f"', TEXT.encode())), "The form's file is base64 text, not a picture"),
        (
            browsers("x", ('name="f"; filename="a"', PICTURE), ('name="f"; filename="b"', b"text")),
            "File 2 of 2 is not an image.",
        ),
        (browsers("x", *[('name="f"; filename="a"', b"x")] * 65), "more than 64 images"),
    ],
    ids=range(8),
)
def test_forms_without_a_picture(model: predictor.Model, body: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        said(model, body, FORM)


def test_over_http(artifact: Path) -> None:
    """The same through the application, from clients that declare little about their requests."""
    with TestClient(build(lambda: InProcess(artifact))) as client:
        expected = client.post("/invocations", content=PICTURE, headers={"content-type": "image/png"}).json()
        assert expected["label"] == "bees"
        curl = {"content-type": "application/x-www-form-urlencoded"}
        for headers in ({}, curl, {"content-type": "image/jpg; charset=binary"}, {"content-type": OCTETS}):
            answer = client.post("/invocations", content=PICTURE, headers=headers)
            assert (answer.status_code, answer.json()) == (200, expected), headers
        assert client.post("/invocations", files={"file": PICTURE}).json() == expected
        assert client.post("/", files={"file": ("IMG_1.HEIC", HEIC)}).json()["label"] == "ants"
        refused = client.post("/invocations", content=b"a,b\n1,2\n", headers={"content-type": "text/csv"})
        assert refused.status_code == 415
        assert refused.json()["message"].endswith("or missing; not text/csv.")
