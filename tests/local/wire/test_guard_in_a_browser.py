"""The same in Chromium (`apt-get install chromium` on Debian); skipped without it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, Browser
from tests.local.wire.scene import ATTACKS, SIGNED, Scene


class Foreign(SimpleHTTPRequestHandler):
    """Pages of another web site; /?sandbox has an opaque origin, like a sandboxed frame."""

    def end_headers(self) -> None:
        if self.path.endswith("?sandbox"):
            self.send_header("Content-Security-Policy", "sandbox allow-scripts allow-forms")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to stderr."""


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[int]:
    """The port of another web site."""
    (tmp_path / "index.html").write_text("<title>evil</title>")
    handler: Callable[..., Any] = partial(Foreign, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that resolves evil.example to this machine."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    names = ("--host-resolver-rules=MAP evil.example 127.0.0.1", "--no-proxy-server")
    with Browser(tmp_path_factory.mktemp("profile"), *names) as browser:
        yield browser


POST = """(async () => {
  for (const [path, body] of ATTACKS)
    await fetch("SERVICE" + path, {method: "POST", mode: "no-cors", body}).catch(String);
})()"""
EMBED = """(async () => {
  const ended = (element) => new Promise((resolve) => element.onload = element.onerror = resolve);
  const frame = document.createElement("iframe");
  frame.name = "frame";
  document.body.append(frame);
  const form = document.createElement("form");
  Object.assign(form, {action: "SERVICE/endpoints/e/invocations", method: "POST", target: "frame"});
  document.body.append(form);
  const loaded = ended(frame);
  form.submit();
  await loaded;
  for (const name of ["img", "script"]) {
    const element = document.createElement(name);
    const done = ended(element);
    element.src = "SERVICE/pictures/a?PRESIGNED";
    document.body.append(element);
    await done;
  }
})()"""


def statuses(browser: Browser, script: str, scene: Scene, base: str) -> list[int]:
    """The answers to requests by a script of the open page."""
    script = script.replace("PRESIGNED", SIGNED.format("s3")).replace("SERVICE", base)
    browser.told()
    browser.events.clear()
    browser.evaluate(script.replace("ATTACKS", json.dumps(scene.attacks)))
    asked = {
        event["requestId"]
        for event in browser.told("Network.requestWillBeSent")
        if not event["request"]["url"].endswith("/favicon.ico")  # the browser's own
    }
    answers = browser.told("Network.responseReceivedExtraInfo")
    return [answer["statusCode"] for answer in answers if answer["requestId"] in asked]


@pytest.mark.parametrize(
    "page",
    [
        "http://127.0.0.1:FOREIGN/",
        "http://localhost:FOREIGN/",
        "http://evil.example:FOREIGN/",
        "file",
        "http://127.0.0.1:FOREIGN/?sandbox",
    ],
)
def test_a_foreign_page_does_nothing(scene: Scene, browser: Browser, foreign: int, page: str) -> None:
    url = Path("index.html").resolve().as_uri() if page == "file" else page.replace("FOREIGN", str(foreign))
    browser.open(url)
    assert statuses(browser, POST, scene, scene.service.url) == [403] * len(ATTACKS)
    assert statuses(browser, EMBED, scene, scene.service.url) == [403] * 3
    assert scene.harm() == []


def test_a_name_that_was_pointed_here_does_nothing(scene: Scene, browser: Browser) -> None:
    """DNS rebinding: the page and the service have the same origin."""
    base = f"http://evil.example:{scene.port}"
    browser.open(f"{base}/endpoints/e/")
    assert "only this machine's names are served" in browser.evaluate("document.body.innerText")
    assert statuses(browser, POST, scene, base) == [403] * len(ATTACKS)
    assert scene.harm() == []


def test_a_link_of_a_foreign_page_leads_nowhere(scene: Scene, browser: Browser, foreign: int) -> None:
    browser.open(f"http://127.0.0.1:{foreign}/")
    browser.evaluate(f"location.href = {scene.service.url + '/endpoints/e/'!r}")
    browser.wait_for("document.body?.innerText.includes('comes from another web site')")


def test_an_object_that_is_a_page_is_a_foreign_one(scene: Scene, browser: Browser) -> None:
    page = "<script>document.title = 'ran'</script>"
    scene.s3.put_object(Bucket="pictures", Key="evil.html", Body=page.encode(), ContentType="text/html")
    browser.open(scene.s3.generate_presigned_url("get_object", {"Bucket": "pictures", "Key": "evil.html"}))
    assert browser.evaluate("document.title") == "ran"
    assert statuses(browser, POST, scene, scene.service.url) == [403] * len(ATTACKS)
    scene.s3.delete_object(Bucket="pictures", Key="evil.html")
    assert scene.harm() == []


def test_a_person_keeps_working(scene: Scene, browser: Browser) -> None:
    browser.open(f"{scene.service.url}/endpoints/e/")
    assert browser.evaluate("document.body.innerText") == "own page"
    assert (
        browser.evaluate("fetch('invocations', {method: 'POST', body: 'x'}).then(({status}) => status)")
        == 200
    )
    assert scene.invoked.read_text() == "x"
    scene.invoked.unlink()
    browser.open(scene.s3.generate_presigned_url("get_object", {"Bucket": "pictures", "Key": "a"}))
    assert browser.evaluate("document.body.innerText") == "own object"
