"""Carries out the steps of one execution, each by the calls that its type makes."""

from __future__ import annotations

import itertools
import secrets
import string
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError

from local.definition import retry
from local.definition.cache import CacheConfig, cache_key
from local.definition.conditions import holds
from local.definition.definition import Step
from local.definition.expressions import ExpressionError, as_text
from local.definition.step_types import STEP_TYPES, StepType
from local.pipelines.calls import Outcome, create_resource, invoke_function
from local.pipelines.record import EXECUTIONS, ExecutionRecord
from local.pipelines.values import Values

_ALPHANUMERIC = string.ascii_lowercase + string.digits


def alphanumeric(length: int) -> str:
    """A random string of lower-case letters and digits, as the service's names end in."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


class Steps:
    """The steps of an execution; `stopping` is set when its running jobs are to stop."""

    def __init__(
        self,
        record: ExecutionRecord,
        values: Values,
        client: Callable[[str], Any],
        stopping: threading.Event,
    ) -> None:
        self._record = record
        self._values = values
        self._client = client
        self._stopping = stopping
        self._execution_id = record.arn.rpartition("/")[2]
        # By which the SDK finds the execution that a job is of (sagemaker.core.lineage.context).
        self._tag = {"Key": "sagemaker:pipeline-execution-arn", "Value": record.arn}

    def perform(self, step: Step) -> Outcome:
        """Carry a step out, to its end."""
        own = {"Condition": self._choose, "Fail": self._fail, "Lambda": self._invoke}
        try:
            if step.type in own:
                return own[step.type](step)
            return self._create(step, STEP_TYPES[step.type])
        except (ExpressionError, BotoCoreError) as error:
            return Outcome("Failed", failure_reason=f"ClientError: {error}")

    def _choose(self, step: Step) -> Outcome:
        # Every condition is looked at: a missing operand fails the step wherever it stands.
        verdicts = [holds(condition) for condition in self._values.evaluate(step.arguments["Conditions"])]
        outcome = str(all(verdicts))
        self._record.note_step(step.name, Metadata={"Condition": {"Outcome": outcome}})
        return Outcome("Succeeded", {"Outcome": outcome})

    def _fail(self, step: Step) -> Outcome:
        message = as_text(self._values.evaluate(step.arguments["ErrorMessage"]))
        self._record.note_step(step.name, Metadata={"Fail": {"ErrorMessage": message}})
        return Outcome("Failed", failure_reason=message)

    def _invoke(self, step: Step) -> Outcome:
        function = as_text(self._values.evaluate(step.function_arn))
        payload = self._values.evaluate(step.arguments)
        report = partial(self._record.note_step, step.name)
        return invoke_function(self._client("lambda"), function, payload, step.output_types, report)

    def _create(self, step: Step, kind: StepType) -> Outcome:
        began = time.monotonic()
        report = partial(self._record.note_step, step.name)
        for attempt in itertools.count(1):
            name = self._job_name(step, kind)
            arguments = self._values.evaluate(step.arguments, name)
            if kind.name_characters:
                arguments = {**arguments, "Tags": [*arguments.get("Tags", []), self._tag]}
            if attempt == 1 and step.cache is not None and kind.cache_key:
                reused = self._reuse(step.name, step.cache, cache_key(arguments, kind.cache_key))
                if reused is not None:
                    return reused
            outcome = create_resource(
                self._client("sagemaker"), kind, name, arguments, report, self._stopping
            )
            delay = retry.delay_s(step.retries, outcome.exception_type, attempt, time.monotonic() - began)
            if delay is None or self._stopping.wait(delay):
                break
            report(AttemptCount=attempt)
        return outcome

    def _job_name(self, step: Step, kind: StepType) -> str:
        """A name like the service's, e.g. pipelines-d84ewltjmxhe-AbaloneTrain-3kyzvpyx11."""
        readable, end = step.name.replace("_", "-"), alphanumeric(10)
        name = f"pipelines-{self._execution_id}-{readable[:20]}-{end}"
        return name if len(name) <= kind.name_characters else f"{self._execution_id}-{readable[:7]}-{end}"

    def _reuse(self, name: str, config: CacheConfig, key: str) -> Outcome | None:
        """The newest earlier run of the step with the same key, if there is one within the window."""
        self._record.note_step(name, _cache_key=key)
        oldest = 0.0 if config.expire_after_s is None else time.time() - config.expire_after_s
        pipeline = self._record.read()["PipelineArn"]
        for record in self._record.store.list(EXECUTIONS):
            step = record["_steps"].get(name, {})
            matches = record["PipelineArn"] == pipeline and step.get("_cache_key") == key
            reused = step.get("CacheHitResult") or step.get("SelectiveExecutionResult")
            if matches and not reused and step["StepStatus"] == "Succeeded" and step["EndTime"] >= oldest:
                source = {"SourcePipelineExecutionArn": record["PipelineExecutionArn"]}
                self._record.note_step(name, CacheHitResult=source, Metadata=step["Metadata"])
                return Outcome("Succeeded", step["_properties"])
        return None
