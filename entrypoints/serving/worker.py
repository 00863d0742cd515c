"""One worker: a process with one thread that answers the requests it reads from its standard input.

That is a socket whose other end the server keeps (workers.py). What a picture can do to a process that
decodes it, it does to a worker: crash it, fill its memory, keep it busy; the server lives on.
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

# Pillow decodes image.py's 100 million pixels to 0.4 GB and turns them upright in as much again; what takes
# more is refused. On Linux this counts the memory that the process asks for, its libraries' 0.3 GB included.
MEMORY_BYTES = 3 << 29


def load(artifact: Path) -> predictor.Model:
    """The model of an unpacked artifact, once it has predicted.

    Raises:
        FileNotFoundError: the artifact lacks a file.
        ValueError: its numbers are not all finite.
    """
    model = predictor.load(artifact)
    predictor.predict(model, np.zeros((1, 3, model.image_size, model.image_size), np.float32))
    return model


def answer(model: predictor.Model, body: bytes, content_type: str, accept: str) -> Answer:
    """The HTTP status and the content that answer a request body."""
    try:
        return 200, predictor.answer(model, body, content_type, accept)
    except InputError as problem:
        return 400, error(problem.code, problem.message)
    except MemoryError:
        limit = f"{MEMORY_BYTES / 1e9:.1f} GB"
        return 413, error("too_large", f"The request needs more memory than {limit}; send a smaller picture.")


def main() -> None:
    """Answer requests until the server closes the socket."""
    # A signal to the whole group is the server's business: it first answers what it has taken.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        model = load(ARTIFACT)
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(str(problem))
    # A server that ended amid a request has no use for the answer.
    with socket.socket(fileno=0) as server, contextlib.suppress(ConnectionError):
        send(server, 200, model.engine.encode())
        while head := server.recv(FRAME.size, socket.MSG_WAITALL):
            # Ends the process, whatever its libraries are busy with, and even when the server is gone.
            signal.alarm(TIMEOUT_S)
            how, size = FRAME.unpack(head)
            content_type, accept = server.recv(how, socket.MSG_WAITALL).decode().split("\n")
            send(server, *answer(model, server.recv(size, socket.MSG_WAITALL), content_type, accept))
            signal.alarm(0)


def send(server: socket.socket, status: int, content: bytes) -> None:
    server.sendall(FRAME.pack(status, len(content)) + content)


if __name__ == "__main__":
    main()
