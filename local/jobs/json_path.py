"""The JSONPath of a transform job's filters: the operators that batch transform supports.

Developer guide, "Associate Prediction Results with Input Records", "Supported JSONPath Operators". Their
meaning is that of github.com/json-path/JsonPath, which the guide refers to: a path to one place gives what is
there, any other path a list, and several names give an object. Python's JSONPath libraries lack the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

LONGEST_PATH = 63  # API reference, DataProcessing
_NAME = r"'[^']*'"
_ITEM = r"-?\d*:(?:-?\d+)?|-?\d+"
_SEGMENT = re.compile(
    r"\.(?P<name>[^.\[\]*'\s]+)"
    r"|(?P<all>\.\*|\.?\[\*\])"
    rf"|\.?\[(?P<names>{_NAME}(?:,\s*{_NAME})*)\]"
    rf"|\.?\[(?P<items>(?:{_ITEM})(?:,\s*(?:{_ITEM}))*)\]"
)

# The values that a segment of a path selects from one value.
Lead = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class JsonPath:
    """A path, parsed by `parse_path`.

    Args:
        definite: whether it selects exactly one place.
        names: whether it selects members by name, which arrays do not have.
    """

    text: str
    leads: tuple[Lead, ...]
    definite: bool
    names: bool

    @property
    def everything(self) -> bool:
        """Whether it selects the whole document."""
        return not self.leads

    def select(self, document: Any) -> Any:
        """What the path selects of a document.

        Raises:
            ValueError: it selects a member or an element that does not exist.
        """
        found = [document]
        try:
            for lead in self.leads:
                found = [value for start in found for value in lead(start)]
        except (LookupError, TypeError):
            raise ValueError(f"{self.text} selects nothing in {json.dumps(document)[:200]}") from None
        return found[0] if self.definite else found


def parse_path(text: str) -> JsonPath:
    """Parse a JSONPath.

    Raises:
        ValueError: not a JSONPath, or one with operators that batch transform does not support.
    """
    if len(text) > LONGEST_PATH:
        raise ValueError(f"the JSONPath {text!r} is longer than {LONGEST_PATH} characters")
    leads: list[Lead] = []
    definite, names = True, False
    at = 1 if text.startswith("$") else 0
    while at < len(text) or not at:
        match = _SEGMENT.match(text, at) if at else None
        if match is None:
            raise ValueError(f"{text!r} is not a JSONPath of the operators $ .name .* ['a','b'] [0,2] [1:]")
        at = match.end()
        if match["all"]:
            definite = False
            leads.append(_all)
        elif match["items"]:
            items = [_item(part.strip(), text) for part in match["items"].split(",")]
            definite = definite and len(items) == 1 and isinstance(items[0], int)
            leads.append(partial(_elements, items))
        else:
            names = True
            quoted = re.findall(_NAME, match["names"] or "")
            leads.append(partial(_members, [match["name"]] if match["name"] else [n[1:-1] for n in quoted]))
    return JsonPath(text, tuple(leads), definite, names)


def _item(item: str, path: str) -> int | slice:
    start, colon, end = item.partition(":")
    if end:
        # The guide's examples include the end ("$[1:4] specifies the second through fifth columns"), its
        # table compares the operator to slice(), and JsonPath excludes the end.
        raise ValueError(
            f"the JSONPath {path!r} has a slice with an end, which AWS documents both as included and as"
            " excluded; write the indexes one by one, as in $[1,2,3]"
        )
    return slice(int(start or 0), None) if colon else int(start)


def _members(names: list[str], value: Any) -> list[Any]:
    if not isinstance(value, dict):
        raise TypeError
    return [value[names[0]] if len(names) == 1 else {name: value[name] for name in names}]


def _elements(items: list[int | slice], value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    found: list[Any] = []
    for item in items:
        if isinstance(item, int):
            found.append(value[item])
        elif -len(value) <= item.start <= len(value):
            found.extend(value[item])
        else:  # "If you specify indexes that aren't within the dimension size ..., you get an error"
            raise IndexError
    return found


def _all(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        raise TypeError
    return list(value.values()) if isinstance(value, dict) else value
