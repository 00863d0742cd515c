"""The time that records tell: it goes on when the clock is set back, so that nothing ends before it began."""

from __future__ import annotations

import threading
import time

_lock = threading.Lock()
_said, _said_at = 0.0, 0.0  # what was said last, and when (monotonic)


def now(*earlier: float | None) -> float:
    """Unix seconds: the machine's clock, or, if it was set back, the time that has passed since it was asked.

    The monotonic clock alone would not do: it stands still while the lid is closed.

    Args:
        earlier: moments of a record that this one comes after, perhaps of an earlier service; None for one
            that there is not.
    """
    global _said, _said_at
    with _lock:
        monotonic = time.monotonic()
        _said, _said_at = max(time.time(), _said + monotonic - _said_at), monotonic
        return max([_said, *(moment for moment in earlier if moment is not None)])
