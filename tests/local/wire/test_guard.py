"""Who may use the local service: programs and its own pages may, another web site may not.

The browser is Chromium, Debian's package (`apt-get install chromium`); without it those tests are skipped.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPResponse
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.service import LocalService
from tests.browser import CHROMIUM, Browser
from tests.local.endpoint_service import pack

SIGNED = "X-Amz-Credential=any/20260101/us-east-1/{}/aws4_request"
ROLE = "arn:aws:iam::123456789012:role/any"
# A page for GET, and a file that grows with every POST.
APP = """
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        with open(os.environ["INVOKED"], "a") as file:
            file.write("x")
    sent = [(b"content-type", b"text/html"), (b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": sent})
    await send({"type": "http.response.body", "body": b"<title>Endpoint</title>own page"})
"""
# What a foreign page tries: path, body. All are requests that need no leave (no preflight).
ATTACKS = (
    (f"/2015-03-31/functions?{SIGNED.format('lambda')}", "FUNCTION"),
    (f"/2015-03-31/functions/evil/invocations?{SIGNED.format('lambda')}", "{}"),
    (f"/pictures?delete&{SIGNED.format('s3')}", "<Delete><Object><Key>a</Key></Object></Delete>"),
    (f"/endpoints/e/invocations?{SIGNED.format('sagemaker')}", "picture"),
    ("/endpoints/e/invocations", "picture"),
    (f"/?Action=CreateUser&UserName=evil&Version=2010-05-08&{SIGNED.format('iam')}", ""),
    (f"/moto-api/recorder/start-recording?{SIGNED.format('iam')}", ""),
    (f"/moto-api/recorder/reset-recording?{SIGNED.format('iam')}", ""),
)


class Scene:
    """A local service with an object, an endpoint and the traces that an attack would leave."""

    def __init__(self, folder: Path, service: LocalService) -> None:
        self.service = service
        self.port = int(service.url.rpartition(":")[2])
        self.ran, self.invoked = folder / "ran", folder / "invoked"
        self.s3, self.functions, self.iam = map(service.client, ("s3", "lambda", "iam"))
        s3, sagemaker = self.s3, service.client("sagemaker")
        s3.create_bucket(Bucket="pictures")
        s3.put_object(Bucket="pictures", Key="a", Body=b"own object", ContentType="text/plain")
        pack(service.home, "m.tar.gz", app_py=APP)
        container = {"ModelDataUrl": "s3://bucket/m.tar.gz", "Environment": {"INVOKED": str(self.invoked)}}
        sagemaker.create_model(
            ModelName="m", PrimaryContainer={**container, "Image": "i"}, ExecutionRoleArn=ROLE
        )
        variant = {
            "VariantName": "v",
            "ModelName": "m",
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
        }
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        waiter = sagemaker.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName="e", WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    @property
    def attacks(self) -> list[tuple[str, str]]:
        """ATTACKS, with a function that would leave the file `ran`."""
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr(
                "go.py", f"def handler(event, context):\n    open({str(self.ran)!r}, 'w').close()"
            )
        function = {
            "FunctionName": "evil",
            "Runtime": "python3.12",
            "Role": ROLE,
            "Handler": "go.handler",
            "Code": {"ZipFile": base64.b64encode(code.getvalue()).decode()},
        }
        return [(path, json.dumps(function) if body == "FUNCTION" else body) for path, body in ATTACKS]

    def harm(self) -> list[str]:
        """What an attack has done."""
        users = self.iam.list_users()["Users"]  # moto would record this
        objects = self.s3.list_objects_v2(Bucket="pictures").get("Contents", [])
        done = {
            "an object was deleted": not objects,
            "a function was created": self.functions.list_functions()["Functions"],
            "a function ran": self.ran.exists(),
            "the endpoint was invoked": self.invoked.exists(),
            "a user was created": users,
            "moto recorded": Path("moto_recording").exists(),
        }
        return [what for what, happened in done.items() if happened]

    def send(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """The answer to a request of these very lines: status, headers in lower case, body."""
        lines = (line, *headers, f"Content-Length: {len(body)}", "Connection: close")
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            answer = HTTPResponse(client, method=line.split()[0])
            answer.begin()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("guard")
    with LocalService(folder / "home") as service:
        yield Scene(folder, service)


@pytest.fixture
def scene(made: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The module's scene, in a working directory where nobody has recorded yet."""
    monkeypatch.chdir(tmp_path)
    return made


def head(*lines: str, host: str = "127.0.0.1:4566") -> tuple[str, ...]:
    return (f"Host: {host}", *lines)


OWN = "http://127.0.0.1:4566"
FOREIGN = {
    "no host": (),
    "a name": head(host="evil.example"),
    "a name with our port": head(host="evil.example:4566"),
    "a name and its own origin": head("Origin: http://evil.example:4566", host="evil.example:4566"),
    "a name that begins like ours": head(host="127.0.0.1.evil.example"),
    "a name that begins with localhost": head(host="localhost.evil.example"),
    "a name that ends like ours": head(host="evillocalhost"),
    "a name with a final dot": head(host="evil.example."),
    "localhost with a final dot": head(host="localhost."),
    "a user": head(host="evil.example@127.0.0.1"),
    "a user of ours": head(host="127.0.0.1@evil.example"),
    "all addresses": head(host="0.0.0.0:4566"),
    "another machine": head(host="192.168.0.7:4566"),
    "a port that is none": head(host="127.0.0.1:4566.evil.example"),
    "two hosts": (*head(), "Host: evil.example"),
    "two hosts, ours last": ("Host: evil.example", *head()),
    "an empty host": head(host=""),
    "a foreign origin": head("Origin: http://evil.example"),
    "an origin that begins like ours": head("Origin: http://127.0.0.1:4566.evil.example"),
    "our origin in TLS": head("Origin: https://127.0.0.1:4566"),
    "another port": head("Origin: http://127.0.0.1:8888"),
    "another name of ours": head("Origin: http://localhost:4566"),
    "an opaque origin": head("Origin: null"),
    "an empty origin": head("Origin:"),
    "two origins": head(f"Origin: {OWN}", "Origin: http://evil.example"),
    "a foreign origin from our own site": head("Origin: http://evil.example", "Sec-Fetch-Site: same-origin"),
    "another site": head("Sec-Fetch-Site: cross-site"),
    "another site in capitals": head("SEC-FETCH-SITE: Cross-Site"),
    "another port of ours": head("Sec-Fetch-Site: same-site"),
    "another site with our origin": head(f"Origin: {OWN}", "Sec-Fetch-Site: cross-site"),
    "two sites": head("Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"),
}
SERVICES = ("s3", "sagemaker", "lambda", "iam", "sts")


def authorization(service: str) -> str:
    scope = f"any/20260101/us-east-1/{service}/aws4_request"
    return f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, Signature=0"


def cors(told: dict[str, str]) -> list[str]:
    """The headers that would let another web site read the answer."""
    return [name for name in told if name.startswith("access-control-")]


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_other_web_sites_are_refused_whatever_they_ask(scene: Scene, headers: tuple[str, ...]) -> None:
    asked = [(f"POST {path}", headers, body) for path, body in scene.attacks]
    asked += [(f"GET /?{SIGNED.format(service)}", headers, "") for service in SERVICES]
    asked += [("GET /", (*headers, authorization(service)), "") for service in SERVICES]
    asked += [(f"{method} /endpoints/e/", headers, "") for method in ("GET", "HEAD", "OPTIONS")]
    asked += [
        ("GET /", headers, ""),
        (f"DELETE /pictures/a?{SIGNED.format('s3')}", headers, ""),
        (f"HEAD /pictures/a?{SIGNED.format('s3')}", headers, ""),
        (f"OPTIONS /pictures/a?{SIGNED.format('s3')}", (*headers, "Access-Control-Request-Method: PUT"), ""),
        ("OPTIONS /", (*headers, authorization("iam"), "Access-Control-Request-Method: POST"), ""),
    ]
    for request, lines, body in asked:
        status, told, _ = scene.send(f"{request} HTTP/1.1", *lines, body=body.encode())
        assert (status, cors(told)) == (403, []), request
    assert scene.send("GET / HTTP/1.0", *headers)[0] == 403
    assert scene.harm() == []


@pytest.mark.parametrize(
    "target", ["http://evil.example/", "http://evil.example", "HTTP://u@127.0.0.1:4566/"]
)
def test_a_target_may_not_name_another_host(scene: Scene, target: str) -> None:
    assert scene.send(f"GET {target} HTTP/1.1", *head())[0] == 403
    assert scene.send("GET http://127.0.0.1:4566/ HTTP/1.1", *head())[0] == 200
    assert scene.send("GET http://127.0.0.1:4566/ HTTP/1.1", *head(host="evil.example"))[0] == 403


def test_who_is_refused_is_told_why_in_the_protocol_it_speaks(scene: Scene) -> None:
    evil = head("Origin: http://evil.example")
    body = scene.send(f"GET /pictures/a?{SIGNED.format('s3')} HTTP/1.1", *evil)[2]
    assert b"<Code>AccessDenied</Code>" in body and b"(Origin: http://evil.example)" in body
    body = scene.send("GET /endpoints/e/ HTTP/1.1", *evil)[2]
    assert json.loads(body)["message"] == (
        "The request comes from another web site (Origin: http://evil.example), which may not use this one; "
        "to open a page, type its address into the browser"
    )
    body = scene.send("GET / HTTP/1.1", authorization("lambda"), *head(host="my-laptop:4566"))[2]
    assert json.loads(body) == {
        "__type": "AccessDenied",
        "message": "The request is for my-laptop:4566, and only this machine's names are served; "
        "use the address with the host 127.0.0.1 or localhost",
    }


OURS = {
    "a program": head(),
    "without a port": head(host="localhost"),
    "any port (a tunnel)": head(host="localhost:9999"),
    "another loopback address": head(host="127.0.0.2:4566"),
    "IPv6": head(host="[::1]:4566"),
    "capitals": head("Origin: http://localhost:4566", host="LocalHost:4566"),
    "an address that was typed": head("Sec-Fetch-Site: none"),
    "an own page": head(f"Origin: {OWN}", "Sec-Fetch-Site: same-origin"),
}


@pytest.mark.parametrize("headers", OURS.values(), ids=OURS)
def test_programs_and_own_pages_go_on_working(scene: Scene, headers: tuple[str, ...]) -> None:
    assert b"AWS_ENDPOINT_URL" in scene.send("GET / HTTP/1.1", *headers)[2]
    assert b"own page" in scene.send("GET /endpoints/e/ HTTP/1.1", *headers)[2]
    for line in (f"GET /pictures/a?{SIGNED.format('s3')} HTTP/1.1", "GET /pictures/a HTTP/1.0"):
        assert scene.send(line, *headers, authorization("s3"))[2] == b"own object"
    form = "Content-Type: application/x-www-form-urlencoded"
    status, told, body = scene.send(
        "POST / HTTP/1.1", *headers, authorization("iam"), form, body=b"Action=ListUsers&Version=2010-05-08"
    )
    assert (status, b"<ListUsersResult>" in body) == (200, True)
    assert cors(told) == []


def test_buckets_in_the_host_name_go_on_working(scene: Scene) -> None:
    line = f"GET /a?{SIGNED.format('s3')} HTTP/1.1"
    assert scene.send(line, *head(host="pictures.localhost:4566"))[2] == b"own object"


@pytest.mark.parametrize(
    "path",
    [
        "/moto-api", "/moto-api/",
        "/moto-api/recorder/start-recording", "//moto-api/recorder/start-recording",
        "/%6Doto-api/recorder/start-recording", "/moto-api%2Frecorder/start-recording",
        "/moto-api//recorder/start-recording", "moto-api/recorder/start-recording",
        "http://127.0.0.1:4566/moto-api/recorder/start-recording", "/moto-api/recorder/reset-recording",
    ],
)  # fmt: skip
def test_motos_own_interface_is_out_of_reach(scene: Scene, path: str) -> None:
    for service in (*SERVICES, "motoapi.amazonaws"):  # in "com" it would be the name of moto's host
        scope = authorization(service).replace("us-east-1", "com")
        assert scene.send(f"POST {path} HTTP/1.1", *head(), scope)[0] >= 400
        assert scene.send(f"POST {path}?{SIGNED.format(service)} HTTP/1.1", *head())[0] >= 400
    assert scene.harm() == []


def test_a_bucket_may_have_the_name_of_motos_interface(scene: Scene) -> None:
    scene.s3.create_bucket(Bucket="moto-api")
    scene.s3.put_object(Bucket="moto-api", Key="reset", Body=b"x")
    assert scene.s3.get_object(Bucket="moto-api", Key="reset")["Body"].read() == b"x"


class Foreign(SimpleHTTPRequestHandler):
    """Pages of another web site; /?sandbox has an opaque origin, as a sandboxed frame does."""

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
    """A browser for which evil.example is a name of this machine."""
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
    """Those of the answers to what a script of the open page asks."""
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


def test_a_person_goes_on_working(scene: Scene, browser: Browser) -> None:
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
