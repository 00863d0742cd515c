"""Checks every request that a command sends: values that name a prefix end in a slash.

For S3, "flowers-2/1.png" begins with "flowers". This applies to all commands in all tests of this folder:
conftest.py installs it for commands in the test's own process, fork.py for the others.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.client import BaseClient

SCRIPTS = str(Path(__file__).resolve().parents[2] / "scripts")
# SageMaker writes below these, at paths that it composes itself.
OUTPUTS = {"S3Output", "S3OutputPath", "OutputDataConfig", "CheckpointConfig", "ProfilerConfig"}
OUTPUTS |= {"DebugHookConfig"}
OBJECT = re.compile(r"/[^/]+\.[A-Za-z0-9.]+$")  # such as .../sourcedir.tar.gz: one object, by its ending


def open_prefixes(operation: str, request: dict[str, Any]) -> list[str]:
    """The values of a request that may match more keys than intended."""
    listed = operation.startswith("ListObject") and request.get("Prefix", "")
    return [listed] * bool(listed and not listed.endswith("/")) + list(_uris(request))


def _uris(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("s3://"):
        if not value.endswith("/") and not OBJECT.search(value):
            yield value
    elif isinstance(value, str) and value[:1] in ("{", "["):
        try:
            document = json.loads(value)
        except ValueError:
            return
        yield from _uris(document)
    elif isinstance(value, list):
        for item in value:
            yield from _uris(item)
    elif isinstance(value, dict) and "Std:Join" in value:
        yield from _uris(value["Std:Join"]["Values"][-1])
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in OUTPUTS:
                yield from _uris(item)


def _by_a_command() -> bool:
    """Whether code of scripts/ is on the call stack, not only a test."""
    frame = sys._getframe()
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code.co_filename.startswith(SCRIPTS):
            return True
    return False


def guard() -> Any:
    """Check every request from now on; return the method to restore."""
    send = BaseClient._make_api_call

    def looked_at(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        if _by_a_command():
            found = open_prefixes(operation, request)
            assert not found, f"{operation} names {found}, which end in no slash"
        return send(client, operation, request)

    BaseClient._make_api_call = looked_at
    return send
