"""Jobs that ended because the service did: whoever waits for one runs it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INTERRUPTED = "the local service ended while the job was running"


def interrupted(job: Mapping[str, Any]) -> bool:
    """Whether that is why a job ended, as its record or its Describe call tells."""
    reason: str = job.get("FailureReason", "")
    return INTERRUPTED in reason
