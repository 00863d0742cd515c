"""One worker: a process with one thread that answers requests from its standard input.

That is a socket to the server (workers.py). A picture that crashes its decoding process, fills its memory or
keeps it busy only harms a worker; the server lives on.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import sys
from pathlib import Path

import numpy as np

from entrypoints.serving import predictor
from entrypoints.serving.body import InputError
from entrypoints.serving.protocol import ARTIFACT, FRAME, TIMEOUT_S, Answer, error

# Pillow decodes image.py's 100 million pixels to 0.4 GB and turns them upright in another 0.4 GB; more is
# refused. On Linux this counts the memory that the process requests, including its libraries' 0.3 GB.
MEMORY_BYTES = 3 << 29


def load(artifact: Path) -> predictor.Model:
    """The model of an unpacked artifact, after its first prediction.

    Raises:
        FileNotFoundError: the artifact lacks a file.
        ValueError: its numbers are not all finite.
    """
    model = predictor.load(artifact)
    predictor.predict(model, np.zeros((1, 3, model.image_size, model.image_size), np.float32))
    return model


def answer(model: predictor.Model, body: bytes, content_type: str, accept: str) -> Answer:
    """The HTTP status and content for a request body."""
    try:
        return 200, predictor.answer(model, body, content_type, accept)
    except InputError as problem:
        return 400, error(problem.code, problem.message)
    except MemoryError:
        limit = f"{MEMORY_BYTES / 1e9:.1f} GB"
        return 413, error("too_large", f"The request needs more memory than {limit}; send a smaller picture.")


def main() -> None:
    """Answer requests until the server closes the socket."""
    # The server handles signals to the group: it first answers accepted requests.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        model = load(ARTIFACT)
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(str(problem))
    # The server ended during a request and does not need the answer.
    with socket.socket(fileno=0) as server, contextlib.suppress(ConnectionError):
        send(server, 200, model.engine.encode())
        while head := server.recv(FRAME.size, socket.MSG_WAITALL):
            # Ends the process even if its libraries are busy, and even if the server is gone.
            signal.alarm(TIMEOUT_S)
            how, size = FRAME.unpack(head)
            content_type, accept = server.recv(how, socket.MSG_WAITALL).decode().split("\n")
            send(server, *answer(model, server.recv(size, socket.MSG_WAITALL), content_type, accept))
            signal.alarm(0)


def send(server: socket.socket, status: int, content: bytes) -> None:
    server.sendall(FRAME.pack(status, len(content)) + content)


if __name__ == "__main__":
    main()
