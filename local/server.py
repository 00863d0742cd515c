"""HTTP alone: a WSGI application at a port of this machine."""

from __future__ import annotations

import errno
import re
import socket
import threading
from typing import TYPE_CHECKING

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import Error

from local.wire import guard

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"
# Each call of a model or function that is still running holds one.
THREADS = 32
REQUEST_BYTES_MAX = 1 << 40  # S3's own limits are lower
UNSEEN_BYTES_MAX = 1 << 16  # of a body that is received before the application sees who sends it
UNDERSCORED_METADATA = re.compile(rb"^(x-amz-meta-[\w-]*_[\w-]*):([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
METADATA_NAME = re.compile(rb"^X-Amz-Meta-[^:]*", re.MULTILINE)


class _Forbidden(Error):  # type: ignore[misc]
    code, reason = 403, "Forbidden"


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Keeps S3 metadata whose names have an underscore, which WSGI cannot tell from a dash.

    Takes `Expect: 100-continue` of an empty body for what it is; waitress would never answer. Refuses a
    foreign web site's body before it is received: waitress would write it to the disk first.
    """

    content_length: int

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.chunked or self.content_length > UNSEEN_BYTES_MAX:
            headers = {name.replace("_", "-").lower(): value for name, value in self.headers.items()}
            target = self.first_line.split(b" ")[1].decode("latin-1")
            if (reason := guard.refusal(headers, target)) is not None:
                self.error, self.body_rcv, self.content_length = _Forbidden(reason), None, 0
        if self.content_length == 0 and not self.chunked:
            self.expect_continue = False
        for name, value in UNDERSCORED_METADATA.findall(header_plus):
            self.headers[name.decode().lower()] = value.strip().decode("latin-1")


class _Task(WSGITask):  # type: ignore[misc]
    """Keeps the names of S3 metadata in lower case, as S3 answers them."""

    def build_response_header(self) -> bytes:
        header: bytes = super().build_response_header()
        return METADATA_NAME.sub(lambda name: name[0].lower(), header)


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser
    task_class = _Task


class Server:
    """The application at http://127.0.0.1:<port>, reached from this machine only; port 0 is a free one."""

    def __init__(self, app: WSGIApplication, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address, once started."""
        return f"http://{HOST}:{self._server.effective_port}"

    def start(self) -> None:
        """Answer from now on, in threads of its own.

        Raises:
            OSError: the port is taken.
        """
        try:
            listener = socket.create_server((HOST, self._port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                f"port {self._port} of {HOST} is taken; end what listens there, or choose another port"
            ) from None
        self._server = waitress.create_server(
            self._app,
            sockets=[listener],
            threads=THREADS,
            connection_limit=1000,
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
        """Finish the requests that are being answered (within 5 seconds), then end every thread.

        Without effect unless the server was started.
        """
        if self._thread is None:
            return
        self._server.task_dispatcher.shutdown()
        self._stopping = True
        self._server.pull_trigger()
        self._thread.join()
        wasyncore.close_all(self._server._map, ignore_all=True)
