"""Checked access to the entries of an untrusted JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any


def shown(value: Any) -> str:
    """A value of the definition as refusals print it: as JSON, but strings in single quotes like names."""
    return repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def list_of(kinds: type | tuple[type, ...], owner: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`, empty if there is none.

    Raises:
        ValueError: not a list, or an item of another type than `kinds`.
    """
    items = owner.get(key)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, kinds) for item in items):
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        names = {dict: "object", str: "string", int: "number", float: "number"}
        wanted = " or ".join(dict.fromkeys(names[kind] for kind in kinds))
        raise ValueError(f"{key} is not a list of items of the JSON type {wanted}: {json.dumps(items)}")
    return items


def check_keys(value: Any, known: Set[str], required: Set[str]) -> None:
    """Refuse what is not an object with the required keys and only known ones.

    Raises:
        ValueError: that.
    """
    if not isinstance(value, dict) or not required <= set(value) <= known:
        raise ValueError(f"expected an object with {', '.join(sorted(known))}, got {json.dumps(value)}")


def strings(value: Any, *keys: str) -> tuple[str, ...]:
    """The values of an object that has exactly these keys, all strings.

    Raises:
        ValueError: anything else.
    """
    check_keys(value, set(keys), set(keys))
    if not all(isinstance(value[key], str) for key in keys):
        raise ValueError(f"{', '.join(keys)} are not all strings: {json.dumps(value)}")
    return tuple(value[key] for key in keys)
