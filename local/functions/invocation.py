"""One invocation of a Lambda function, in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from local.home.files import make_folder
from local.home.home import Home
from local.processes.opt_ml import opt_ml
from local.processes.start import Started, start
from local.wire.errors import ServiceError

HANDLER = Path(__file__).with_name("runtime.py")
# Importing the handler has 10 seconds before the function's own timeout begins to count (Lambda
# developer guide, "Lambda execution environment lifecycle").
INIT_TIMEOUT_S = 10.0
# "6 MB each for request and response, synchronous" (Lambda developer guide, "Lambda quotas").
PAYLOAD_BYTES = 6 * 1024 * 1024
LOG_TAIL_BYTES = 4096  # API reference, Invoke: LogResult holds the last 4 KB


@dataclass(frozen=True)
class Invocation:
    """How an invocation ended: its answer or its error as JSON, and what it printed."""

    payload: bytes
    failed: bool
    log: bytes


def invoke(
    home: Home,
    code: Path,
    handler_name: str,
    event: bytes,
    *,
    arn: str,
    timeout_s: float,
    environment: Mapping[str, str],
    running: Callable[[Started], AbstractContextManager[None]],
) -> Invocation:
    """Call the handler with the event (JSON) and wait until it answers, fails or times out.

    Args:
        code: the folder of the unpacked function.
        handler_name: `package.module.function`.
        environment: all of the process's variables, with Lambda's own AWS_LAMBDA_* variables.
        running: a context that is entered while the process runs, so that others can end it.

    Raises:
        ServiceError: the function could write into the machine's own /opt/ml.
    """
    request_id = str(uuid.uuid4())
    make_folder(home.invocations)
    with tempfile.TemporaryDirectory(dir=home.invocations) as name:
        folder = Path(name)
        try:
            own = opt_ml(folder / "ml")  # Lambda has none; what a function writes there is removed afterwards
        except ValueError as error:
            raise ServiceError("InvalidRuntimeException", str(error)) from None
        (folder / "event.json").write_bytes(event)
        ready, ready_writer = os.pipe()
        begin = time.monotonic()
        with (folder / "log").open("wb") as log:
            process = start(
                home.processes,
                [
                    *(sys.executable, "-P", str(HANDLER), handler_name, name),
                    *(str(ready_writer), str(timeout_s), arn, request_id),
                ],
                {**environment, "PYTHONPATH": str(code)},
                code,
                own,
                stdout=log,
                pass_fds=[ready_writer],
            )
        os.close(ready_writer)
        with running(process):
            select.select([ready], [], [], INIT_TIMEOUT_S)  # also ends when the process does
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout_s)
            timed_out = process.poll() is None
            os.close(ready)
            process.end(0)
        payload, failed = _outcome(folder, request_id, timeout_s if timed_out else None, process.returncode)
        lines = (folder / "log").read_bytes()
    if lines and not lines.endswith(b"\n"):
        lines += b"\n"
    duration_ms = 1000 * (time.monotonic() - begin)
    return Invocation(
        payload,
        failed,
        f"START RequestId: {request_id} Version: $LATEST\n".encode()
        + lines
        + f"END RequestId: {request_id}\n".encode()
        + f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\n".encode(),
    )


def _outcome(folder: Path, request_id: str, timeout_s: float | None, status: int) -> tuple[bytes, bool]:
    """The payload, and whether it is an error; `timeout_s` is given if that limit was passed."""
    answer, error = folder / "answer.json", folder / "error.json"
    if timeout_s is not None:
        return _error("Sandbox.Timedout", request_id, f"Task timed out after {timeout_s:.2f} seconds"), True
    if error.exists():
        return error.read_bytes(), True
    if not answer.exists():
        return _error("Runtime.ExitError", request_id, f"Runtime exited with exit status {status}"), True
    if answer.stat().st_size > PAYLOAD_BYTES:
        message = f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES} bytes)."
        return _error("Function.ResponseSizeTooLarge", request_id, message), True
    return answer.read_bytes(), False


def _error(kind: str, request_id: str, message: str) -> bytes:
    return json.dumps(
        {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
    ).encode()
