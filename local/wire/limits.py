"""The limits of a request's members that botocore's model has, but its validation leaves to the service.

Lengths, patterns, sizes, numbers and sets of values, in AWS's words. Patterns are Java's: those that
Python reads otherwise are translated, or left out by the names of their shapes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from botocore.model import Shape

# Python's \\w has all letters and numbers, and "_", which every pattern with \\p{L} allows too.
_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    r"\p{Alnum}": "A-Za-z0-9",
}
# With marks, symbols or punctuation of all scripts, with surrogates, or with invalid ranges in Python.
LEFT_OUT = {
    "AthenaCatalog", "Catalog", "CognitoUserGroup", "CustomerMetadataKey", "CustomerMetadataValue",
    "Database", "EntityDescription", "Group", "ModelPackageSourceUri", "ParameterName",
    "ResourceType", "TableName",
    "PipelineDefinition",  # any text matches it, and it is slow
}  # fmt: skip
# AWS adds instance types every month, so botocore may not know one.
_OPEN = "InstanceType"
_SHOWN_CHARACTERS = 200


@functools.cache
def pattern_of(pattern: str) -> re.Pattern[str]:
    """A pattern of botocore's model, as Python has it."""
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def refusal(request: Any, shape: Shape) -> str | None:
    """AWS's message about members outside their limits; None if all is well."""
    found = list(_violations(request, shape, ""))
    if not found:
        return None
    many = "1 validation error" if len(found) == 1 else f"{len(found)} validation errors"
    return f"{many} detected: {'; '.join(found)}"


def _violations(value: Any, shape: Shape, path: str) -> Iterator[str]:
    for constraint in _broken(value, shape):
        shown = repr(value)
        if len(shown) > _SHOWN_CHARACTERS:
            shown = f"{shown[:_SHOWN_CHARACTERS]}..."
        yield f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"
    kind = shape.type_name
    if kind == "structure":
        for name, item in value.items():
            member = f"{name[0].lower()}{name[1:]}"
            inner: Shape = shape.members[name]  # type: ignore[attr-defined]
            yield from _violations(item, inner, f"{path}.{member}" if path else member)
    elif kind == "list":
        for index, item in enumerate(value, 1):
            yield from _violations(item, shape.member, f"{path}.{index}.member")  # type: ignore[attr-defined]
    elif kind == "map":
        for key, item in value.items():
            yield from _violations(key, shape.key, f"{path} (key)")  # type: ignore[attr-defined]
            yield from _violations(item, shape.value, f"{path}.{key}")  # type: ignore[attr-defined]


def _broken(value: Any, shape: Shape) -> Iterator[str]:
    """The constraints of a shape that a value of its type does not satisfy."""
    limits = shape.metadata
    if shape.type_name == "timestamp" and not isinstance(value, int | float):  # botocore accepts dates, too
        yield "Member must be a number of seconds since 1970"
    if "min" not in limits and "max" not in limits and "pattern" not in limits and "enum" not in limits:
        return
    sized = isinstance(value, str | list | dict)
    measured = len(value) if sized else value
    what = "have length" if sized else "have value"
    outside = False
    if "max" in limits and measured > limits["max"]:
        outside = True
        yield f"Member must {what} less than or equal to {limits['max']}"
    if "min" in limits and measured < limits["min"]:
        outside = True
        yield f"Member must {what} greater than or equal to {limits['min']}"
    # Not for a value that is too long: that may take forever.
    checked = "pattern" in limits and not outside and shape.name not in LEFT_OUT
    if checked and not pattern_of(limits["pattern"]).fullmatch(value):
        yield f"Member must satisfy regular expression pattern: {limits['pattern']}"
    if "enum" in limits and not shape.name.endswith(_OPEN) and value not in limits["enum"]:
        yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
