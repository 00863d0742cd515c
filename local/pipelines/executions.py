"""The executions of pipelines: their records, their threads, and the operations on them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from local.definition.definition import Definition, DefinitionError, parse_definition
from local.definition.expressions import as_text
from local.definition.parameters import Value, values_at_start
from local.definition.unsupported import unsupported
from local.home import clock
from local.home.recovery import recover
from local.home.store import Record, Store
from local.pipelines.execution import Execution
from local.pipelines.graph import succeeded
from local.pipelines.lists import page_of
from local.pipelines.record import EXECUTIONS, MAX_EXECUTION_REASON
from local.pipelines.selection import select
from local.pipelines.steps import alphanumeric
from local.wire.errors import ServiceError
from local.wire.lists import in_order, page
from local.wire.operations import Operation, Request, Response

RUNNING = ("Executing", "Stopping")
RETRIED = ("Failed", "Stopped")

# A UserContext names a user profile of Studio, which does not exist here; its IamIdentity is "associated with
# model package groups, model packages, and project entities only" (API reference, UserContext).
NOBODY: Record = {}

LEFT = "The local service ended while the execution was running. RetryPipelineExecution continues it."


class ExecutionService:
    """The operations on executions; each execution runs in its own thread."""

    def __init__(
        self, store: Store, client: Callable[[str], Any], pipeline: Callable[[Request], Record]
    ) -> None:
        self._store = store
        self._client = client
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Execution, threading.Thread]] = {}
        self._left: dict[str, tuple[Definition, bool]] = {}  # what still runs; whether it was stopping
        self._closed = False

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            "StartPipelineExecution": self._start,
            "DescribePipelineExecution": self._execution,
            "ListPipelineExecutions": self._list_executions,
            "ListPipelineExecutionSteps": self._list_steps,
            "ListPipelineParametersForExecution": self._list_parameters,
            "DescribePipelineDefinitionForExecution": self._describe_definition,
            "StopPipelineExecution": self._stop,
            "UpdatePipelineExecution": self._update_execution,
            "RetryPipelineExecution": self._retry,
        }

    def recover(self, resume: bool) -> None:
        """Close the executions that an earlier service left running, or prepare to continue them.

        Call it before the first request; RetryPipelineExecution continues closed ones.

        Raises:
            OSError: the disk is full.
        """
        recover(self._store, EXECUTIONS, _whole, partial(self._take_up, resume=resume), _given_up)

    def _take_up(self, arn: str, record: Record, resume: bool) -> None:
        status = record["PipelineExecutionStatus"]
        if status not in RUNNING:
            return
        if not resume:
            self._store.keep(EXECUTIONS, arn, partial(_close, reason=LEFT))
            return
        try:
            self._left[arn] = self._remaining(record), status == "Stopping"
        except (ServiceError, LookupError, TypeError, ValueError) as error:
            reason = f"The local service cannot continue it: {error!r}"
            self._store.keep(EXECUTIONS, arn, partial(_close, reason=reason))

    def resume(self) -> list[str]:
        """Continue what `recover` prepared, oldest first, once the service answers; return the ARNs."""
        with self._lock:
            for arn, (definition, stopping) in reversed(self._left.items()):  # newest first
                self._begin(arn, definition, stopping=stopping)
            return list(self._left)

    def running(self) -> list[str]:
        """The ARNs of the running executions."""
        with self._lock:
            return list(self._running)

    def stop(self) -> None:
        """Leave running executions to a later service, accept no more and wait; jobs must still answer."""
        with self._lock:
            self._closed = True
            running = list(self._running.values())
        for execution, _ in running:
            execution.suspend()
        for _, thread in running:
            thread.join()

    def _start(self, request: Request) -> Response:
        refuse_versions(request)
        pipeline = self._pipeline(request)
        with self._lock:
            if self._closed:
                raise ServiceError("InternalFailure", "the local service is ending", 500)
            token = request["ClientRequestToken"]
            for record in self._store.list(EXECUTIONS, parent=pipeline["PipelineArn"], token=token):
                return record
            record, definition = self._new_execution(pipeline, request)
            arn = record["PipelineExecutionArn"]
            self._store.create(EXECUTIONS, arn, record)
            self._begin(arn, definition)
        return record

    def _begin(self, arn: str, definition: Definition, *, stopping: bool = False) -> None:
        """Run an execution in its own thread, from the state in its record."""
        execution = Execution(arn, definition, self._store, self._client)
        execution.name_experiment()
        if stopping:
            execution.stop()
        thread = threading.Thread(target=self._run, args=(arn, execution), name=f"execution-{arn[-12:]}")
        self._running[arn] = execution, thread
        try:
            thread.start()
        except RuntimeError as error:  # this machine has no more threads
            del self._running[arn]
            execution.fail(str(error))

    def _remaining(self, record: Record) -> Definition:
        """What a begun execution runs: its definition, or the selected steps of it."""
        definition = parsed(record["_definition"])
        selection = record["SelectiveExecutionConfig"]
        if selection is None:
            return definition
        return self._selected(definition, selection, record["PipelineArn"])[0]

    def _run(self, arn: str, execution: Execution) -> None:
        try:
            execution.run()
        finally:
            with self._lock:
                del self._running[arn]

    def _new_execution(self, pipeline: Record, request: Request) -> tuple[Record, Definition]:
        """The record of a new execution, and what it runs; every refusal happens here."""
        definition = parsed(pipeline["PipelineDefinition"])
        try:
            values = values_at_start(definition.parameters, request.get("PipelineParameters", []))
        except ValueError as error:
            raise ServiceError("ValidationException", str(error)) from None
        steps: dict[str, Record] = {}
        selection = request.get("SelectiveExecutionConfig")
        if selection is not None:
            definition, steps = self._selected(definition, selection, pipeline["PipelineArn"])
        reasons = unsupported(definition)
        if reasons:
            raise ServiceError(
                "ValidationException", "The local service cannot run this: " + "; ".join(reasons)
            )
        execution_id, now = alphanumeric(12), clock.now()
        record = {
            "PipelineArn": pipeline["PipelineArn"],
            "PipelineExecutionArn": f"{pipeline['PipelineArn']}/execution/{execution_id}",
            "PipelineExecutionDisplayName": request.get(
                "PipelineExecutionDisplayName", f"execution-{int(now * 1000)}"
            ),
            "PipelineExecutionDescription": request.get("PipelineExecutionDescription"),
            "PipelineExecutionStatus": "Executing",
            "ParallelismConfiguration": request.get(
                "ParallelismConfiguration", pipeline.get("ParallelismConfiguration")
            ),
            "SelectiveExecutionConfig": selection,
            "RoleArn": request.get("RoleArn", pipeline["RoleArn"]),
            "CreationTime": now,
            "LastModifiedTime": now,
            "CreatedBy": NOBODY,
            "LastModifiedBy": NOBODY,
            "_pipeline": pipeline["PipelineName"],
            "_definition": pipeline["PipelineDefinition"],
            "_parameters": values,
            "_steps": steps,
            "_token": request["ClientRequestToken"],
        }
        return record, definition

    def _selected(
        self, definition: Definition, selection: Mapping[str, Any], pipeline: str
    ) -> tuple[Definition, dict[str, Record]]:
        """The selected steps of a pipeline's definition, and the source's records that they need."""
        source = selection.get("SourcePipelineExecutionArn")
        reference = None if source is None else self._execution({"PipelineExecutionArn": source})
        if reference is not None and reference["PipelineArn"] != pipeline:
            raise ServiceError("ValidationException", f"{source} is an execution of another pipeline.")
        selected = [step["StepName"] for step in selection["SelectedSteps"]]
        try:
            return select(definition, selected, reference)
        except ValueError as error:
            raise ServiceError("ValidationException", str(error)) from None

    def _execution(self, request: Request) -> Record:
        arn = request.get("PipelineExecutionArn", "")
        try:
            return self._store.get(EXECUTIONS, arn)
        except KeyError:
            raise ServiceError("ResourceNotFound", f"Pipeline execution '{arn}' does not exist.") from None

    def _list_executions(self, request: Request) -> Response:
        parent = self._pipeline(request)["PipelineArn"]
        members, name = "PipelineExecutionSummaries", "PipelineExecutionArn"
        answer = page_of(self._store, EXECUTIONS, request, members, name=name, parent=parent)
        for record in answer[members]:
            record["StartTime"] = record["CreationTime"]
            record["PipelineExecutionFailureReason"] = record.get("FailureReason")
        return answer

    def _list_steps(self, request: Request) -> Response:
        # Steps that started together keep the definition's order, in either direction (recorded).
        steps = list(self._execution(request)["_steps"].values())
        return page(in_order(steps, request, "StartTime"), request, "PipelineExecutionSteps")

    def _list_parameters(self, request: Request) -> Response:
        values: Mapping[str, Value] = self._execution(request)["_parameters"]
        listed = [{"Name": name, "Value": as_text(value)} for name, value in values.items()]
        return page(listed, request, "PipelineParameters")

    def _describe_definition(self, request: Request) -> Response:
        record = self._execution(request)
        return {"PipelineDefinition": record["_definition"], "CreationTime": record["CreationTime"]}

    def _stop(self, request: Request) -> Response:
        record = self._execution(request)
        arn, status = record["PipelineExecutionArn"], record["PipelineExecutionStatus"]
        with self._lock:
            running = self._running.get(arn)
        if running is None or status not in RUNNING:
            raise ServiceError(
                "ConflictException",
                f"Pipeline execution {arn} is {status}; only a running one can be stopped.",
            )
        running[0].stop()
        return record

    def _retry(self, request: Request) -> Response:
        """Continue a failed or stopped execution under its own ARN.

        AWS publishes only "Retry the execution of the pipeline", and that it may answer ConflictException
        (API reference). Here steps that succeeded keep their results, unless they come after one that did not
        (they ran because it failed). All others begin again, with the execution's original definition and
        parameters.
        """
        record = self._execution(request)
        with self._lock:
            ending = self._running.get(record["PipelineExecutionArn"])
        if ending is not None and record["PipelineExecutionStatus"] in RETRIED:
            ending[1].join()  # it has just noted its end
        with self._lock:
            if self._closed:
                raise ServiceError("InternalFailure", "the local service is ending", 500)
            record = self._execution(request)
            arn, token = record["PipelineExecutionArn"], request["ClientRequestToken"]
            if record.get("_retried") == token:
                return record
            status = record["PipelineExecutionStatus"]
            if status not in RETRIED:
                raise ServiceError(
                    "ConflictException",
                    f"Pipeline execution {arn} is {status}; one that is Failed or Stopped can be retried.",
                )
            definition = self._remaining(record)

            def change(record: Record) -> None:
                kept = succeeded(definition, record["_steps"])
                record.update(
                    PipelineExecutionStatus="Executing",
                    FailureReason=None,
                    LastModifiedTime=clock.now(),
                    _steps=kept,
                    _retried=token,
                )
                if "ParallelismConfiguration" in request:
                    record["ParallelismConfiguration"] = request["ParallelismConfiguration"]

            record = self._store.update(EXECUTIONS, arn, change)
            self._begin(arn, definition)
        return record

    def _update_execution(self, request: Request) -> Response:
        arn = self._execution(request)["PipelineExecutionArn"]
        keys = ("PipelineExecutionDescription", "PipelineExecutionDisplayName", "ParallelismConfiguration")
        changes = {key: request[key] for key in keys if key in request}
        changes["LastModifiedTime"] = clock.now()
        return self._store.update(EXECUTIONS, arn, lambda record: record.update(changes))


def parsed(text: str) -> Definition:
    """The parsed definition; raises the service's refusal."""
    try:
        return parse_definition(text)
    except DefinitionError as error:
        # AWS's message begins like this (aws/sagemaker-python-sdk#3908, #3472).
        raise ServiceError("ValidationException", f"Unable to parse pipeline definition. {error}") from None


def _whole(record: Record) -> tuple[Any, ...]:
    """The members of a record that the operations read."""
    steps = [(step["StepName"], step["StepStatus"], step["StartTime"]) for step in record["_steps"].values()]
    members = ("PipelineArn", "PipelineExecutionArn", "CreationTime", "_definition", "_parameters", "_token")
    return *steps, *(record[member] for member in members)


def _given_up(arn: str, created: float, fault: str) -> Record:
    """The members of an execution that could not be continued."""
    pipeline = arn.rpartition("/execution/")[0]
    return {
        "PipelineArn": pipeline,
        "PipelineExecutionArn": arn,
        "PipelineExecutionStatus": "Failed",
        "FailureReason": f"InternalServerError: {fault}"[:MAX_EXECUTION_REASON],
        "CreationTime": created,
        "LastModifiedTime": clock.now(),
        "_pipeline": pipeline.rpartition("/")[2],
        "_definition": "{}",
        "_parameters": {},
        "_steps": {},
        "_token": "",
    }


def _close(record: Record, reason: str) -> None:
    """End an execution and its steps without a process that runs them."""
    now = clock.now(record.get("LastModifiedTime"))
    record.update(PipelineExecutionStatus="Stopped", FailureReason=reason, LastModifiedTime=now)
    for step in record["_steps"].values():
        if "EndTime" not in step:
            ended = clock.now(step.get("StartTime"))
            step.update(StepStatus="Stopped", EndTime=ended, FailureReason=reason)


def refuse_versions(request: Request) -> None:
    """Refuse a request for a version of a pipeline: there is only one."""
    for key in ("PipelineVersionId", "PipelineVersionAlias"):
        if key in request:
            raise ServiceError(
                "ValidationException", f"{key}: the local service keeps one version of a pipeline."
            )
