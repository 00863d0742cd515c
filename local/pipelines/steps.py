"""Runs the steps of one execution, each by its type's calls."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError

from local.definition import retry
from local.definition.cache import CacheConfig, cache_key
from local.definition.conditions import holds
from local.definition.definition import Step
from local.definition.expressions import ExpressionError, as_text
from local.definition.step_types import STEP_TYPES, StepType
from local.pipelines.calls import Outcome, Signals, create_resource, invoke_function
from local.pipelines.record import EXECUTIONS, ExecutionRecord
from local.pipelines.values import Values

_ALPHANUMERIC = string.ascii_lowercase + string.digits
_TOKEN_CHARACTERS = 36  # of a ClientToken, at most (API reference, CreateModelPackage)


def alphanumeric(length: int) -> str:
    """A random string of lower-case letters and digits, like the ends of the service's names."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


class Steps:
    """The steps of an execution; `signals` says when its running jobs should stop."""

    def __init__(
        self,
        record: ExecutionRecord,
        values: Values,
        client: Callable[[str], Any],
        signals: Signals,
    ) -> None:
        self._record = record
        self._values = values
        self._client = client
        self._signals = signals
        self._execution_id = record.arn.rpartition("/")[2]
        # The SDK finds a job's execution by it (sagemaker.core.lineage.context).
        self._tag = {"Key": "sagemaker:pipeline-execution-arn", "Value": record.arn}

    def perform(self, step: Step) -> Outcome:
        """Run a step to its end, or continue one that an earlier service began.

        A job that has ended meanwhile is read; one that ended with that service runs again. A condition is
        evaluated again, a function invoked again.

        Raises:
            Suspended: the service ends.
        """
        own = {"Condition": self._choose, "Fail": self._fail, "Lambda": self._invoke}
        try:
            if step.type in own:
                return own[step.type](step)
            return self._create(step, STEP_TYPES[step.type])
        except (ExpressionError, BotoCoreError) as error:
            return Outcome("Failed", failure_reason=f"ClientError: {error}")

    def _choose(self, step: Step) -> Outcome:
        # Every condition is evaluated: a missing operand fails the step wherever it occurs.
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
        so_far = self._record.step(step.name)
        used_s = so_far.get("_used_s", 0.0)
        attempts, failures = so_far["AttemptCount"], so_far.get("_failures", 0)
        name = so_far.get("_job")
        again = name is not None
        while True:
            if name is None:
                # Before the request: a service that continues this step must find it.
                name = self._job_name(step, kind)
                self._record.change_step(step.name, _job=name)
            arguments = self._values.evaluate(step.arguments, name)
            if kind.name_characters:
                arguments = {**arguments, "Tags": [*arguments.get("Tags", []), self._tag]}
            if not (again or attempts) and step.cache is not None and kind.cache_key:
                reused = self._reuse(step.name, step.cache, cache_key(arguments, kind.cache_key))
                if reused is not None:
                    return reused
            outcome = create_resource(
                self._client("sagemaker"), kind, name, arguments, report, self._signals, again=again
            )
            if outcome.interrupted:
                if self._signals.stopping:
                    return replace(outcome, status="Stopped")
            else:
                failures += 1
                elapsed_s = used_s + time.monotonic() - began
                delay = retry.delay_s(step.retries, outcome.exception_type, failures, elapsed_s)
                if delay is None or self._signals.wait(delay):
                    return outcome
            name, again, attempts = None, False, attempts + 1
            self._record.change_step(step.name, _job=None, AttemptCount=attempts, _failures=failures)

    def _job_name(self, step: Step, kind: StepType) -> str:
        """A name like the service's, e.g. pipelines-d84ewltjmxhe-AbaloneTrain-3kyzvpyx11, or a token."""
        if not kind.name_characters:
            return alphanumeric(_TOKEN_CHARACTERS)
        readable, end = step.name.replace("_", "-"), alphanumeric(10)
        name = f"pipelines-{self._execution_id}-{readable[:20]}-{end}"
        return name if len(name) <= kind.name_characters else f"{self._execution_id}-{readable[:7]}-{end}"

    def _reuse(self, name: str, config: CacheConfig, key: str) -> Outcome | None:
        """The newest earlier run of the step with the same key, if there is one within the window."""
        self._record.note_step(name, _cache_key=key)
        oldest = 0.0 if config.expire_after_s is None else time.time() - config.expire_after_s
        pipeline = self._record.read()["PipelineArn"]
        for record in self._record.store.list(EXECUTIONS, parent=pipeline, holding=key):
            step = record["_steps"].get(name, {})
            matches = step.get("_cache_key") == key
            reused = step.get("CacheHitResult") or step.get("SelectiveExecutionResult")
            if matches and not reused and step["StepStatus"] == "Succeeded" and step["EndTime"] >= oldest:
                source = {"SourcePipelineExecutionArn": record["PipelineExecutionArn"]}
                self._record.note_step(name, CacheHitResult=source, Metadata=step["Metadata"])
                return Outcome("Succeeded", step["_properties"])
        return None
