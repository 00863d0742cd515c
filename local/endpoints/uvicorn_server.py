"""uvicorn as an endpoint's server, for the app.py in its folder, with limits that uvicorn lacks.

The application limits the bodies of requests, but sees their headers only when these are complete. It does
not know about browsers on its machine either: other web sites are refused here (wire/guard.py).
"""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# By its path: this folder cannot be imported where an artifact is served.
guarded = runpy.run_path(str(Path(__file__).parents[1] / "wire" / "guard.py"))["guarded"]
HOST = "127.0.0.1"
MAX_HEAD_BYTES = 65_536
# For a request's headers, and for the rest of a body that was answered before it had arrived.
SENDING_TIMEOUT_S = 20.0
# Longer than any pause between two requests of a batch.
KEEP_ALIVE_S = 75


class Connection(HttpToolsProtocol):
    """A connection that limits the size of a request's headers and the time that they take."""

    _deadline: asyncio.TimerHandle | None = None
    _sending = False
    _in_head = False
    _head_bytes = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app = guarded(self.app)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of the request is larger than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._sending = self._in_head = True
        self._head_bytes = 0
        self._set_deadline()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._unset_deadline()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._sending = False
        self._unset_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._sending:
            self._set_deadline()

    def _set_deadline(self) -> None:
        self._unset_deadline()
        self._deadline = self.loop.call_later(SENDING_TIMEOUT_S, self._expire)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:  # the previous request is being answered, and nothing is read meanwhile
            self._set_deadline()


if __name__ == "__main__":
    uvicorn.run(
        "app:app",
        host=HOST,
        port=0,
        http=Connection,
        ws="none",
        access_log=False,
        use_colors=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
