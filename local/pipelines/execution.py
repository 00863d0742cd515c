"""Runs one pipeline execution: starts each step when it is ready and records how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from local.definition.definition import Definition
from local.definition.expressions import as_text
from local.home import clock
from local.home.disk import NotRecorded
from local.home.store import Record, Store
from local.pipelines.calls import Outcome, Signals, Suspended
from local.pipelines.graph import Progress, progress
from local.pipelines.record import ExecutionRecord
from local.pipelines.steps import Steps
from local.pipelines.values import Values

# Unless ParallelismConfiguration says otherwise (developer guide, "Amazon SageMaker Pipelines quotas").
_MAX_PARALLEL_STEPS = 50
# How often the running steps' time is recorded.
_NOTED_EVERY_S = 5.0


class Execution:
    """One execution, with its record in the store; `client` gives thread-safe boto3 clients."""

    def __init__(self, arn: str, definition: Definition, store: Store, client: Callable[[str], Any]) -> None:
        self._definition = definition
        self._record = ExecutionRecord(store, arn)
        self._signals = Signals()
        self._values = Values(self._record, definition, client)
        self._steps = Steps(self._record, self._values, client, self._signals)
        self._began: dict[str, float] = {}  # the running steps and their monotonic start times

    def stop(self) -> None:
        """Stop the running jobs and start nothing more; returns at once."""

        def mark(record: Record) -> None:
            if record["PipelineExecutionStatus"] == "Executing":
                record["PipelineExecutionStatus"] = "Stopping"

        self._record.note(mark)
        self._signals.stop()

    def suspend(self) -> None:
        """Leave everything as it is, for a later service to continue; returns at once."""
        self._signals.suspend()

    def name_experiment(self) -> None:
        """Record the PipelineExperimentConfig as it is in this execution."""
        if self._definition.experiment is not None:
            config = {
                key: as_text(value)
                for key, value in self._values.evaluate(self._definition.experiment).items()
            }
            self._record.note(lambda record: record.update(PipelineExperimentConfig=config))

    def run(self) -> None:
        """Run the execution to its end, or until the service ends; continues one that has begun.

        Every change of state is stored when it happens.
        """
        prefix = f"pipeline-{self._record.arn.rpartition('/')[2]}"
        try:
            with ThreadPoolExecutor(_MAX_PARALLEL_STEPS, thread_name_prefix=prefix) as pool:
                try:
                    self._run_graph(pool)
                except Suspended:
                    raise
                except BaseException:
                    self._signals.stop()  # the other steps end their jobs before the pool closes
                    raise
        except Suspended:
            self._note_used()
        except NotRecorded as error:
            self.fail(str(error))
        except BaseException as error:
            self.fail(repr(error))
            raise

    def fail(self, fault: str) -> None:
        """Fail the execution, and its unfinished steps, for a fault of the service."""
        self._record.fail(fault)

    def _run_graph(self, pool: ThreadPoolExecutor) -> None:
        running: dict[Future[Outcome], str] = {}

        def go(name: str) -> None:
            self._began[name] = time.monotonic()
            running[pool.submit(self._steps.perform, self._definition.steps[name])] = name

        for name, step in self._record.read()["_steps"].items():
            if "EndTime" not in step:
                go(name)
        while True:
            record = self._record.read()
            parallelism = record.get("ParallelismConfiguration") or {}
            limit = parallelism.get("MaxParallelExecutionSteps", _MAX_PARALLEL_STEPS)
            ready = () if self._signals.stopping else self._progress(record).ready
            started = clock.now()
            for name in ready[: max(0, limit - len(running))]:
                self._record.begin_step(self._definition.steps[name], started)
                go(name)
            if not running:
                return self._conclude()
            for future in wait(running, _NOTED_EVERY_S, FIRST_COMPLETED).done:
                name = running.pop(future)
                outcome = future.result()
                del self._began[name]
                self._record.end_step(name, outcome)
            self._note_used()

    def _note_used(self) -> None:
        """Record how long the running steps have worked, without the time between services."""
        now = time.monotonic()

        def change(record: Record) -> None:
            for name, began in self._began.items():
                step = record["_steps"][name]
                step["_used_s"] = step.get("_used_s", 0.0) + now - began

        if self._began:
            self._record.note(change)
            self._began = dict.fromkeys(self._began, now)

    def _progress(self, record: Record) -> Progress:
        steps = record["_steps"]
        statuses = {name: step["StepStatus"] for name, step in steps.items()}
        outcomes = {
            name: step["_properties"]["Outcome"] == "True"
            for name, step in steps.items()
            if "Outcome" in step.get("_properties", {})
        }
        return progress(self._definition, statuses, outcomes)

    def _conclude(self) -> None:
        record = self._record.read()
        failed = {
            name: step.get("FailureReason") or step["StepStatus"]
            for name, step in record["_steps"].items()
            if step["StepStatus"] in ("Failed", "Stopped")
        }
        first = next((f" {name}: {reason}" for name, reason in failed.items()), "")
        reason = f"Step failure: One or multiple steps failed.{first}" if failed else None
        if self._signals.stopping:
            broken = any(step["StepStatus"] == "Failed" for step in record["_steps"].values())
            self._record.end("Failed" if broken else "Stopped", reason if broken else None)
        elif self._progress(record).unhandled:
            self._record.end("Failed", reason)
        else:
            self._record.end("CompletedWithFailures" if failed else "Succeeded", reason)
