"""Any request gets an answer like AWS's, never an internal error, and changes nothing outside the home."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from botocore.model import Shape
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from local.service import LocalService
from local.wire.limits import LEFT_OUT, pattern_of
from local.wire.operations import ControlPlane, service_model

EXAMPLES = 250
quickly = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
DEEP = 100_000
LONG = "n" * 4096
# Invalid names, keys, paths and addresses, and some valid ones.
ODD = [
    "m", "a", "a/b", "", ".", "..", "a.", "a...", " ", "a\0b", "/etc/passwd", "../../../../escaped",
    "a/../../escaped", "//a", LONG, "\x1b[2J", "\u202egnp.exe", "a\r\nx-amz-meta-b: c", "\ud800", "é" * 300,
    "9" * 5000, "-1", "²", "NaN", "1e999", "[" * DEEP, "{" + '"a": {' * 500 + "}" * 501, "%00", "${x}",
    "s3://pictures/", "s3://pictures/a", "s3://pictures/../../escaped", "s3://pictures/a\0b", "s3://../x",
    "s3://pictures//etc/passwd", f"s3://pictures/{LONG}", "s3://pictures/\ud800", "/opt/ml/processing/a",
    "/opt/ml/processing/../../../escaped", "/opt/ml/checkpoints/\0", "(", "(a+)+$", "*", "ml.m5.large",
    '{"Version": "2020-12-01", "Steps": []}', "2026-01-01",
]  # fmt: skip
# Values that the patterns of names, addresses, roles and tokens allow.
FITTING = [
    "m", "s3://pictures/a", "s3://pictures/out/", "arn:aws:iam::123456789012:role/r", "/opt/ml/processing/a",
    "arn:aws:sagemaker:us-east-1:123456789012:pipeline/m",
    "arn:aws:sagemaker:us-east-1:123456789012:pipeline/m/execution/abcdefghijkl",
    "c" * 32, "1", "ml.m5.large",
]  # fmt: skip
NUMBERS = [0, 1, 2, -1, 3600, 10**12, 10**30, -(10**18), 0.5, 1e308, 1e-320]
JUNK = st.sampled_from([None, True, [], {}, [[]], [None], {"a": {}}, *ODD, *NUMBERS])


def zipped(name: str) -> str:
    """A zip archive of one file, as JSON holds it."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, "x")
    return base64.b64encode(archive.getvalue()).decode()


@st.composite
def member(draw: st.DrawFn, shape: Shape, depth: int = 0) -> Any:
    """A value for a shape of botocore's model: valid, odd, or of another type."""
    if draw(st.integers(0, 60)) == 0:
        return draw(JUNK)
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        members: dict[str, Shape] = shape.members  # type: ignore[attr-defined]
        required: list[str] = shape.required_members  # type: ignore[attr-defined]
        chosen = [name for name in members if name in required or not draw(st.integers(0, 5))]
        return {name: draw(member(members[name], depth + 1)) for name in chosen} if depth < 6 else {}
    if kind == "list":
        inner: Shape = shape.member  # type: ignore[attr-defined]
        return [draw(member(inner, depth + 1)) for _ in range(draw(st.integers(0, 2)))]
    if kind == "map":
        value: Shape = shape.value  # type: ignore[attr-defined]
        names = draw(st.lists(st.sampled_from(ODD), max_size=2))
        return {name: draw(member(value, depth + 1)) for name in names}
    if kind == "boolean":
        return draw(st.booleans())
    if kind == "string":
        fits = pattern_of(limits.get("pattern", ".*")).fullmatch if shape.name not in LEFT_OUT else bool
        fitting = limits.get("enum") or [odd for odd in FITTING if fits(odd)] or ["m"]
        return draw(st.sampled_from(ODD if draw(st.integers(0, 9)) == 0 else fitting))
    if kind == "blob":
        return draw(
            st.sampled_from([zipped("m.py"), zipped("../escaped"), zipped(LONG), "UEsDBA==", "é", ""])
        )
    near = [limits.get("min", 1), limits.get("max", 1)]
    return draw(st.sampled_from(NUMBERS if draw(st.integers(0, 4)) == 0 else near))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalService, list[str]]]:
    """A service, and the names of its operations of SageMaker and Logs."""
    top = tmp_path_factory.mktemp("fuzz")
    (top / "beside").write_text("not the service's")
    names: list[str] = []
    init = ControlPlane.__init__

    def noted(plane: ControlPlane, operations: Any, *arguments: Any, **more: Any) -> None:
        names.extend(operations)
        init(plane, operations, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ControlPlane, "__init__", noted)
        patch.setenv("TMPDIR", str(top / "tmp"))
        (top / "tmp").mkdir()
        service = LocalService(top / "home")
    with service:
        service.client("s3").create_bucket(Bucket="pictures")
        service.client("s3").put_object(Bucket="pictures", Key="a", Body=b"x")
        yield service, names
    assert sorted(path.name for path in top.iterdir()) == ["beside", "home", "tmp"]
    assert (top / "beside").read_text() == "not the service's"
    assert not Path("/escaped").exists()


@pytest.fixture(autouse=True)
def no_defect(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def send(
    service: LocalService, scope: str, method: str, target: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes, str]:
    """Status, body and content type of the answer to this exact request, without a client's own checks."""
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/{scope}/aws4_request"}
    connection = HTTPConnection(service.url.removeprefix("http://"), timeout=20)
    with contextlib.closing(connection):
        connection.request(method, target, body, signed | headers)
        answer = connection.getresponse()
        content = answer.read()
        told = answer.getheader("content-type", "")
    assert answer.status < 500 or answer.status == 501, (method, target[:200], body[:500], content[:500])
    return answer.status, content, told


def test_no_request_to_the_control_plane_is_a_defect(running: tuple[LocalService, list[str]]) -> None:
    service, names = running
    sagemaker, logs = service_model(), service_model("logs")

    @seed(0)
    @quickly
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(names))
        scope, model = ("logs", logs) if name in logs.operation_names else ("sagemaker", sagemaker)
        shape = model.operation_model(name).input_shape
        request = data.draw(member(shape) if shape is not None else JUNK)
        target = {"X-Amz-Target": f"{model.metadata['targetPrefix']}.{name}"}
        send(service, scope, "POST", "/", json.dumps(request).encode(), target)

    ask()


def test_no_request_to_lambda_is_a_defect(running: tuple[LocalService, list[str]]) -> None:
    service, _ = running
    model = service_model("lambda")
    names = [
        "CreateFunction", "GetFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration", "ListFunctions",
        "TagResource", "UntagResource", "ListTags", "DeleteFunction",
    ]  # fmt: skip

    @seed(0)
    @quickly
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        operation = model.operation_model(data.draw(st.sampled_from(names)))
        request = data.draw(member(operation.input_shape))
        uri, query = operation.http["requestUri"], []
        for name, shape in operation.input_shape.members.items():
            if isinstance(request, dict) and name in request:
                place = shape.serialization.get("location")
                text = quote(str(request[name]).encode(errors="surrogatepass"), safe="")[:8000]
                if place == "uri":
                    uri = uri.replace("{" + shape.serialization["name"] + "}", text)
                elif place == "querystring":
                    query.append(f"{shape.serialization['name']}={text}")
        body = json.dumps(request, default=repr).encode()
        send(service, "lambda", operation.http["method"], f"{uri}?{'&'.join(query)}"[:60_000], body, {})

    ask()


def laughs() -> bytes:
    """Nested entities: over a billion characters if expanded."""
    steps = [f'<!ENTITY b{number} "{f"&b{number - 1};" * 10}">' for number in range(1, 10)]
    return f'<!DOCTYPE a [<!ENTITY b0 "ha">{"".join(steps)}]><Delete><Key>&b9;</Key></Delete>'.encode()


BODIES = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"<a>" * DEEP,
            b"<a>" * DEEP + b"</a>" * DEEP,
            laughs(),
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Delete><Key>&b;</Key></Delete>',
            b"<Delete><Object><Key>../../escaped</Key></Object><Object><Key>n</Key></Object></Delete>",
            b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
            b"<CreateBucketConfiguration><LocationConstraint>e</LocationConstraint></CreateBucketConfiguration>",
            b"5;x=y\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
        ]
    ),
)
QUERIES = [
    "uploads", "uploadId", "partNumber", "delete", "list-type", "max-keys", "prefix", "delimiter", "marker",
    "continuation-token", "start-after", "encoding-type", "response-content-type", "response-expires",
    "versionId", "versions", "attributes", "location", "max-buckets", "key-marker", "policy", "X-Amz-Expires",
]  # fmt: skip
HEADERS = [
    "range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "content-type",
    "content-md5", "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-meta-a", "x-amz-content-sha256",
    "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "content-encoding", "x-amz-object-attributes",
    "x-amz-metadata-directive", "x-amz-decoded-content-length", "x-amz-trailer",
]  # fmt: skip
VALUES = [
    "bytes=0-", "bytes=-" + "9" * 5000, "bytes=" + "9" * 5000 + "-", "*", "REPLACE", "/pictures/a", "2", "0",
    "pictures/a", "true", "url", "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "aws-chunked",
    "multipart/form-data; boundary=b", "CRC32", "Wed, 01 Jan 99999 00:00:00 GMT", "\x7f", "\x01", "日本",
    "Wed, 21 Oct 2015 07:28:00 GMT", "text/html\r\nx-evil: 1",
]  # fmt: skip


def encoded(text: str) -> str:
    return quote(text.encode(errors="surrogatepass"), safe="/")[:9000]


def test_no_request_to_s3_is_a_defect(running: tuple[LocalService, list[str]]) -> None:
    service, _ = running
    texts = st.one_of(st.sampled_from(VALUES), st.sampled_from([odd for odd in ODD if len(odd) < DEEP]))

    @seed(0)
    @settings(quickly, max_examples=3 * EXAMPLES)
    @given(
        st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
        st.one_of(st.just("pictures"), st.just("pictures"), texts),
        st.one_of(st.just(""), st.just("a"), texts, st.text(max_size=10)),
        st.dictionaries(st.sampled_from(QUERIES), texts, max_size=2),
        st.dictionaries(st.sampled_from(HEADERS), texts, max_size=2),
        BODIES,
    )
    def ask(
        method: str, bucket: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> None:
        if (method, key) == ("DELETE", "") or bucket == "":
            return  # the bucket stays
        target = f"/{encoded(bucket)}/{encoded(key)}?" + "&".join(
            f"{name}={encoded(value)}" for name, value in query.items()
        )
        # What HTTP allows in a header; http.client refuses the rest itself.
        allowed = {
            name: value.encode(errors="replace").decode("latin-1")
            for name, value in headers.items()
            if value.isprintable()
        }
        _, content, told = send(service, "s3", method, target, body if method != "GET" else b"", allowed)
        if told == "application/xml" and content.startswith(b"<?xml") and method != "HEAD":
            ElementTree.fromstring(content)

    ask()


@pytest.mark.parametrize("scope", ["sagemaker", "logs", "lambda", "s3"])
def test_what_is_no_request_at_all_is_answered_or_hung_up_on(
    running: tuple[LocalService, list[str]], scope: str
) -> None:
    service, _ = running
    host, _, port = service.url.removeprefix("http://").partition(":")

    @seed(0)
    @settings(quickly, max_examples=60)
    @given(
        st.binary(max_size=60),
        st.sampled_from([b"", b"Content-Length: 2", b"Content-Length: -1", b"Transfer-Encoding: chunked"]),
    )
    def ask(noise: bytes, length: bytes) -> None:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            signed = (
                b"Authorization: AWS4-HMAC-SHA256 Credential=k/1/us-east-1/%s/aws4_request" % scope.encode()
            )
            connection.sendall(
                b"POST /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s\r\n\r\n{}" % (noise, signed, length)
            )
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        status = answer.split(b" ", 2)[1:2]
        assert not answer or ((status and status[0][:1] in b"234") or status[0] == b"501"), (
            noise,
            answer[:300],
        )

    ask()
