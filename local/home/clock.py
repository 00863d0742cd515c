"""The time in records: it never goes back when the clock does, so nothing ends before it began."""

from __future__ import annotations

import threading
import time

_lock = threading.Lock()
_said, _said_at = 0.0, 0.0  # the last answer, and when it was given (monotonic)


def now(*earlier: float | None) -> float:
    """Unix seconds: the machine's clock or, if that was set back, the last answer plus the time since then.

    The monotonic clock alone is not enough: it stops while a laptop sleeps.

    Args:
        earlier: moments in a record, perhaps of an earlier service, that come before this one; None for a
            missing one.
    """
    global _said, _said_at
    with _lock:
        monotonic = time.monotonic()
        _said, _said_at = max(time.time(), _said + monotonic - _said_at), monotonic
        return max([_said, *(moment for moment in earlier if moment is not None)])
