"""The secondary statuses of a training job, in order, as DescribeTrainingJob answers them."""

from __future__ import annotations

from local.home.store import Record

# As recorded from SageMaker. "Status messages are subject to change" (API reference,
# SecondaryStatusTransition).
_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Stopping": "Stopping the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}
_LAST = ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded")


def enter(record: Record, status: str, now: float) -> None:
    """Move a training job from its last secondary status to this one, now (Unix seconds)."""
    transitions = record.setdefault("SecondaryStatusTransitions", [])
    for transition in transitions[-1:]:
        transition.setdefault("EndTime", now)
    transitions.append({"Status": status, "StartTime": now, "StatusMessage": _MESSAGES[status]})
    if status in _LAST:
        transitions[-1]["EndTime"] = now  # as recorded from SageMaker
    record["SecondaryStatus"] = status
