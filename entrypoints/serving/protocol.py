"""What server and workers share: how they speak, where the artifact is, how long an answer may take."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import entrypoints

ARTIFACT = Path(entrypoints.__path__[0]).parent
# How a frame begins. Request: length of "content type, newline, accept", length of the body. Answer: HTTP
# status, length of the content. The first answer says that the worker has predicted, and with which engine.
FRAME = struct.Struct("!HI")
# The name and the meaning are those of SageMaker's inference toolkit. SageMaker itself waits for 60 s, the
# queue and a slow client included.
TIMEOUT_VARIABLE = "SAGEMAKER_MODEL_SERVER_TIMEOUT"
TIMEOUT_S = int(os.environ.get(TIMEOUT_VARIABLE, "20"))

# The HTTP status and the content.
Answer = tuple[int, bytes]


def error(code: str, message: str) -> bytes:
    """The content of every answer that is an error."""
    return json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
