"""The record of one execution in the store: every change of its state, and of its steps'."""

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
        """Record what the next step rests on; if the disk does not take it, the execution ends.

        Raises:
            NotRecorded: it did not.
        """
        self.store.update(EXECUTIONS, self.arn, partial(_stamped, change=change), PATIENCE_S)

    def note(self, change: Callable[[Record], None]) -> None:
        """Record what is so in any case; if the disk does not take it, as soon as it does."""
        self.store.keep(EXECUTIONS, self.arn, partial(_stamped, change=change))

    def note_step(self, name: str, **changes: Any) -> None:
        """The same for members of a step, e.g. note_step("Train", StepStatus="Executing")."""
        self.note(lambda record: record["_steps"][name].update(changes))

    def change_step(self, name: str, **changes: Any) -> None:
        """Record members of a step that the next call rests on; raises as `change`."""
        self.change(lambda record: record["_steps"][name].update(changes))

    def begin_step(self, step: Step, started: float) -> None:
        """A step is Starting, at this Unix time; raises as `change`."""
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
        """A step has ended; raises as `change`."""
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
        """The execution has ended; raises as `change`."""
        self.change(
            lambda record: record.update(
                PipelineExecutionStatus=status, FailureReason=reason and reason[:MAX_EXECUTION_REASON]
            )
        )

    def fail(self, fault: str) -> None:
        """The execution, and its steps that have not ended, have failed by a fault of the service."""
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
