"""Jobs that ended because the service did: the step or tuning job that waits for one runs it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INTERRUPTED = "the local service ended while the job was running"


def interrupted(job: Mapping[str, Any]) -> bool:
    """Whether a job ended because the service did, from its record or its Describe call."""
    reason: str = job.get("FailureReason", "")
    return INTERRUPTED in reason
