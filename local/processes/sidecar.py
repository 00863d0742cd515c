"""Work in a thread beside a job."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger(__name__)


@contextlib.contextmanager
def sidecar(
    name: str, work: Callable[[threading.Event], None], errors: tuple[type[Exception], ...], lost: str
) -> Iterator[None]:
    """Do work until the block ends, which sets the event. Errors of the work fail no job.

    Args:
        name: the thread's.
        errors: errors that may end the work early; the service's log then says what is `lost`, and why.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix=name) as thread:
        working = thread.submit(work, ended)
        try:
            yield
        finally:
            ended.set()
            try:
                working.result()
            except errors as error:
                log.warning("%s: %s", lost, error)
