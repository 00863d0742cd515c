"""The record of one execution in the store: every change of its state and its steps' states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from local.definition.definition import Step
from local.home import clock
from local.home.store import PATIENCE_S, Record, Store
from local.pipelines.calls import Outcome

EXECUTIONS = "pipeline-executions"

_MAX_STEP_REASON = 1024
MAX_EXECUTION_REASON = 1300


class ExecutionRecord:
    """The record of the execution `arn`, as the operations on executions answer it."""

    def __init__(self, store: Store, arn: str) -> None:
        self.store = store
        self.arn = arn

    def read(self) -> Record:
        """The record as it is now."""
        return self.store.get(EXECUTIONS, self.arn)

    def step(self, name: str) -> Record:
        """The record of a step that has begun."""
        step: Record = self.read()["_steps"][name]
        return step

    def change(self, change: Callable[[Record], None]) -> None:
        """Record something that the next step depends on; if the disk is full, the execution ends.

        Raises:
            NotRecorded: the disk is full.
        """
        self.store.update(EXECUTIONS, self.arn, partial(_stamped, change=change), PATIENCE_S)

    def note(self, change: Callable[[Record], None]) -> None:
        """Record something that is true in any case; if the disk is full, as soon as there is space."""
        self.store.keep(EXECUTIONS, self.arn, partial(_stamped, change=change))

    def note_step(self, name: str, **changes: Any) -> None:
        """The same for members of a step, e.g. note_step("Train", StepStatus="Executing")."""
        self.note(lambda record: record["_steps"][name].update(changes))

    def change_step(self, name: str, **changes: Any) -> None:
        """Record members of a step that the next call depends on; raises like `change`."""
        self.change(lambda record: record["_steps"][name].update(changes))

    def begin_step(self, step: Step, started: float) -> None:
        """Record that a step is Starting, at this Unix time; raises like `change`."""
        entry = {
            "StepName": step.name,
            "StepDisplayName": step.display_name,
            "StepDescription": step.description,
            "StartTime": started,
            "StepStatus": "Starting",
            "AttemptCount": 0,
        }
        self.change(lambda record: record["_steps"].update({step.name: entry}))

    def end_step(self, name: str, outcome: Outcome) -> None:
        """Record that a step has ended; raises like `change`."""
        reason = outcome.failure_reason
        end = {
            "StepStatus": outcome.status,
            "FailureReason": reason and reason[:_MAX_STEP_REASON],
            "_properties": outcome.properties,
        }

        def change(record: Record) -> None:
            step = record["_steps"][name]
            step.update(end, EndTime=clock.now(step["StartTime"]))

        self.change(change)

    def end(self, status: str, reason: str | None) -> None:
        """Record that the execution has ended; raises like `change`."""
        self.change(
            lambda record: record.update(
                PipelineExecutionStatus=status, FailureReason=reason and reason[:MAX_EXECUTION_REASON]
            )
        )

    def fail(self, fault: str) -> None:
        """Fail the execution, and its unfinished steps, for a fault of the service."""
        self.note(partial(_fail, reason=f"InternalServerError: {fault}"))


def _stamped(record: Record, change: Callable[[Record], None]) -> None:
    change(record)
    record["LastModifiedTime"] = clock.now(record.get("LastModifiedTime"))


def _fail(record: Record, reason: str) -> None:
    for step in record["_steps"].values():
        if "EndTime" not in step:
            ended = clock.now(step.get("StartTime"))
            step.update(StepStatus="Failed", EndTime=ended, FailureReason=reason[:_MAX_STEP_REASON])
    record.update(PipelineExecutionStatus="Failed", FailureReason=reason[:MAX_EXECUTION_REASON])
