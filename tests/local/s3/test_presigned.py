"""Presigned URLs and forms permit exactly what is signed."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from email.message import Message
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config

from tests.local.s3.buckets import code, keys, put

VERSIONS = ("s3", "s3v4")
WHERE = {"Bucket": "pictures", "Key": "a b.txt"}


@pytest.fixture(params=VERSIONS)
def signer(request, client, s3):
    put(s3, "a b.txt", body=b"signed")
    return client("s3", signature_version=request.param)


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status, and an error's code or else the body."""
    request = Request(url, body, headers, method=method)
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        text = error.read().decode()
        return error.code, text.partition("<Code>")[2].partition("</Code>")[0]


def test_every_presigned_operation_is_answered(signer, s3, server):
    assert ask(signer.generate_presigned_url("get_object", WHERE)) == (200, "signed")
    whole = {
        **WHERE,
        "ResponseContentType": "text/x-own",
        "ResponseContentDisposition": 'attachment; filename="ü+ä.txt"',
    }
    assert ask(signer.generate_presigned_url("get_object", whole)) == (200, "signed")
    assert ask(signer.generate_presigned_url("head_object", WHERE), "HEAD") == (200, "")
    listed = signer.generate_presigned_url("list_objects_v2", {"Bucket": "pictures", "Prefix": "a "})
    assert "<Key>a%20b.txt</Key>" in ask(listed)[1]
    new = {"Bucket": "pictures", "Key": "neu/ä.txt", "ContentType": "text/plain", "Metadata": {"made": "x"}}
    url = signer.generate_presigned_url("put_object", new)
    assert ask(url, "PUT", b"new", **{"Content-Type": "text/plain", "x-amz-meta-made": "x"}) == (200, "")
    assert s3.get_object(Bucket="pictures", Key="neu/ä.txt")["Metadata"] == {"made": "x"}
    version = signer.meta.config.signature_version
    virtual = boto3.client(
        "s3", endpoint_url=server.url.replace("127.0.0.1", "localhost"), region_name="us-east-1",
        aws_access_key_id="local", aws_secret_access_key="local",
        config=Config(signature_version=version, s3={"addressing_style": "virtual"}),
    )  # fmt: skip
    url = virtual.generate_presigned_url("get_object", WHERE)
    host = url.split("/")[2]
    assert host.startswith("pictures.localhost")
    local = url.replace(host, server.url.removeprefix("http://"))
    assert ask(local, Host=host) == (200, "signed")
    assert ask(signer.generate_presigned_url("delete_object", WHERE), "DELETE") == (204, "")
    assert keys(s3) == ["neu/ä.txt"]


def test_what_was_not_signed_is_refused(signer, s3):
    put(s3, "other", body=b"secret")
    url = signer.generate_presigned_url("get_object", WHERE)
    other_expiry = url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601")
    if "Expires=" in url and "X-Amz" not in url:
        at = url.partition("&Expires=")[2].partition("&")[0]
        other_expiry = url.replace(f"Expires={at}", f"Expires={int(at) + 1}")
    assert other_expiry != url
    for changed in (
        url.replace("a%20b.txt", "other"),
        url.replace("Signature=", "Signature=0"),
        other_expiry,
        url + "&response-content-type=a/b",
    ):
        assert ask(changed) == (403, "SignatureDoesNotMatch"), changed
    assert ask(url, "DELETE") == (403, "SignatureDoesNotMatch")
    assert ask(url, "PUT", b"changed") == (403, "SignatureDoesNotMatch")
    refused = ask(url, **{"x-amz-meta-more": "1"})
    assert refused in {(403, "SignatureDoesNotMatch"), (403, "AccessDenied")}
    typed = signer.generate_presigned_url("put_object", {**WHERE, "ContentType": "text/plain"})
    assert ask(typed, "PUT", b"changed", **{"Content-Type": "image/png"}) == (403, "SignatureDoesNotMatch")
    assert s3.get_object(**WHERE)["Body"].read() == b"signed"


def test_another_host_than_the_signed_one_is_refused(client, s3):
    put(s3, "a b.txt")
    url = client("s3", signature_version="s3v4").generate_presigned_url("get_object", WHERE)
    assert ask(url.replace("127.0.0.1", "localhost")) == (403, "SignatureDoesNotMatch")


def test_what_has_expired_is_refused(signer):
    brief = signer.generate_presigned_url("get_object", WHERE, ExpiresIn=1)
    time.sleep(2.1)
    with pytest.raises(HTTPError) as caught:
        urlopen(brief, timeout=20)
    text = caught.value.read()
    assert (caught.value.code, b"<Code>AccessDenied</Code>" in text) == (403, True)
    assert b"Request has expired" in text


def test_a_url_of_more_than_a_week_is_refused(client, s3):
    put(s3, "a b.txt")
    signer = client("s3", signature_version="s3v4")
    assert ask(signer.generate_presigned_url("get_object", WHERE, ExpiresIn=604_800))[0] == 200
    long = signer.generate_presigned_url("get_object", WHERE, ExpiresIn=604_801)
    assert ask(long) == (400, "AuthorizationQueryParametersError")
    for name in ("X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires", "X-Amz-Algorithm", "X-Amz-Signature"):
        assert ask(long.replace(name, "X-Amz-Other")) == (400, "AuthorizationQueryParametersError"), name
    assert ask(long.replace("604801", "soon")) == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_the_service_does_not_know_is_named(s3, server, version):
    put(s3, "a b.txt")
    stranger = boto3.client(
        "s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="AKIASTRANGER",
        aws_secret_access_key="x", config=Config(signature_version=version),
    )  # fmt: skip
    assert ask(stranger.generate_presigned_url("get_object", WHERE)) == (403, "InvalidAccessKeyId")
    assert stranger.get_object(**WHERE)["ETag"]  # signatures in headers are not checked


def post(form, content: bytes = b"picture", **more: str) -> tuple[int, Message, str]:
    """Status, headers and body of the answer to a form, its file last."""
    boundary = "b0undary"
    fields = {**form["fields"], **more}
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()
    ]
    file = (
        'Content-Disposition: form-data; name="file"; filename="cat.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts).encode()
    body += f"--{boundary}\r\n{file}".encode() + content + f"\r\n--{boundary}--\r\n".encode()
    request = Request(form["url"], body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers, error.read().decode()


def refused(*arguments, **more) -> str:
    """The code and the message of the refusal of a form."""
    status, _, text = post(*arguments, **more)
    assert status >= 400
    return "".join(
        text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0] + ": " for tag in ("Code", "Message")
    )[:-2]


def test_a_signed_form_puts_an_object(signer, s3):
    fields = {"Content-Type": "image/jpeg", "x-amz-meta-by": "form", "success_action_status": "201"}
    conditions = [
        ["starts-with", "$Content-Type", "image/"],
        {"x-amz-meta-by": "form"},
        {"success_action_status": "201"},
        ["content-length-range", 1, 3 << 20],
    ]
    form = signer.generate_presigned_post("pictures", "in/${filename}", fields, conditions)
    content = bytes(range(256)) * 8192  # 2 MiB, with every line break there is
    status, headers, text = post(form, content)
    assert status == 201
    assert "<Key>in/cat.jpg</Key>" in text
    found = s3.get_object(Bucket="pictures", Key="in/cat.jpg")
    assert found["Body"].read() == content
    assert found["ETag"] == headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert (found["ContentType"], found["Metadata"]) == ("image/jpeg", {"by": "form"})
    plain = signer.generate_presigned_post("pictures", "plain")
    assert post(plain)[0] == 204


def test_a_form_may_do_only_what_its_policy_allows(signer, s3):
    ranged = signer.generate_presigned_post(
        "pictures", "in/a", {"Content-Type": "image/jpeg"},
        [["starts-with", "$Content-Type", "image/"], ["content-length-range", 2, 8]],
    )  # fmt: skip
    failed = "AccessDenied: Invalid according to Policy: "
    assert refused(ranged, b"x").startswith("EntityTooSmall: ")
    assert refused(ranged, b"123456789").startswith("EntityTooLarge: ")
    assert refused(ranged, key="other") == failed + 'Policy Condition failed: {"key": "in/a"}'
    assert refused(ranged, **{"Content-Type": "text/html"}).startswith(failed + "Policy Condition failed: ")
    assert refused(ranged, **{"x-amz-meta-more": "1"}) == failed + "Extra input fields: x-amz-meta-more"
    assert post(ranged, b"123", **{"x-ignore-me": "1"})[0] == 204
    elsewhere = {**ranged, "url": ranged["url"].replace("pictures", "elsewhere")}
    s3.create_bucket(Bucket="elsewhere")
    assert refused(elsewhere).startswith(failed + "Policy Condition failed: ")
    policy = json.loads(base64.b64decode(ranged["fields"]["policy"]))
    wider = base64.b64encode(json.dumps({**policy, "expiration": "2099-01-01T00:00:00Z"}).encode()).decode()
    assert refused(ranged, policy=wider).startswith("SignatureDoesNotMatch: ")
    without = {**ranged, "fields": {k: v for k, v in ranged["fields"].items() if k != "policy"}}
    assert refused(without).startswith("AccessDenied: ")
    assert keys(s3) == ["a b.txt", "in/a"]


def signed_form(url: str, policy: dict, **fields: str) -> dict:
    """A form of any policy, signed here."""
    text = base64.b64encode(json.dumps(policy).encode()).decode()
    signature = base64.b64encode(hmac.new(b"local", text.encode(), "sha1").digest()).decode()
    return {
        "url": f"{url}/pictures",
        "fields": {"AWSAccessKeyId": "local", **fields, "policy": text, "signature": signature},
    }


def test_forms_end_and_lead_on(s3, server):
    soon, past = (f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (1, -1))
    conditions = [{"bucket": "pictures"}, ["starts-with", "$key", ""]]
    expired = signed_form(server.url, {"expiration": past, "conditions": conditions}, key="a")
    assert refused(expired) == "AccessDenied: Invalid according to Policy: Policy expired."
    no_end = signed_form(server.url, {"conditions": conditions}, key="a")
    assert refused(no_end).startswith("InvalidPolicyDocument: ")
    odd = signed_form(
        server.url, {"expiration": soon, "conditions": [*conditions, ["like", "$key", "a"]]}, key="a"
    )
    assert refused(odd) == 'InvalidPolicyDocument: Invalid Policy: Invalid condition ["like", "$key", "a"]'
    then = f"{server.url}/pictures/a?X-Amz-Credential=a/b/c/s3/e"
    leads = signed_form(
        server.url, {"expiration": soon, "conditions": [*conditions, {"success_action_redirect": then}]},
        key="a", success_action_redirect=then,
    )  # fmt: skip
    status, _, text = post(leads)  # urllib follows the redirect to the address in the form
    assert (status, "AuthorizationQueryParametersError" in text) == (400, True), text
    tagged = [*conditions, {"tagging": "<Tagging/>"}]
    refusing = signed_form(
        server.url, {"expiration": soon, "conditions": tagged}, key="b", tagging="<Tagging/>"
    )
    assert refused(refusing).startswith("NotImplemented: ")
    assert keys(s3) == ["a"]
    broken = Request(
        f"{server.url}/pictures", b"no form", {"Content-Type": "multipart/form-data; boundary=b"}
    )
    with pytest.raises(HTTPError) as caught:
        urlopen(broken, timeout=20)
    assert b"MalformedPOSTRequest" in caught.value.read()
    assert code(s3.head_object, Bucket="pictures", Key="b") == "404"
