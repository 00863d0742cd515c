"""The endpoint's page in headless Chromium; skipped without it (`apt-get install chromium`)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entrypoints.contract import MAX_BODY_BYTES
from local.application import application
from local.endpoints.browser import answer
from local.endpoints.model_server import launch
from local.home.home import Home
from local.processes.environment import base_environment
from local.server import Server
from tests.browser import CHROMIUM, Browser

PAGE = Path(__file__).resolve().parents[3] / "entrypoints" / "serving" / "page.html"
TWO = {"label": "<i>bees", "probabilities": {"ants": 0.0268, "<i>bees": 0.9732}}
MANY = {"label": "c7", "probabilities": {f"c{n}": share for n, share in enumerate([0.04] * 7 + [0.72])}}
TEXT = "document.querySelector('#results').innerText"
STATUS = "document.querySelector('#status').textContent"
FOCUSED = "document.activeElement.id || document.activeElement.tagName"


class Handler(BaseHTTPRequestHandler):
    """The page at /endpoints/flowers/, and `server.answers` to its requests; the last one repeats."""

    def do_GET(self):
        if self.path.endswith("/model"):
            self.reply(200, "application/json", b'{"group": "plants", "version": 3, "metrics": {}}')
            return
        self.reply(200, "text/html; charset=utf-8", PAGE.read_bytes())

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.requests.append((self.path, self.headers["Content-Type"], body))
        server.accepted.append(self.headers["Accept"])
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
        server.go.wait(30)
        status, told = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        with server.lock:
            server.now -= 1
        if status:  # else the connection ends without an answer
            self.reply(status, "application/json", json.dumps(told).encode())

    def reply(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "engine=int8")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing to stderr."""


@pytest.fixture
def endpoint() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.accepted, server.answers = [], [], [(200, TWO)]
    server.lock, server.now, server.most = threading.Lock(), 0, 0
    server.go = threading.Event()
    server.go.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}/endpoints/flowers/"
    yield server
    server.go.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "bee.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save(path)
    return path


def results(browser, count=1):
    """The texts of the answers, once there are that many."""
    browser.wait_for(
        f"document.querySelectorAll('.result').length === {count} && !document.querySelector('.waiting')"
    )
    return browser.evaluate(TEXT)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_dropped_picture(browser, endpoint, picture, width, dark):
    browser.open(endpoint.url, width, dark=dark)
    assert "Endpoint flowers" in browser.evaluate("document.body.innerText")
    browser.drop([picture], 150, 200)
    text = results(browser)
    for words in ("bee.jpg", "<i>bees", "97.3%", "ants", "2.7%", " ms", "int8"):
        assert words in text
    assert endpoint.requests == [("/endpoints/flowers/invocations", "image/jpeg", picture.read_bytes())]
    assert browser.requests() == [endpoint.url, f"{endpoint.url}model", f"{endpoint.url}invocations"]
    assert "Model version 3 of plants\n" in browser.evaluate("document.body.innerText")
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width  # nothing to the right
    browser.wait_for("document.querySelector('.result img').naturalWidth === 120")
    shares = (
        "[...document.querySelectorAll('.classes i')].map((bar) => bar.style.getPropertyValue('--share'))"
    )
    assert browser.evaluate(shares) == ["0.9732", "0.0268"]
    ink = browser.evaluate("getComputedStyle(document.body).color")
    assert ink == ("rgb(231, 233, 235)" if dark else "rgb(28, 33, 38)")


@pytest.mark.parametrize("width", [320, 1280])
def test_an_unknown_picture_and_why_it_is_taken_for_what_it_is(browser, endpoint, picture, width):
    unknown = {**TWO, "known": False, "score": 1.5}
    explained = {**unknown, "map": [[-1, 0, 0.5], [0, 0, 2]], "map_side": 0.875}
    endpoint.answers = [(200, unknown), (200, explained)]
    browser.open(endpoint.url, width)
    browser.drop([picture], 150, 200)
    assert "Unknown: unlike the pictures that the model was trained on." in results(browser)
    assert "Unknown" in browser.evaluate(STATUS)
    browser.evaluate("document.querySelector('.why button').click()")
    browser.wait_for("!!document.querySelector('.picture canvas')")
    assert "The redder, the more it speaks for <i>bees." in browser.evaluate(TEXT)
    assert endpoint.accepted == ["application/json", "application/json;explain=map"]
    canvas = "document.querySelector('canvas')"
    pixels = f"[...{canvas}.getContext('2d').getImageData(0, 0, 3, 2).data].filter((_, n) => n % 4 === 3)"
    assert browser.evaluate(pixels) == [0, 0, 41, 0, 0, 165]
    share = f"{canvas}.clientWidth / document.querySelector('.picture').clientWidth"
    assert browser.evaluate(share) == pytest.approx(0.875, abs=0.01)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.complaints() == []
    browser.evaluate("document.querySelector('.why button').click()")
    browser.wait_for("!document.querySelector('canvas')")
    assert "Show why" in browser.evaluate(TEXT)


@pytest.mark.parametrize(
    ("status", "told", "words"),
    [
        (200, {**TWO, "map": [[1]], "map_side": 0.875}, "sees too few pixels"),
        (503, {"code": "busy", "message": "The queue is full."}, "The queue is full."),
    ],
)
def test_a_picture_that_cannot_be_explained(browser, endpoint, picture, status, told, words):
    endpoint.answers = [(200, TWO), (status, told)]
    browser.open(endpoint.url)
    browser.drop([picture], 150, 200)
    assert "Unknown" not in results(browser)
    browser.evaluate("document.querySelector('.why button').click()")
    browser.wait_for(f"{TEXT}.includes({json.dumps(words)})")
    assert words in browser.evaluate(STATUS)
    assert not browser.evaluate("!!document.querySelector('canvas')")


def test_with_the_keyboard(browser, endpoint, picture):
    """Tab to the zone, Enter to choose; Tab again to unfold the classes, back to clear."""
    endpoint.answers = [(200, MANY)]
    browser.open(endpoint.url)
    browser.call("Page.setInterceptFileChooserDialog", enabled=True)
    browser.press("Tab")
    assert browser.evaluate(FOCUSED) == "files"
    assert browser.evaluate("getComputedStyle(document.querySelector('.zone')).outlineStyle") == "solid"
    browser.press("Enter")
    browser.wait_for("true")
    (chooser,) = browser.told("Page.fileChooserOpened")
    browser.call("DOM.setFileInputFiles", files=[str(picture)], backendNodeId=chooser["backendNodeId"])
    assert "c7" in results(browser)
    assert browser.evaluate(STATUS).startswith("bee.jpg: c7, 72.0%, after ")
    assert browser.evaluate(TEXT).count("4.0%") == 4
    browser.press("Tab")
    assert browser.evaluate(FOCUSED) == "clear"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.innerText") == "3 more classes"
    browser.press("Enter")
    assert browser.evaluate(TEXT).count("4.0%") == 7
    browser.evaluate("document.querySelector('#clear').focus()")
    browser.press(" ")
    assert browser.evaluate("document.querySelector('#results').children.length") == 0
    assert browser.evaluate(FOCUSED) == "files"


def test_a_pasted_picture(browser, endpoint):
    browser.open(endpoint.url)
    browser.evaluate("""(() => {
      const data = new DataTransfer();
      data.items.add(new File(["RIFF"], "shot.webp", {type: "image/webp"}));
      document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
    })()""")
    assert "shot.webp" in results(browser)
    assert endpoint.requests == [("/endpoints/flowers/invocations", "image/webp", b"RIFF")]


def test_what_the_endpoint_refuses_is_told_with_what_it_accepts(browser, endpoint, tmp_path):
    endpoint.answers = [(400, {"code": "invalid_image", "message": "The body is not an image."})]
    photo = tmp_path / "IMG_1.heic"
    photo.write_bytes(b"ftypheic")
    browser.open(endpoint.url)
    browser.drop([photo], 150, 200)
    text = results(browser)
    assert "This file is not an image." in text
    assert "JPEG, PNG, WebP, HEIC, AVIF, BMP or TIFF" in text
    assert "no preview" in text
    assert "This file is not an image." in browser.evaluate(STATUS)
    assert endpoint.requests[0][1] == "application/x-image"


def test_a_busy_endpoint_is_asked_again(browser, endpoint, picture):
    endpoint.answers = [(503, {"code": "busy", "message": "The queue is full."}), (200, TWO)]
    browser.open(endpoint.url)
    browser.drop([picture], 150, 200)
    assert "The queue is full." in results(browser)
    assert browser.evaluate("document.querySelector('.failed button').ariaLabel") == "Try again: bee.jpg"
    browser.evaluate("document.querySelector('.failed button').click()")
    browser.wait_for(f"{TEXT}.includes('97.3%')")
    assert browser.evaluate("document.activeElement.className") == "result "  # the keyboard's focus is there


def test_an_endpoint_that_is_gone(browser, endpoint, picture):
    endpoint.answers = [(None, None)]
    browser.open(endpoint.url)
    browser.drop([picture], 150, 200)
    text = results(browser)
    assert "The endpoint does not answer." in text
    assert "Try again" in text


def test_a_file_that_is_too_large_is_not_sent(browser, endpoint, tmp_path):
    large = tmp_path / "large.tiff"
    with large.open("wb") as file:
        file.truncate(MAX_BODY_BYTES + 1)
    browser.open(endpoint.url)
    browser.drop([large], 150, 200)
    assert "too large" in results(browser)
    assert browser.evaluate("MAX_BODY_BYTES") == MAX_BODY_BYTES
    assert endpoint.requests == []


def test_many_pictures_are_asked_about_two_at_a_time(browser, endpoint, picture, tmp_path):
    pictures = [tmp_path / f"{number}.jpg" for number in range(7)]
    for path in pictures:
        path.write_bytes(picture.read_bytes())
    endpoint.go.clear()
    browser.open(endpoint.url)
    browser.drop(pictures, 150, 200)
    browser.wait_for("document.querySelectorAll('.waiting').length === 7")
    endpoint.go.set()
    results(browser, 7)
    assert len(endpoint.requests) == 7
    assert endpoint.most <= 2


def test_more_pictures_than_it_shows_are_reported(browser, endpoint, tmp_path):
    files = [tmp_path / f"{number}.jpg" for number in range(103)]
    for file in files:
        file.write_bytes(b"")
    browser.open(endpoint.url)
    browser.drop(files, 150, 200)
    results(browser, 100)
    assert len(endpoint.requests) == 100
    told = "3 pictures were left out: this page takes 100 at a time"
    assert told in browser.evaluate("document.querySelector('#limit').innerText")
    browser.drop(files[:1], 150, 200)
    results(browser, 100)
    assert browser.evaluate("document.querySelector('#limit').hidden")


def test_what_a_screen_reader_says(browser, endpoint, picture):
    browser.open(endpoint.url)
    browser.drop([picture], 150, 200)
    results(browser)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    said = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"] and "name" in node
    }
    assert {
        ("button", "Choose pictures"),
        ("heading", "What is in this picture?"),
        ("region", "Answers"),
        ("heading", "<i>bees 97.3%"),
        ("button", "Clear"),
    } <= said


def test_a_mouse_leaves_no_ring_behind(browser, endpoint):
    browser.open(endpoint.url)
    browser.call("Page.setInterceptFileChooserDialog", enabled=True)
    where = {"x": 640, "y": 300, "button": "left", "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, **where)
    assert browser.evaluate(FOCUSED) == "files"
    assert browser.evaluate("getComputedStyle(document.querySelector('.zone')).outlineStyle") == "none"


def test_the_page_would_not_be_let_to_ask_elsewhere(browser, endpoint):
    """Checks that `complaints` and the policy work."""
    browser.open(endpoint.url)
    browser.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
    assert "Content Security Policy" in json.dumps(browser.complaints())


def test_through_the_local_service_to_the_real_server(browser, archive, tmp_path):
    """Red is ants, blue is bees."""
    server = launch(Home(tmp_path), archive / "model.tar.gz", tmp_path / "endpoint", base_environment({}))
    package = {
        "ModelPackageGroupName": "plants",
        "ModelPackageVersion": 3,
        "CustomerMetadataProperties": {"test_accuracy": "0.9 from 0.8 to 0.95 on 100 pictures"},
    }
    browse = partial(
        answer,
        invoke=lambda _, *request: server.invoke(*request),
        page=lambda _: server.page(),
        version=lambda _: package,
    )
    service = Server(application(None, None, None, None, browse))
    service.start()
    try:
        server.wait_until_healthy(threading.Event())
        blue = tmp_path / "blue.webp"
        Image.new("RGB", (90, 60), (0, 0, 255)).save(blue)
        browser.open(f"{service.url}/endpoints/flowers/")
        browser.drop([blue, PAGE], 150, 200)
        text = results(browser, 2)
        model = browser.evaluate("document.querySelector('#model').innerText")
    finally:
        service.stop()
        server.stop()
    assert "blue.webp" in text and "bees" in text and "ants" in text
    assert "int8 engine: 8-bit integers" in text
    assert model == "Model version 3 of plants; test accuracy 90 % from 80 % to 95 % on 100 pictures"
    assert "This file is a web page" in text
    assert len(browser.complaints()) == 1  # the status 400 of the page itself, which is not a picture


def test_it_is_small():
    assert PAGE.stat().st_size < 20_000
