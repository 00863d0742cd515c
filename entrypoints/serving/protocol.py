"""Shared by server and workers: protocol, place of the artifact, time limit of an answer."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import entrypoints

ARTIFACT = Path(entrypoints.__path__[0]).parent
# A frame's header. Request: length of "content type, newline, accept", length of the body. Answer: HTTP
# status, length of the content. The first answer says that the worker has predicted, and names its engine.
FRAME = struct.Struct("!HI")
# Name and meaning come from SageMaker's inference toolkit. SageMaker itself waits 60 s, including the queue
# and a slow client.
TIMEOUT_VARIABLE = "SAGEMAKER_MODEL_SERVER_TIMEOUT"
TIMEOUT_S = int(os.environ.get(TIMEOUT_VARIABLE, "20"))

# The HTTP status and the content.
Answer = tuple[int, bytes]


def error(code: str, message: str) -> bytes:
    """The content of an error's answer."""
    return json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
