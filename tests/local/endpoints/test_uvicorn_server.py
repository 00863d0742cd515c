from __future__ import annotations

import json
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from local.endpoints import uvicorn_server
from local.endpoints.model_server import launch
from local.endpoints.uvicorn_server import MAX_HEAD_BYTES, Connection
from local.home.home import Home
from local.processes.environment import base_environment

HEAD = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
APP = '''
async def app(scope, receive, send):
    """Reads the body, unless its path is /refuse, and answers with its size."""
    if scope["type"] == "lifespan":
        return
    size, more = 0, scope["path"] != "/refuse"
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%d bytes" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
'''


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server whose clients have one second to send a request."""
    monkeypatch.setattr(uvicorn_server, "SENDING_TIMEOUT_S", 1.0)
    names: dict[str, object] = {}
    exec(APP, names)
    config = uvicorn.Config(names["app"], port=0, http=Connection, ws="none", lifespan="off", log_config=None)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def dribble(client: socket.socket) -> bytes:
    """Send a letter every 0.1 s until the server closes the connection; return its answer."""
    answer = b""
    client.settimeout(0.1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            client.sendall(b"a")
            if not (part := client.recv(65536)):
                return answer
            answer += part
        except TimeoutError:
            pass
        except ConnectionError:
            return answer
    raise AssertionError("the server still listens")


@pytest.mark.parametrize("head", [b"", b"POST / HTTP/1.1\r\nX-Name: "])
def test_a_head_must_arrive_in_time(port: int, head: bytes) -> None:
    with connect(port) as client:
        client.sendall(head)
        assert client.recv(65536) == b""
    if head:
        with connect(port) as client:
            client.sendall(head)
            assert dribble(client) == b""


def test_the_rest_of_a_refused_body_must_arrive_in_time(port: int) -> None:
    with connect(port) as client:
        client.sendall(HEAD.replace(b"/ ", b"/refuse ") % 10**9 + b"\r\n")
        assert dribble(client).endswith(b"0 bytes")


def test_a_body_that_is_read_and_a_pause_between_requests_may_take_longer(port: int) -> None:
    with connect(port) as client:
        for _ in range(2):
            client.sendall(HEAD % 2 + b"\r\na")
            time.sleep(1.2)
            client.sendall(b"b")
            assert client.recv(65536).endswith(b"2 bytes")
            time.sleep(1.2)


def test_requests_may_come_before_the_answers_to_those_before(port: int) -> None:
    with connect(port) as client:
        client.sendall((HEAD % 1 + b"\r\na") * 20 + HEAD[:20])
        answers = b""
        while part := client.recv(65536):
            answers += part
        assert answers.count(b"1 bytes") == 20


@pytest.mark.parametrize("line", [b"X-Name: " + b"a" * 1000 + b"\r\n", b"X: y\r\n", b"X: " + b"a" * 200_000])
def test_a_head_has_a_largest_size(port: int, line: bytes) -> None:
    with connect(port) as client:
        answer = b""
        try:
            client.sendall(HEAD % 0)
            for _ in range(10 * MAX_HEAD_BYTES // len(line) + 1):
                client.sendall(line)
            answer = client.recv(65536)
        except ConnectionError:
            return  # closed while this end was still sending
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.endswith(b"larger than 65536 bytes.")


def test_a_large_head_is_taken(port: int) -> None:
    with connect(port) as client:
        client.sendall(HEAD % 1 + b"X-Name: " + b"a" * 30_000 + b"\r\n\r\na")
        assert client.recv(65536).endswith(b"1 bytes")


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: evil.example",
        b"Host: 127.0.0.1\r\nHost: evil.example",
        b"Host: 127.0.0.1\r\nOrigin: http://evil.example",
        b"Host: 127.0.0.1\r\nSec-Fetch-Site: same-site",
    ],
)
def test_other_web_sites_are_refused(port: int, lines: bytes) -> None:
    with connect(port) as client:
        for method in (b"GET", b"POST"):
            client.sendall(method + b" / HTTP/1.1\r\n" + lines + b"\r\nContent-Length: 1\r\n\r\na")
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 403")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "forbidden"
        client.sendall(HEAD % 1 + b"Origin: http://127.0.0.1\r\n\r\na")
        assert client.recv(65536).endswith(b"1 bytes")


def test_an_artifact_is_served_so(tmp_path: Path) -> None:
    # tags.py: the name of a module of the local service.
    (tmp_path / "tags.py").write_text("SIZE = 0")
    (tmp_path / "app.py").write_text(
        "from tags import SIZE\n" + APP.replace("size, more = 0", "size, more = SIZE")
    )
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        for name in ("app.py", "tags.py"):
            tar.add(tmp_path / name, name)
    server = launch(Home(tmp_path), tmp_path / "model.tar.gz", tmp_path / "endpoint", base_environment({}))
    try:
        server.wait_until_healthy(threading.Event())
        assert server.port
        with connect(server.port) as client:
            client.sendall(HEAD % 0 + b"X-Name: " + b"a" * (MAX_HEAD_BYTES + 1))
            assert client.recv(65536).endswith(b"larger than 65536 bytes.")
        with connect(server.port) as client:
            client.sendall(HEAD % 0 + b"Origin: http://evil.example\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 403")
        assert server.invoke(b"abc", {})[2] == b"3 bytes"
    finally:
        server.stop()
