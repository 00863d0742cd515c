"""The retry policies of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local.definition.checks import check_keys, list_of, shown

_EXCEPTION_TYPES = (
    "Step.SERVICE_FAULT", "Step.THROTTLING",
    "SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT",
)  # fmt: skip


@dataclass(frozen=True)
class RetryPolicy:
    """Which exceptions are retried, and how often; limited by attempts or by minutes."""

    exception_types: tuple[str, ...]
    interval_s: float
    backoff_rate: float
    max_attempts: int | None
    expire_after_min: float | None


def parse_retry_policy(entry: Any) -> RetryPolicy:
    """The policy that an entry of RetryPolicies describes; defaults and limits from the developer guide.

    Raises:
        ValueError: malformed, or beyond the service's limits.
    """
    known = {"ExceptionType", "IntervalSeconds", "BackoffRate", "MaxAttempts", "ExpireAfterMin"}
    check_keys(entry, known, {"ExceptionType"})
    exception_types = list_of(str, entry, "ExceptionType")
    unknown = sorted(set(exception_types) - set(_EXCEPTION_TYPES))
    if unknown or not exception_types:
        raise ValueError(f"RetryPolicies has the unknown ExceptionType {', '.join(unknown) or '[]'}")
    if "MaxAttempts" in entry and "ExpireAfterMin" in entry:
        raise ValueError("RetryPolicies takes MaxAttempts or ExpireAfterMin, not both")
    limits = {"IntervalSeconds": 43_200, "MaxAttempts": 20, "ExpireAfterMin": 14_400}
    for key in sorted(known - {"ExceptionType"}):
        value = entry.get(key, 0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= limits.get(key, value):
            most = limits.get(key, "any")
            raise ValueError(f"RetryPolicies has {key} {shown(value)}; expected 0 to {most}")
    expire = entry.get("ExpireAfterMin")
    attempts = entry.get("MaxAttempts", 5 if expire is None else None)
    return RetryPolicy(
        tuple(exception_types),
        entry.get("IntervalSeconds", 1),
        entry.get("BackoffRate", 2.0),
        attempts,
        expire,
    )


def delay_s(
    policies: Sequence[RetryPolicy], exception_type: str | None, attempt: int, elapsed_s: float
) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None for no more attempts."""
    for policy in policies:
        if exception_type not in policy.exception_types:
            continue
        if policy.max_attempts is not None and attempt > policy.max_attempts:
            return None
        delay = policy.interval_s * policy.backoff_rate ** (attempt - 1)
        if policy.expire_after_min is not None and elapsed_s + delay > policy.expire_after_min * 60:
            return None
        return delay
    return None
