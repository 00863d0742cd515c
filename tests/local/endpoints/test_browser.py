"""An endpoint in a browser, through the local service: who gets which answer."""

import io
import json

import pytest

from local.endpoints import browser
from local.wire.errors import ModelError, ServiceError
from local.wire.http import HttpRequest

PAGE = "/endpoints/flowers/"
INVOCATIONS = "/endpoints/flowers/invocations"


def invoke(name, body, headers):
    if body == b"bad":
        raise ModelError(400, '{"code": "invalid_image", "message": "The body is not an image."}', "log")
    if body == b"fatal":
        raise ModelError(0, "the connection broke", "log")
    return 200, {"content-type": "application/json"}, f"{name} {headers['content-type']}".encode() + body


def page(name):
    if name == "other":
        raise ServiceError("ValidationError", "Endpoint other not found.")
    return 200, {"content-type": "text/html"}, name.encode()


def version(name):
    if name == "unregistered":
        return None
    return {"ModelPackageGroupName": "g", "ModelPackageVersion": 3, "CustomerMetadataProperties": {"a": "1"}}


def ask(method, path, body=b""):
    headers = {"host": "127.0.0.1:4566", "content-type": "image/png"}
    return browser.answer(HttpRequest(method, path, {}, headers, io.BytesIO(body)), invoke, page, version)


def test_the_page_and_its_predictions():
    assert ask("GET", PAGE).body == b"flowers"
    answer = ask("POST", INVOCATIONS, b"!")
    assert (answer.status, answer.body) == (200, b"flowers image/png!")


def test_which_version_of_a_model_it_is():
    told = {"group": "g", "version": 3, "metrics": {"a": "1"}}
    assert json.loads(ask("GET", "/endpoints/flowers/model").body) == told
    assert json.loads(ask("GET", "/endpoints/unregistered/model").body) == {}


def test_without_the_last_slash_the_browser_is_sent_on():
    answer = ask("GET", "/endpoints/gr\u00fcn")
    assert (answer.status, answer.headers["location"]) == (308, "/endpoints/gr%C3%BCn/")


def test_errors_are_those_of_the_container():
    bad = ask("POST", INVOCATIONS, b"bad")
    assert (bad.status, json.loads(bad.body)["code"]) == (400, "invalid_image")
    fatal = ask("POST", INVOCATIONS, b"fatal")
    assert (fatal.status, json.loads(fatal.body)["code"]) == (502, "ModelError")
    assert "the connection broke" in json.loads(fatal.body)["message"]
    missing = ask("GET", "/endpoints/other/")
    assert (missing.status, json.loads(missing.body)["message"]) == (404, "Endpoint other not found.")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", INVOCATIONS), ("POST", PAGE), ("PUT", PAGE), ("GET", "/endpoints/a/b/")],
)
def test_everything_else_is_not_for_browsers(method, path):
    assert ask(method, path) is None
