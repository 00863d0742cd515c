"""Whether what an operation answers is what AWS's model of it says: required members, types, enumerations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.validate import ParamValidator


def problems(answer: Any, shape: Any) -> list[str]:
    """What botocore's model of the answer does not have or misses."""
    report = ParamValidator().validate(answer, shape).generate_report()
    return [*report.splitlines(), *_unlisted(answer, shape, shape.name)]


def _unlisted(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Strings that are none of their enumeration."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, item in value.items():
            yield from _unlisted(item, shape.members[key], f"{where}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for item in value:
            yield from _unlisted(item, shape.member, where)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{where}: {value!r} is none of {', '.join(shape.enum)}"
