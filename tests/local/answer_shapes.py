"""Whether an operation's answer fits AWS's model of it: required members, types, enumerations."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from botocore.validate import ParamValidator


def problems(answer: Any, shape: Any) -> list[str]:
    """Members that botocore's model of the answer does not have, or that it requires and the answer lacks."""
    report = ParamValidator().validate(answer, shape).generate_report()
    return [*report.splitlines(), *_unlisted(answer, shape, shape.name)]


def _unlisted(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Strings that are not in their enumeration."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, item in value.items():
            yield from _unlisted(item, shape.members[key], f"{where}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for item in value:
            yield from _unlisted(item, shape.member, where)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{where}: {value!r} is none of {', '.join(shape.enum)}"


def members(value: Any, way: str = "") -> set[str]:
    """The paths of all members of an answer, without the indices of lists."""
    if isinstance(value, dict):
        return {way, *(path for key, item in value.items() for path in members(item, f"{way}.{key}"))}
    if isinstance(value, list):
        return {way, *(path for item in value for path in members(item, way))}
    return {way}


def missing(answers: list[Any], examples: list[Any], absent: Collection[str]) -> set[str]:
    """The paths that AWS's examples of an answer have and ours lack, except members named in `absent`."""
    ours = set().union(*map(members, answers))
    shown = set().union(*(members(example.get("output", {})) for example in examples))
    return {path for path in shown - ours if not set(absent) & set(path.split("."))}
