"""Folders that SageMaker uploads while a job runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from local.home.home import Home
from local.processes.sidecar import sidecar
from local.s3.transfer import upload_changes

INTERVAL_S = 1.0


@contextlib.contextmanager
def uploaded_meanwhile(home: Home, folder: Path, uri: str, unfinished: str = "") -> Iterator[None]:
    """Upload the changes in a folder, again and again until the block ends, but not once more at the end.

    Args:
        unfinished: suffix of unfinished files, which are left out; "" for none.
    """

    def upload(ended: threading.Event) -> None:
        while not ended.wait(INTERVAL_S):
            upload_changes(home, folder, uri, INTERVAL_S, unfinished)

    lost = f"{uri} gets nothing more until its job has ended"
    with sidecar("upload", upload, (OSError, ValueError), lost):
        yield
