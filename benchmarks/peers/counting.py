"""An HTTP server, on the port given, that only counts bytes: what the load generator can reach."""

import asyncio
import sys
from typing import Any, cast

import httptools
import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n%12d"


class Counter(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._parser: Any = httptools.HttpRequestParser(self)
        self._count = 0

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._count += len(part)

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER % self._count)
        self._count = 0


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Counter, "127.0.0.1", port)
    await server.serve_forever()


uvloop.run(serve(int(sys.argv[1])))
