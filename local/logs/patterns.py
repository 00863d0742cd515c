"""Filter patterns of CloudWatch Logs: terms that a line must or must not have."""

from __future__ import annotations

import re
from collections.abc import Callable

from local.wire.errors import ServiceError

_TERM = re.compile(r'([-?]?)(?:"((?:[^"\\]|\\.)*)"|(\S+))')


def filtered(pattern: str) -> Callable[[str], bool]:
    """Whether a line matches: it has every plain term, no term after a -, and one of the terms after a ?.

    Source: CloudWatch Logs user guide, "Filter pattern syntax".

    Raises:
        ServiceError: a pattern for JSON, for columns, or a regular expression.
    """
    if pattern.strip().startswith(("{", "[", "%")):
        told = f"filterPattern {pattern!r}: the local service accepts only terms, not {{...}}, [...] or %...%"
        raise ServiceError("InvalidParameterException", told)
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    for sign, quoted, plain in _TERM.findall(pattern):
        terms[sign].append(re.sub(r"\\(.)", r"\1", quoted) or plain)

    def matches(line: str) -> bool:
        return (
            all(term in line for term in terms[""])
            and not any(term in line for term in terms["-"])
            and (not terms["?"] or any(term in line for term in terms["?"]))
        )

    return matches
