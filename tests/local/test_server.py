"""The HTTP server: connections, threads, start and stop."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from local.server import THREADS, Server


def answered(_environ, start_response):
    start_response("200 OK", [])
    return [b"answered"]


@pytest.fixture
def server():
    server = Server(answered)
    server.start()
    yield server
    server.stop()


def get(server, path, headers=None):
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_one_connection_serves_many_requests(server):
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read()
            own = connection.sock.getsockname()
        assert connection.sock.getsockname() == own


def test_a_taken_port_is_one_clear_line(server):
    port = int(server.url.rpartition(":")[2])
    before = threading.active_count()
    with pytest.raises(OSError, match=rf"^port {port} of 127.0.0.1 is taken; "):
        Server(lambda *_: [], port).start()
    assert threading.active_count() == before


@pytest.mark.parametrize("length", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_a_foreign_sites_body_is_refused_before_it_comes(server, length):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /x HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n{length}\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("rb") as whole:
            answer = whole.read().decode()
    assert answer.startswith("HTTP/1.1 403 ") and "http://evil.example" in answer


def test_a_connection_may_be_closed_twice_and_the_server_continues(server):
    with socket.create_connection(
        ("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10
    ) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(1000)
        [channel] = server._server.active_channels.values()
        closed = threading.Event()

        def close_twice():
            channel.handle_close()
            channel.handle_close()
            closed.set()

        # In the server's own thread, which alone closes connections.
        server._server.trigger.pull_trigger(close_twice)
        assert closed.wait(10)
    assert get(server, "/")[0] == 200


def test_requests_that_wait_for_others_keep_none_from_being_answered(caplog):
    count = 60
    together = threading.Barrier(count, timeout=10)

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/inner":
            return [b"inner"]
        together.wait()
        return [get(server, "/inner")[2]]

    server = Server(app)
    server.start()
    try:
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(lambda _: get(server, "/outer")[2], range(count)))
        threads = threading.active_count()
        assert get(server, "/inner")[2] == b"inner"
        assert threading.active_count() == threads  # the existing ones answer
    finally:
        server.stop()
    assert answers == [b"inner"] * count
    assert caplog.text == ""


def test_without_another_thread_a_request_waits_for_one_of_those_there_are(monkeypatch):
    def refuse(*_arguments):
        raise RuntimeError("can't start new thread")

    def app(_environ, start_response):
        time.sleep(0.05)
        start_response("200 OK", [])
        return [b"answered"]

    server = Server(app)
    server.start()
    monkeypatch.setattr(server._server.task_dispatcher, "start_new_thread", refuse)
    try:
        with ThreadPoolExecutor(2 * THREADS) as pool:
            answers = list(pool.map(lambda _: get(server, "/")[2], range(2 * THREADS)))
    finally:
        server.stop()
    assert answers == [b"answered"] * 2 * THREADS


def test_stopping_is_quick_and_ends_the_threads_and_the_port():
    before = threading.active_count()
    server = Server(lambda *_: [])
    server.start()
    assert threading.active_count() == before + 1 + THREADS
    host, port = server.url.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, port), timeout=10):
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 2
    # waitress stops counting a thread a moment before it ends.
    while threading.active_count() > before:
        assert time.monotonic() - begun < 5
        time.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=10)
