"""Programs and the service's own pages may use it; other web sites may not."""

from __future__ import annotations

import json

import pytest

from tests.local.wire.scene import SIGNED, Scene


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
def test_programs_and_own_pages_keep_working(scene: Scene, headers: tuple[str, ...]) -> None:
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


def test_buckets_in_the_host_name_keep_working(scene: Scene) -> None:
    sent = head(host="pictures.localhost:4566")
    assert scene.send("GET /a HTTP/1.1", *sent, authorization("s3"))[2] == b"own object"


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
