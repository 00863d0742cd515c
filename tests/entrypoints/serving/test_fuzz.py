"""Any request gets an answer of the contract, from the same processes, which do not grow."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from entrypoints.contract import ACCEPTED_CONTENT_TYPES, ANSWERED_CONTENT_TYPES
from local.endpoints.model_server import ModelServer
from tests.entrypoints.serving.servers import encoded, served, workers

KNOWN = {200, 400, 406, 413, 415}
GROWTH_BYTES = 32 << 20


def saved() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((1, 3, 32, 32), np.float32))
    return file.getvalue()


def exif() -> Image.Exif:
    """The EXIF data of a rotated picture, with tags of several types."""
    tags = Image.Exif()
    tags.update({0x0112: 6, 0x010F: "maker", 0x011A: 72.0})
    tags.get_ifd(0x8769)[0x829A] = 0.5
    return tags


WHOLE = [
    *(encoded(image_format=name) for name in ("BMP", "DDS", "GIF", "JPEG", "PNG", "TIFF", "WEBP")),
    *(encoded(image_format=name, exif=exif()) for name in ("JPEG", "PNG", "TIFF", "WEBP")),
    encoded(image_format="JPEG", progressive=True),
    encoded(image_format="TIFF", compression="tiff_lzw"),
    saved(),
    json.dumps({"images": [base64.b64encode(encoded()).decode()] * 2}).encode(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid body with some bytes replaced, most often in its header, and perhaps cut off."""
    body = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 4))):
        end = draw(st.sampled_from([16, 64, 256, len(body)]))
        body[draw(st.integers(0, min(end, len(body)) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))])


# What HTTP allows in a header; httpx sends them as they are.
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip)
TOKENS = st.sampled_from(
    ["'<f4'", "(1, 3, 32, 32)", "()", "[]", "{}", "None", "True", "-1", "'O'", "~", ",", "9" * 99]
)
HEADERS = st.builds(
    "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}".format,
    st.lists(TOKENS, max_size=3).map("".join),
    st.lists(TOKENS, max_size=3).map("".join),
)
TENSORS = HEADERS.map(lambda text: b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
BODIES = st.one_of(damaged(), TENSORS, st.binary(max_size=200), st.text(max_size=50).map(str.encode))
CONTENT_TYPES = st.one_of(st.sampled_from(ACCEPTED_CONTENT_TYPES), VALUES)
ACCEPTS = st.one_of(st.sampled_from([*ANSWERED_CONTENT_TYPES, "*/*", "text/html;q=0.5, */*;q=0.1"]), VALUES)


@pytest.fixture(scope="module")
def running(
    artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModelServer, httpx.Client]]:
    # A damaged header may promise 100 million pixels, which take seconds, and more on a busy machine.
    with served(artifact, tmp_path_factory.mktemp("served"), SAGEMAKER_MODEL_SERVER_TIMEOUT="60") as running:
        yield running


def test_nothing_that_is_sent_crashes_or_fills_a_worker(running: tuple[ModelServer, httpx.Client]) -> None:
    server, client = running

    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(BODIES, CONTENT_TYPES, ACCEPTS, st.sampled_from(["/", "/invocations"]))
    def send(body: bytes, content_type: str, accept: str, path: str) -> None:
        headers = {
            "content-type": content_type,
            "accept": accept,
            "x-amzn-sagemaker-custom-attributes": accept,
        }
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code in KNOWN, answer.text
        if answer.status_code != 200:
            assert answer.json().keys() == {"code", "message"}

    for body in WHOLE * 2:
        for content_type in ACCEPTED_CONTENT_TYPES:
            client.post("/", content=body, headers={"content-type": content_type})
    before = {process.pid: process.memory_info().rss for process in workers(server)}
    send()
    after = {process.pid: process.memory_info().rss for process in workers(server)}
    assert after.keys() == before.keys()
    assert all(after[pid] - before[pid] < GROWTH_BYTES for pid in before)
    assert client.get("/ping").status_code == 200
