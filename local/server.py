"""The HTTP server: a WSGI application on a port of this machine."""

from __future__ import annotations

import errno
import io
import itertools
import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ThreadedTaskDispatcher, WSGITask
from waitress.utilities import Error

from local.application import refused_length
from local.wire import guard
from local.wire.http import HttpRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"
THREADS = 4  # from the start; more as they are needed
CONNECTIONS_MAX = 1000
REQUEST_BYTES_MAX = 1 << 40  # S3's own limits are lower
UNSEEN_BYTES_MAX = 1 << 16  # of a body that is received before the application sees who sends it
UNDERSCORED_METADATA = re.compile(rb"^(x-amz-meta-[\w-]*_[\w-]*):([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
METADATA_NAME = re.compile(rb"^X-Amz-Meta-[^:]*", re.MULTILINE)


class _Forbidden(Error):  # type: ignore[misc]
    code, reason = 403, "Forbidden"


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Keeps S3 metadata whose names have an underscore, which WSGI cannot tell from a dash.

    Handles `Expect: 100-continue` with an empty body, which waitress would never answer. Refuses another web
    site's body before it is received: waitress would write it to the disk first. Stops receiving a body that
    is too long: the application sees its length, and refuses it.
    """

    chunked: bool
    content_length: int
    body_rcv: Any
    _head: HttpRequest | None = None  # of a request whose body is worth a look

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.chunked or self.content_length > UNSEEN_BYTES_MAX:
            head = self._head = self._request()
            if (reason := guard.refusal(head.headers, head.target)) is not None:
                self.error, self.body_rcv, self.content_length = _Forbidden(reason), None, 0
            elif refused_length(head, self.content_length) is not None:
                self._receive_no_more()
        if self.content_length == 0 and not self.chunked:
            self.expect_continue = False
        for name, value in UNDERSCORED_METADATA.findall(header_plus):
            self.headers[name.decode().lower()] = value.strip().decode("latin-1")

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.chunked and self.body_rcv is not None and self._head is not None:
            length = len(self.body_rcv)
            if refused_length(self._head, length) is not None:
                self.body_rcv.getbuf().close()
                self._receive_no_more()
                self.headers["CONTENT_LENGTH"], self.completed = str(length), True
        return consumed

    def _receive_no_more(self) -> None:
        self.body_rcv, self.content_length, self.chunked = None, 0, False
        self.headers["CONNECTION"] = "close"

    def _request(self) -> HttpRequest:
        return HttpRequest(
            method=self.command,
            path=self.path,
            query=dict(parse_qsl(self.query, keep_blank_values=True)),
            headers={name.replace("_", "-").lower(): value for name, value in self.headers.items()},
            body=io.BytesIO(),
            target=self.first_line.split(b" ")[1].decode("latin-1"),
        )


class _Task(WSGITask):  # type: ignore[misc]
    """Keeps the names of S3 metadata in lower case, as S3 answers them."""

    def build_response_header(self) -> bytes:
        header: bytes = super().build_response_header()
        return METADATA_NAME.sub(lambda name: name[0].lower(), header)


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser
    task_class = _Task

    def handle_close(self) -> None:
        # A client that still sends learns by this that it should read the answer; closed without it, the
        # connection is reset, and the answer may be lost.
        if (connection := self.socket) is not None:  # None once it is closed, which may come twice
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        super().handle_close()


class _Threads(ThreadedTaskDispatcher):  # type: ignore[misc]
    """A thread for each request, so that a request that waits for others never blocks them.

    A call of a function lasts until the function's own requests are answered. There are at most as many
    threads as connections, and they are reused.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(THREADS)
        self._closed = False
        self.set_thread_count(THREADS)

    def add_task(self, task: HTTPChannel) -> None:
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            idle = len(self.threads) - self.stop_count - self.active_count
            if len(self.queue) > idle and not self._closed:
                self._add_thread(next(self._numbers))

    def _add_thread(self, number: int) -> None:
        try:
            self.start_new_thread(self.handler_thread, number)
        except RuntimeError:  # this machine has no more threads: the request waits for one of these
            return
        self.threads.add(number)
        self.active_count += 1

    def shutdown(self, cancel_pending: bool = True, timeout: int = 5) -> bool:
        with self.lock:
            self._closed = True
        ended: bool = super().shutdown(cancel_pending, timeout)
        return ended


class Server:
    """The application at http://127.0.0.1:<port>, for this machine only; port 0 is any free port."""

    def __init__(self, app: WSGIApplication, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address, once started."""
        return f"http://{HOST}:{self._server.effective_port}"

    def start(self) -> None:
        """Start answering, in separate threads.

        Raises:
            OSError: the port is taken.
        """
        try:
            listener = socket.create_server((HOST, self._port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                f"port {self._port} of {HOST} is taken; stop what listens there, or choose another port"
            ) from None
        self._server = waitress.create_server(
            self._app,
            sockets=[listener],
            _dispatcher=_Threads(),
            connection_limit=CONNECTIONS_MAX,
            max_request_body_size=REQUEST_BYTES_MAX,
            recv_bytes=1 << 18,
        )
        self._server.channel_class = _Channel
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="local-server", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stopping:
            wasyncore.loop(map=self._server._map, use_poll=True, count=1)

    def stop(self) -> None:
        """Finish the current requests (within 5 seconds), then end every thread.

        No effect unless the server was started.
        """
        if self._thread is None:
            return
        self._server.task_dispatcher.shutdown()
        self._stopping = True
        self._server.pull_trigger()
        self._thread.join()
        wasyncore.close_all(self._server._map, ignore_all=True)
