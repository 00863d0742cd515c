"""Runs one pipeline execution: starts each step when its turn comes and records what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from local.definition.definition import Definition
from local.definition.expressions import as_text
from local.home.disk import NotRecorded
from local.home.store import Record, Store
from local.pipelines.calls import Outcome
from local.pipelines.graph import Progress, progress
from local.pipelines.record import ExecutionRecord
from local.pipelines.steps import Steps
from local.pipelines.values import Values

# Unless ParallelismConfiguration says otherwise (developer guide, "Amazon SageMaker Pipelines quotas").
_MAX_PARALLEL_STEPS = 50


class Execution:
    """One execution, whose record lies in the store; `client` gives thread-safe boto3 clients."""

    def __init__(self, arn: str, definition: Definition, store: Store, client: Callable[[str], Any]) -> None:
        self._definition = definition
        self._record = ExecutionRecord(store, arn)
        self._stopping = threading.Event()
        self._stop_reason: str | None = None
        self._values = Values(self._record, definition, client)
        self._steps = Steps(self._record, self._values, client, self._stopping)

    def stop(self, reason: str | None = None) -> None:
        """Stop the running jobs and start nothing more; returns at once."""
        self._stop_reason = reason

        def mark(record: Record) -> None:
            if record["PipelineExecutionStatus"] == "Executing":
                record["PipelineExecutionStatus"] = "Stopping"

        self._record.note(mark)
        self._stopping.set()

    def name_experiment(self) -> None:
        """Record the PipelineExperimentConfig as it is in this execution."""
        if self._definition.experiment is not None:
            config = {
                key: as_text(value)
                for key, value in self._values.evaluate(self._definition.experiment).items()
            }
            self._record.note(lambda record: record.update(PipelineExperimentConfig=config))

    def run(self) -> None:
        """Run the execution to its end; every change of state is in the store when it happens."""
        prefix = f"pipeline-{self._record.arn.rpartition('/')[2]}"
        try:
            with ThreadPoolExecutor(_MAX_PARALLEL_STEPS, thread_name_prefix=prefix) as pool:
                try:
                    self._run_graph(pool)
                except BaseException:
                    self._stopping.set()  # the other steps end their jobs before the pool closes
                    raise
        except NotRecorded as error:
            self.fail(str(error))
        except BaseException as error:
            self.fail(repr(error))
            raise

    def fail(self, fault: str) -> None:
        """End the execution, and its steps that have not ended, for a fault of the service."""
        self._record.fail(fault)

    def _run_graph(self, pool: ThreadPoolExecutor) -> None:
        running: dict[Future[Outcome], str] = {}
        while True:
            record = self._record.read()
            parallelism = record.get("ParallelismConfiguration") or {}
            limit = parallelism.get("MaxParallelExecutionSteps", _MAX_PARALLEL_STEPS)
            ready = () if self._stopping.is_set() else self._progress(record).ready
            started = time.time()
            for name in ready[: max(0, limit - len(running))]:
                step = self._definition.steps[name]
                self._record.begin_step(step, started)
                running[pool.submit(self._steps.perform, step)] = name
            if not running:
                return self._conclude()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                self._record.end_step(running.pop(future), future.result())

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
        if self._stopping.is_set():
            broken = any(step["StepStatus"] == "Failed" for step in record["_steps"].values())
            self._record.end("Failed" if broken else "Stopped", reason if broken else self._stop_reason)
        elif self._progress(record).unhandled:
            self._record.end("Failed", reason)
        else:
            self._record.end("CompletedWithFailures" if failed else "Succeeded", reason)
