"""The executions of pipelines: their records, their threads, and the operations on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from local.definition.definition import Definition, DefinitionError, parse_definition
from local.definition.expressions import as_text
from local.definition.parameters import Value, values_at_start
from local.definition.unsupported import unsupported
from local.home.store import Record, Store
from local.pipelines.execution import Execution
from local.pipelines.record import EXECUTIONS
from local.pipelines.selection import select
from local.pipelines.steps import alphanumeric
from local.wire.errors import ServiceError
from local.wire.lists import created_within, in_order, page
from local.wire.operations import Operation, Request, Response

RUNNING = ("Executing", "Stopping")

# A UserContext names a user profile of Studio, which nobody here has; its IamIdentity is "associated with
# model package groups, model packages, and project entities only" (API reference, UserContext).
NOBODY: Record = {}

_SERVICE_ENDED = "The local service ended while the execution was running."


class ExecutionService:
    """The operations on executions; each execution runs in a thread of its own."""

    def __init__(
        self, store: Store, client: Callable[[str], Any], pipeline: Callable[[Request], Record]
    ) -> None:
        self._store = store
        self._client = client
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._running: dict[str, tuple[Execution, threading.Thread]] = {}
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
            "RetryPipelineExecution": _refuse_retry,
        }

    def recover(self) -> None:
        """Close the executions that an earlier process left running; to call before the first request."""
        for record in self._store.list(EXECUTIONS):
            if record["PipelineExecutionStatus"] in RUNNING:
                self._store.keep(EXECUTIONS, record["PipelineExecutionArn"], _close)

    def stop(self) -> None:
        """Stop the running executions, take no more and wait; the endpoint must still answer."""
        with self._lock:
            self._closed = True
            running = list(self._running.values())
        for execution, _ in running:
            execution.stop(_SERVICE_ENDED)
        for _, thread in running:
            thread.join()

    def _start(self, request: Request) -> Response:
        refuse_versions(request)
        pipeline = self._pipeline(request)
        with self._lock:
            if self._closed:
                raise ServiceError("InternalFailure", "the local service is ending", 500)
            for record in self.of(pipeline):
                if record["_token"] == request["ClientRequestToken"]:
                    return record
            record, definition = self._new_execution(pipeline, request)
            arn = record["PipelineExecutionArn"]
            self._store.create(EXECUTIONS, arn, record)
            execution = Execution(arn, definition, self._store, self._client)
            execution.name_experiment()
            thread = threading.Thread(target=self._run, args=(arn, execution), name=f"execution-{arn[-12:]}")
            self._running[arn] = execution, thread
            try:
                thread.start()
            except RuntimeError as error:  # this machine has no more threads
                del self._running[arn]
                execution.fail(str(error))
        return record

    def _run(self, arn: str, execution: Execution) -> None:
        try:
            execution.run()
        finally:
            with self._lock:
                del self._running[arn]

    def _new_execution(self, pipeline: Record, request: Request) -> tuple[Record, Definition]:
        """The record of an execution about to start, and what it runs; refused here or not at all."""
        definition = parsed(pipeline["PipelineDefinition"])
        try:
            values = values_at_start(definition.parameters, request.get("PipelineParameters", []))
        except ValueError as error:
            raise ServiceError("ValidationException", str(error)) from None
        steps: dict[str, Record] = {}
        selection = request.get("SelectiveExecutionConfig")
        if selection is not None:
            source = selection.get("SourcePipelineExecutionArn")
            reference = None if source is None else self._execution({"PipelineExecutionArn": source})
            if reference is not None and reference["PipelineArn"] != pipeline["PipelineArn"]:
                raise ServiceError("ValidationException", f"{source} is an execution of another pipeline.")
            selected = [step["StepName"] for step in selection["SelectedSteps"]]
            try:
                definition, steps = select(definition, selected, reference)
            except ValueError as error:
                raise ServiceError("ValidationException", str(error)) from None
        reasons = unsupported(definition)
        if reasons:
            raise ServiceError(
                "ValidationException", "The local service cannot run this: " + "; ".join(reasons)
            )
        execution_id, now = alphanumeric(12), time.time()
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

    def _execution(self, request: Request) -> Record:
        arn = request.get("PipelineExecutionArn", "")
        try:
            return self._store.get(EXECUTIONS, arn)
        except KeyError:
            raise ServiceError("ResourceNotFound", f"Pipeline execution '{arn}' does not exist.") from None

    def of(self, pipeline: Record) -> list[Record]:
        """The executions of a pipeline, newest first."""
        return [r for r in self._store.list(EXECUTIONS) if r["PipelineArn"] == pipeline["PipelineArn"]]

    def _list_executions(self, request: Request) -> Response:
        found = [
            {
                **record,
                "StartTime": record["CreationTime"],
                "PipelineExecutionFailureReason": record.get("FailureReason"),
            }
            for record in self.of(self._pipeline(request))
            if created_within(record, request)
        ]
        key = request.get("SortBy", "CreationTime")
        return page(in_order(found, request, key), request, "PipelineExecutionSummaries")

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

    def _update_execution(self, request: Request) -> Response:
        arn = self._execution(request)["PipelineExecutionArn"]
        keys = ("PipelineExecutionDescription", "PipelineExecutionDisplayName", "ParallelismConfiguration")
        changes = {key: request[key] for key in keys if key in request}
        changes["LastModifiedTime"] = time.time()
        return self._store.update(EXECUTIONS, arn, lambda record: record.update(changes))


def parsed(text: str) -> Definition:
    """The definition, or the service's refusal of it."""
    try:
        return parse_definition(text)
    except DefinitionError as error:
        # AWS's words begin so (aws/sagemaker-python-sdk#3908, #3472).
        raise ServiceError("ValidationException", f"Unable to parse pipeline definition. {error}") from None


def _close(record: Record) -> None:
    """End an execution and its steps without the process that ran them."""
    stopping = record["PipelineExecutionStatus"] == "Stopping"
    status, now = ("Stopped" if stopping else "Failed"), time.time()
    record.update(PipelineExecutionStatus=status, FailureReason=_SERVICE_ENDED, LastModifiedTime=now)
    for step in record["_steps"].values():
        if "EndTime" not in step:
            step.update(StepStatus=status, EndTime=now, FailureReason=_SERVICE_ENDED)


def refuse_versions(request: Request) -> None:
    """Refuse a request for a version of a pipeline: there is one only."""
    for key in ("PipelineVersionId", "PipelineVersionAlias"):
        if key in request:
            raise ServiceError(
                "ValidationException", f"{key}: the local service keeps one version of a pipeline."
            )


def _refuse_retry(request: Request) -> Response:
    raise ServiceError(
        "ValidationException",
        f"The local service does not retry {request['PipelineExecutionArn']}; start a new execution with"
        " a SelectiveExecutionConfig that selects the failed steps and what follows them.",
    )
