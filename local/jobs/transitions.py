"""The secondary statuses of a training job, one after the other, as DescribeTrainingJob tells them."""

from __future__ import annotations

from local.home.store import Record

# As SageMaker was recorded to say. "Status messages are subject to change" (API reference,
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
    """A training job is in this secondary status from now on (Unix seconds), and in the last one no more."""
    transitions = record.setdefault("SecondaryStatusTransitions", [])
    for transition in transitions[-1:]:
        transition.setdefault("EndTime", now)
    transitions.append({"Status": status, "StartTime": now, "StatusMessage": _MESSAGES[status]})
    if status in _LAST:
        transitions[-1]["EndTime"] = now  # as SageMaker was recorded to answer
    record["SecondaryStatus"] = status
