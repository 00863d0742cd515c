"""Reuse of a step's earlier run: what makes two runs the same, and for how long."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.definition.checks import shown
from local.wire.texts import whole_number

_DURATION = re.compile(
    r"P?(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.IGNORECASE
)
_SECONDS = (365 * 86_400, 30 * 86_400, 7 * 86_400, 86_400, 3600, 60, 1)


@dataclass(frozen=True)
class CacheConfig:
    """An enabled cache; `expire_after_s` is None where earlier runs never expire."""

    expire_after_s: int | None


def parse_cache_config(entry: Any) -> CacheConfig | None:
    """The cache that a step's CacheConfig enables; None if it does not.

    Raises:
        ValueError: malformed.
    """
    if entry is None:
        return None
    if not isinstance(entry, dict) or not set(entry) <= {"Enabled", "ExpireAfter"}:
        raise ValueError(f"CacheConfig takes Enabled and ExpireAfter, got {json.dumps(entry)}")
    if not isinstance(entry.get("Enabled"), bool):
        raise ValueError(f"CacheConfig's Enabled is {shown(entry.get('Enabled'))}; expected true or false")
    if not entry["Enabled"]:
        return None
    return CacheConfig(duration_s(entry["ExpireAfter"]) if "ExpireAfter" in entry else None)


def duration_s(text: Any) -> int:
    """Seconds in an ISO 8601 duration, in the loose forms that Pipelines accepts: P30D, 30d, 30dT5h, T16m.

    Raises:
        ValueError: not a duration.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or not any(match.groups()):
        raise ValueError(f"ExpireAfter {shown(text)} is not an ISO 8601 duration such as P30D or PT1H")
    counts = [whole_number(count or "0") for count in match.groups()]
    return sum(count * seconds for count, seconds in zip(counts, _SECONDS, strict=True))


def cache_key(arguments: Mapping[str, Any], keys: Sequence[str]) -> str:
    """A digest of the arguments that matter; a key such as A.B is B within A."""
    chosen = {}
    for key in keys:
        outer, _, inner = key.partition(".")
        value = arguments.get(outer)
        chosen[key] = value.get(inner) if inner and value is not None else value
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
