"""Runs one Lambda handler: `python -P runtime.py HANDLER FOLDER READY_FD TIMEOUT_S ARN REQUEST_ID`.

A separate program that imports nothing from the local service. The event is FOLDER/event.json; the
answer becomes FOLDER/answer.json or FOLDER/error.json, so what the handler prints is only its log. One
byte on READY_FD says that the handler is imported: its timeout starts then.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any


class Context:
    """What Lambda passes as `context` (Lambda developer guide, "Using the Lambda context object")."""

    client_context = None
    identity = None

    def __init__(self, timeout_s: float, arn: str, request_id: str) -> None:
        self._deadline = time.monotonic() + timeout_s
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function times out."""
        return max(0, round(1000 * (self._deadline - time.monotonic())))


class RuntimeFailure(Exception):
    """What Lambda's runtime itself reports: an errorType and an errorMessage."""


def load(handler: str) -> Callable[[Any, Context], Any]:
    """The function that `package.module.function` names."""
    module_name, _, function_name = handler.rpartition(".")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = f"Unable to import module '{module_name}': {error}"
        raise RuntimeFailure("Runtime.ImportModuleError", message) from error
    if not hasattr(module, function_name):
        message = f"Handler '{function_name}' missing on module '{module_name}'"
        raise RuntimeFailure("Runtime.HandlerNotFound", message)
    function: Callable[[Any, Context], Any] = getattr(module, function_name)
    return function


def main(handler: str, folder: str, ready: str, timeout_s: str, arn: str, request_id: str) -> None:
    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        frames = [frame for frame in traceback.extract_tb(trace) if frame.filename != __file__]
        name, message = error.args if isinstance(error, RuntimeFailure) else (kind.__name__, str(error))
        write(
            "error.json",
            json.dumps(
                {
                    "errorMessage": message,
                    "errorType": name,
                    "requestId": request_id,
                    "stackTrace": traceback.format_list(frames),
                }
            ),
        )
        sys.__excepthook__(kind, error, trace)

    def write(name: str, text: str) -> None:
        Path(folder, f"{name}.partial").write_text(text, encoding="utf-8")
        Path(folder, f"{name}.partial").replace(Path(folder, name))

    sys.excepthook = report
    function = load(handler)
    event = json.loads(Path(folder, "event.json").read_text(encoding="utf-8"))
    os.write(int(ready), b"1")
    result = function(event, Context(float(timeout_s), arn, request_id))
    try:
        text = json.dumps(result)
    except (TypeError, ValueError) as error:
        raise RuntimeFailure("Runtime.MarshalError", f"Unable to marshal response: {error}") from error
    write("answer.json", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
