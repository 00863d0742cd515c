"""Runs one pipeline execution: starts each step when its turn comes and records what became of it."""

from __future__ import annotations

import itertools
import secrets
import string
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.definition import retry
from local.definition.cache import CacheConfig, cache_key
from local.definition.conditions import holds
from local.definition.definition import Definition, Step
from local.definition.expressions import ExpressionError, Reference, as_text, evaluate, lookup
from local.definition.step_types import ACTIONS, Action
from local.home.disk import NotRecorded
from local.home.store import PATIENCE_S, Record, Store
from local.pipelines.calls import Outcome, create_resource, invoke_function, iso_time
from local.pipelines.graph import Progress, progress

EXECUTIONS = "pipeline-executions"

# Unless ParallelismConfiguration says otherwise (developer guide, "Amazon SageMaker Pipelines quotas").
_MAX_PARALLEL_STEPS = 50
_MAX_STEP_REASON = 1024
_MAX_EXECUTION_REASON = 1300
_MAX_PROPERTY_FILE_BYTES = 2 * 1024 * 1024
_ALPHANUMERIC = string.ascii_lowercase + string.digits


def alphanumeric(length: int) -> str:
    """A random string of lower-case letters and digits, as the service's names end in."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


class Execution:
    """One execution, whose record lies in the store; `client` gives thread-safe boto3 clients."""

    def __init__(self, arn: str, definition: Definition, store: Store, client: Callable[[str], Any]) -> None:
        self._arn = arn
        self._id = arn.rpartition("/")[2]
        self._definition = definition
        self._store = store
        self._client = client
        self._stopping = threading.Event()
        self._stop_reason: str | None = None

    def stop(self, reason: str | None = None) -> None:
        """Stop the running jobs and start nothing more; returns at once."""
        self._stop_reason = reason

        def mark(record: Record) -> None:
            if record["PipelineExecutionStatus"] == "Executing":
                record["PipelineExecutionStatus"] = "Stopping"

        self._note(mark)
        self._stopping.set()

    def run(self) -> None:
        """Run the execution to its end; every change of state is in the store when it happens."""
        try:
            with ThreadPoolExecutor(_MAX_PARALLEL_STEPS, thread_name_prefix=f"pipeline-{self._id}") as pool:
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
        self._note(partial(_fail, reason=f"InternalServerError: {fault}"))

    def _run_graph(self, pool: ThreadPoolExecutor) -> None:
        running: dict[Future[Outcome], str] = {}
        while True:
            record = self._record()
            parallelism = record.get("ParallelismConfiguration") or {}
            limit = parallelism.get("MaxParallelExecutionSteps", _MAX_PARALLEL_STEPS)
            ready = () if self._stopping.is_set() else self._progress(record).ready
            started = time.time()
            for name in ready[: max(0, limit - len(running))]:
                step = self._definition.steps[name]
                self._begin_step(step, started)
                running[pool.submit(self._perform, step)] = name
            if not running:
                return self._conclude()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                self._end_step(running.pop(future), future.result())

    # The record.

    def _record(self) -> Record:
        return self._store.get(EXECUTIONS, self._arn)

    def _change(self, change: Callable[[Record], None]) -> None:
        """Record what the next step rests on; if the disk does not take it, the execution ends.

        Raises:
            NotRecorded: it did not.
        """
        self._store.update(EXECUTIONS, self._arn, partial(_stamped, change=change), PATIENCE_S)

    def _note(self, change: Callable[[Record], None]) -> None:
        """Record what is so in any case; if the disk does not take it, as soon as it does."""
        self._store.keep(EXECUTIONS, self._arn, partial(_stamped, change=change))

    def _note_step(self, name: str, **changes: Any) -> None:
        self._note(lambda record: record["_steps"][name].update(changes))

    def _begin_step(self, step: Step, started: float) -> None:
        entry = {
            "StepName": step.name,
            "StepDisplayName": step.display_name,
            "StepDescription": step.description,
            "StartTime": started,
            "StepStatus": "Starting",
            "AttemptCount": 0,
        }
        self._change(lambda record: record["_steps"].update({step.name: entry}))

    def _end_step(self, name: str, outcome: Outcome) -> None:
        reason = outcome.failure_reason
        end = {
            "StepStatus": outcome.status,
            "EndTime": time.time(),
            "FailureReason": reason and reason[:_MAX_STEP_REASON],
            "_properties": outcome.properties,
        }
        self._change(lambda record: record["_steps"][name].update(end))

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
        record = self._record()
        failed = {
            name: step.get("FailureReason") or step["StepStatus"]
            for name, step in record["_steps"].items()
            if step["StepStatus"] in ("Failed", "Stopped")
        }
        first = next((f" {name}: {reason}" for name, reason in failed.items()), "")
        reason = f"Step failure: One or multiple steps failed.{first}" if failed else None
        if self._stopping.is_set():
            broken = any(step["StepStatus"] == "Failed" for step in record["_steps"].values())
            self._end("Failed" if broken else "Stopped", reason if broken else self._stop_reason)
        elif self._progress(record).unhandled:
            self._end("Failed", reason)
        else:
            self._end("CompletedWithFailures" if failed else "Succeeded", reason)

    def _end(self, status: str, reason: str | None) -> None:
        self._change(
            lambda record: record.update(
                PipelineExecutionStatus=status, FailureReason=reason and reason[:_MAX_EXECUTION_REASON]
            )
        )

    # The values of expressions.

    def _evaluate(self, tree: Any, job_name: str = "") -> Any:
        return evaluate(tree, partial(self._get, job_name), self._read)

    def _get(self, job_name: str, reference: Reference) -> Any:
        record = self._record()
        if reference.root == "Parameters":
            return record["_parameters"][reference.name]
        if reference.root == "Execution":
            return self._execution_variable(reference.name, record, job_name)
        properties = record["_steps"].get(reference.name, {}).get("_properties", {})
        try:
            if reference.path[0] == "PropertyFiles":
                file = self._definition.steps[reference.name].property_files[str(reference.path[1])]
                folder = lookup(
                    properties, ("ProcessingOutputConfig", "Outputs", file.output, "S3Output", "S3Uri")
                )
                return f"{folder.rstrip('/')}/{file.path}"
            return lookup(properties, reference.path)
        except LookupError:
            raise ExpressionError(f"Get {reference.text}: the step has no such value") from None

    def _execution_variable(self, name: str, record: Record, job_name: str) -> str:
        variables: dict[str, str] = {
            "StartDateTime": iso_time(record["CreationTime"]),
            "CurrentDateTime": iso_time(time.time()),
            "PipelineName": record["_pipeline"],
            "PipelineArn": record["PipelineArn"],
            "PipelineExecutionId": self._id,
            "PipelineExecutionArn": self._arn,
            "TrainingJobName": job_name,
            "ProcessingJobName": job_name,
        }
        return variables[name]

    def _read(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            answer = self._client("s3").get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise ExpressionError(f"cannot read {uri}: {error.response['Error']['Message']}") from None
        body: bytes = answer["Body"].read(_MAX_PROPERTY_FILE_BYTES + 1)
        if len(body) > _MAX_PROPERTY_FILE_BYTES:
            raise ExpressionError(f"{uri} is larger than {_MAX_PROPERTY_FILE_BYTES} bytes")
        try:
            return str(body, "utf-8")
        except UnicodeDecodeError as error:
            raise ExpressionError(f"{uri} is not valid UTF-8: {error}") from None

    # The steps.

    def _perform(self, step: Step) -> Outcome:
        try:
            if step.type == "Condition":
                return self._perform_condition(step)
            if step.type == "Fail":
                return self._perform_fail(step)
            if step.type == "Lambda":
                return self._perform_lambda(step)
            return self._perform_action(step, ACTIONS[step.type])
        except (ExpressionError, BotoCoreError) as error:
            return Outcome("Failed", failure_reason=f"ClientError: {error}")

    def _perform_condition(self, step: Step) -> Outcome:
        # Every condition is looked at: a missing operand fails the step wherever it stands.
        verdicts = [holds(condition) for condition in self._evaluate(step.arguments["Conditions"])]
        outcome = str(all(verdicts))
        self._note_step(step.name, Metadata={"Condition": {"Outcome": outcome}})
        return Outcome("Succeeded", {"Outcome": outcome})

    def _perform_fail(self, step: Step) -> Outcome:
        message = as_text(self._evaluate(step.arguments["ErrorMessage"]))
        self._note_step(step.name, Metadata={"Fail": {"ErrorMessage": message}})
        return Outcome("Failed", failure_reason=message)

    def _perform_lambda(self, step: Step) -> Outcome:
        function = as_text(self._evaluate(step.function_arn))
        payload = self._evaluate(step.arguments)
        report = partial(self._note_step, step.name)
        return invoke_function(self._client("lambda"), function, payload, step.output_types, report)

    def _perform_action(self, step: Step, action: Action) -> Outcome:
        began = time.monotonic()
        report = partial(self._note_step, step.name)
        for attempt in itertools.count(1):
            name = self._job_name(step, action)
            arguments = self._evaluate(step.arguments, name)
            if attempt == 1 and step.cache is not None and action.cache_key:
                reused = self._reuse(step.name, step.cache, cache_key(arguments, action.cache_key))
                if reused is not None:
                    return reused
            outcome = create_resource(
                self._client("sagemaker"), action, name, arguments, report, self._stopping
            )
            delay = retry.delay_s(step.retries, outcome.exception_type, attempt, time.monotonic() - began)
            if delay is None or self._stopping.wait(delay):
                break
            report(AttemptCount=attempt)
        return outcome

    def _job_name(self, step: Step, action: Action) -> str:
        """A name like the service's, e.g. pipelines-d84ewltjmxhe-AbaloneTrain-3kyzvpyx11."""
        readable = step.name.replace("_", "-")
        if action.resource == "HyperParameterTuningJob":  # of at most 32 characters
            return f"{self._id}-{readable[:7]}-{alphanumeric(10)}"
        return f"pipelines-{self._id}-{readable[:20]}-{alphanumeric(10)}"

    def _reuse(self, name: str, config: CacheConfig, key: str) -> Outcome | None:
        """The newest earlier run of the step with the same key, if there is one within the window."""
        self._note_step(name, _cache_key=key)
        oldest = 0.0 if config.expire_after_s is None else time.time() - config.expire_after_s
        pipeline = self._record()["PipelineArn"]
        for record in self._store.list(EXECUTIONS):
            step = record["_steps"].get(name, {})
            matches = record["PipelineArn"] == pipeline and step.get("_cache_key") == key
            reused = step.get("CacheHitResult") or step.get("SelectiveExecutionResult")
            if matches and not reused and step["StepStatus"] == "Succeeded" and step["EndTime"] >= oldest:
                source = {"SourcePipelineExecutionArn": record["PipelineExecutionArn"]}
                self._note_step(name, CacheHitResult=source, Metadata=step["Metadata"])
                return Outcome("Succeeded", step["_properties"])
        return None


def _stamped(record: Record, change: Callable[[Record], None]) -> None:
    change(record)
    record["LastModifiedTime"] = time.time()


def _fail(record: Record, reason: str) -> None:
    for step in record["_steps"].values():
        if "EndTime" not in step:
            step.update(StepStatus="Failed", EndTime=time.time(), FailureReason=reason[:_MAX_STEP_REASON])
    record.update(PipelineExecutionStatus="Failed", FailureReason=reason[:_MAX_EXECUTION_REASON])
