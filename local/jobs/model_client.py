"""How a transform job talks to its model's server: settings, timeouts and retries."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any

from local.endpoints.model_server import ModelServer, Unanswered
from local.home.store import Record
from local.jobs.jobs import JobError
from local.jobs.records import Refused

# API reference: ModelClientConfig, MaxConcurrentTransforms, MaxPayloadInMB. The strategy is that of AWS's
# logs (github.com/aws/amazon-sagemaker-examples/issues/1620).
DEFAULT_TIMEOUT_S = 600
DEFAULT_RETRIES = 3
DEFAULTS = {"MaxConcurrentTransforms": 1, "MaxPayloadInMB": 6, "BatchStrategy": "MULTI_RECORD"}
MOST_MB = 100  # of MaxPayloadInMB, and of MaxConcurrentTransforms times that
# The names in a request, and in containers and logs.
STRATEGIES = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}
# Assumed, not published: how long it waits before a retry, and that it retries everything but a 4xx.
RETRY_INTERVAL_S = 1.0
# How long to wait, after a broken connection, for the exit of the process that broke it.
EXIT_GRACE_S = 0.5
MESSAGE_CHARACTERS = 2000


class ModelClient:
    """The requests of a transform job to its model's server, until `stopping` is set."""

    def __init__(self, job: Record, server: ModelServer, stopping: threading.Event) -> None:
        self._job = job
        self._server = server
        self._stopping = stopping
        headers = {
            "content-type": job["TransformInput"].get("ContentType"),
            "accept": job["TransformOutput"].get("Accept"),
        }
        self._headers = {name: value for name, value in headers.items() if value}

    @property
    def ended(self) -> bool:
        """Whether the server has ended, or the job is stopping."""
        return self._stopping.is_set() or self._server.exit_status is not None

    def settings(self) -> dict[str, Any]:
        """The job's settings, or else the model's, or else the defaults (developer guide, "Use
        Your Own Inference Code with Batch Transform").

        Raises:
            JobError: the model's settings cannot be read, or are too large.
        """
        given = {name: self._job[name] for name in DEFAULTS if self._job.get(name)}
        if "BatchStrategy" in given:
            given["BatchStrategy"] = STRATEGIES[given["BatchStrategy"]]
        wanted: dict[str, Any] = {}
        with contextlib.suppress(Unanswered):
            status, _, body = self._server.execution_parameters()
            if status == 200:
                wanted = _parameters(body)
        settings: dict[str, Any] = DEFAULTS | wanted | given
        at_once, largest_mb = settings["MaxConcurrentTransforms"], settings["MaxPayloadInMB"]
        if at_once * largest_mb > MOST_MB:
            raise JobError(
                f"AlgorithmError: with what the model asks for, MaxConcurrentTransforms * MaxPayloadInMB is"
                f" {at_once} * {largest_mb}; it cannot exceed {MOST_MB} MB; set both in the job"
            )
        return settings

    def answer(self, payload: bytes) -> bytes:
        """The model's answer.

        Raises:
            Refused: the model refuses the payload, or does not answer after all retries.
        """
        config = self._job.get("ModelClientConfig", {})
        timeout_s = config.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_S)
        retries = config.get("InvocationsMaxRetries", DEFAULT_RETRIES)
        for attempt in range(retries + 1):
            if attempt:
                self._stopping.wait(RETRY_INTERVAL_S)
            # The headlines are AWS's: aws/sagemaker-python-sdk#1951, aws/amazon-sagemaker-examples#1620,
            # aws/sagemaker-tensorflow-serving-container#93.
            try:
                status, _, answer = self._server.invoke(payload, self._headers, timeout_s)
            except Unanswered as error:
                self._server.wait(EXIT_GRACE_S)
                failure = Refused("AlgorithmError", "Unable to get response from algorithm", str(error))
            else:
                if 200 <= status < 300:
                    return answer
                message = answer[:MESSAGE_CHARACTERS].decode("utf-8", "replace")
                if 400 <= status < 500:
                    raise Refused("ClientError", f"ClientError: {status}", message)
                headline = f"Bad HTTP status received from algorithm: {status}"
                failure = Refused("AlgorithmError", headline, message)
            if self.ended:
                break
        raise failure


def _parameters(body: bytes) -> dict[str, Any]:
    """The settings that a model asks for.

    Raises:
        JobError: it answered something else.
    """
    try:
        wanted = {name: value for name, value in json.loads(body).items() if name in DEFAULTS}
        sizes = [value for name, value in wanted.items() if name != "BatchStrategy"]
        right = all(type(size) is int and size > 0 for size in sizes)
        right = right and wanted.get("BatchStrategy", "MULTI_RECORD") in STRATEGIES.values()
    except (ValueError, AttributeError):
        right = False
    if not right:
        raise JobError(
            "AlgorithmError: the model's answer to GET /execution-parameters is not understood:"
            f" {body[:200].decode('utf-8', 'replace')}"
        )
    return wanted
