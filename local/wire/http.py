"""What the server and the services behind it hand each other: a request, a response, a model's error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from local.wire.operations import ServiceError

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Request:
    """One HTTP request; `path` and `query` are decoded, header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: BinaryIO


@dataclass(frozen=True)
class Response:
    """One HTTP answer; a file is sent from where it stands to the Content-Length, then closed."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BinaryIO = b""


class ModelError(ServiceError):
    """InvokeEndpoint's 424: the model's own server answered an error, or nothing (original status 0)."""

    def __init__(self, original_status: int, original_message: str, log_stream_arn: str) -> None:
        side = "client" if 400 <= original_status < 500 else "server"
        super().__init__(
            "ModelError",
            f'Received {side} error ({original_status}) from primary with message "{original_message}". '
            f"See {log_stream_arn} for more information.",
            424,
        )
        self.original_status = original_status
        self.original_message = original_message
        self.log_stream_arn = log_stream_arn
