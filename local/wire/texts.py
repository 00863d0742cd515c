"""Values in a request's text, or why they are invalid: JSON and whole numbers."""

from __future__ import annotations

import json
from typing import Any, NoReturn

# Deeper JSON is refused. AWS publishes no limit; Python's own are about 1,000, differ between versions,
# and are hit in the middle of whatever reads the value next.
DEPTH_MAX = 100
DIGITS_MAX = 18  # of whole numbers, so that they fit into 64 bits


def json_value(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON (in UTF-8, without NaN and Infinity), it nests more than DEPTH_MAX lists
            and objects, or a string of it is not Unicode.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_refuse)
    except RecursionError:
        raise _too_deep() from None
    _check(value)
    return value


def _check(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        for item in level:
            if isinstance(item, dict):
                _check_unicode(item)
        _check_unicode(level)
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise _too_deep()


def _check_unicode(items: Any) -> None:
    """JSON can escape half a surrogate pair, which has no UTF-8: no file, key or log can contain it."""
    for item in items:
        if isinstance(item, str) and not item.isascii():
            item.encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _too_deep() -> ValueError:
    return ValueError(f"it nests more than {DEPTH_MAX} lists and objects")


def whole_number(text: str) -> int:
    """A whole number, 0 or more, in digits.

    Raises:
        ValueError: it is not one, or has more than DIGITS_MAX digits.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise ValueError(f"{text[:40]!r} is not a whole number of up to {DIGITS_MAX} digits")
    return int(text)
