"""Ctrl-C: the first ends a command in order, the second ends it within seconds, even if a thread hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

import psutil

# After the second Ctrl-C: enough time to record that jobs were ended.
GRACE_S = 5.0


def leave_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end this process as above; ignored signals stay ignored."""
    seen = False

    def leave(number: int, _: object) -> None:
        nonlocal seen
        if seen:
            end_soon(number)
        seen = True
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)


def end_soon(number: int) -> None:
    """End this process after a second signal; returns at once.

    If the process still runs after GRACE_S, everything that it has started is killed and it ends without
    waiting for its threads: a hanging one would keep it forever.
    """
    timer = threading.Timer(GRACE_S, _end, (number,))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        _end(number)


def _end(number: int) -> None:
    end_at_once(f"ended; some threads did not end within {GRACE_S:g} s", 128 + number)


def end_at_once(told: str, code: int = 2) -> NoReturn:
    """End this process and everything that it has started, with one line on stderr, and no cleanup."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    # No print: a thread that hangs may hold the lock of sys.stderr.
    os.write(2, f"{told}\n".encode())
    os._exit(code)
