"""The progress of running training jobs, read from their logs: the epoch, its metrics, the time left.

CloudWatch's metrics have one value a minute, which may mix epochs; in the log the numbers of one epoch are in
one line, with the epoch's number. Reading a log is free, while GetMetricData is billed by the metric
(aws.amazon.com/cloudwatch/pricing).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from entrypoints.contract import METRIC_REGEXES, TRAIN_LOSS, VALIDATION_ACCURACY
from entrypoints.verdict import percent
from scripts import aws_errors

if TYPE_CHECKING:
    import boto3

# Group and streams: developer guide, "Log groups and streams that Amazon SageMaker AI sends to CloudWatch
# Logs". With several instances, the first one prints the metrics (entrypoints/train.py).
GROUP = "/aws/sagemaker/TrainingJobs"
STREAM = "{job}/algo-1-"
_EPOCH = re.compile(r"\bepoch=(\d+)\b")
_LOSS, _ACCURACY = (re.compile(METRIC_REGEXES[name]) for name in (TRAIN_LOSS, VALIDATION_ACCURACY))


@dataclass(frozen=True)
class Progress:
    """A job's progress: its last complete epoch (from 1), of `epochs` (0: unknown), and its metrics.

    `seconds_left` is an estimate made when that epoch ended; None before the second one.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds_left: float | None

    @property
    def share(self) -> float:
        """How much of the job is done, 0..1."""
        return min(1.0, self.epoch / self.epochs) if self.epochs else 0.0

    def __str__(self) -> str:
        of = f" of {self.epochs}" if self.epochs else ""
        left = f", {about(self.seconds_left)} left" if self.seconds_left else ""
        measured = f"loss {self.loss:.4f}, validation accuracy {percent(self.accuracy)}"
        return f"epoch {self.epoch}{of}: {measured}{left}"


@dataclass
class _Log:
    """How far a job's log has been read."""

    epochs: int
    stream: str
    token: str | None = None
    first: tuple[int, int] | None = None  # an epoch, and when it ended, in Unix milliseconds
    progress: Progress | None = None

    def read(self, events: Sequence[Any]) -> None:
        for event in events:
            message = event["message"]
            epoch, loss, accuracy = (pattern.search(message) for pattern in (_EPOCH, _LOSS, _ACCURACY))
            if not (epoch and loss and accuracy):
                continue
            number, ended = int(epoch[1]), int(event["timestamp"])
            if self.progress and number <= self.progress.epoch:
                continue  # at the end, a training repeats the line of the epoch that it keeps
            left = None
            if self.first is None:
                self.first = number, ended
            elif number < self.epochs:
                each_s = (ended - self.first[1]) / 1000 / (number - self.first[0])
                left = each_s * (self.epochs - number)
            self.progress = Progress(number, self.epochs, float(loss[1]), float(accuracy[1]), left)


class LiveProgress:
    """The progress of running training jobs, read at most every `every_s` seconds."""

    def __init__(self, session: boto3.Session, every_s: float) -> None:
        self._session = session
        self._clients: dict[str, Any] = {}  # creating one takes 0.1 s
        self._every_s = every_s
        self._asked = -every_s
        self._logs: dict[str, _Log] = {}
        self._asked_about: set[str] = set()
        self._refused = False

    def of(self, jobs: Sequence[str]) -> dict[str, Progress]:
        """The progress of each job that has ended an epoch.

        Raises:
            ClientError: AWS refused, and not because a permission is missing.
        """
        due = time.monotonic() - self._asked >= self._every_s
        if jobs and not self._refused and (due or not set(jobs) <= self._asked_about):
            self._asked = time.monotonic()
            self._asked_about |= set(jobs)
            try:
                for job in jobs:
                    self._read(job)
            except ClientError as error:
                if not aws_errors.is_denied(error):
                    raise
                self._refused = True
                command.console.print(f"no live metrics: {aws_errors.explain(error)}", soft_wrap=True)
        logs = {job: self._logs[job] for job in jobs if job in self._logs}
        return {job: log.progress for job, log in logs.items() if log.progress}

    def _read(self, job: str) -> None:
        logs = self._client("logs")
        try:
            if job not in self._logs and not self._open(job):
                return
            log = self._logs[job]
            where = {"logGroupName": GROUP, "logStreamName": log.stream, "startFromHead": True}
            answer = logs.get_log_events(**where, **({"nextToken": log.token} if log.token else {}))
        except ClientError as error:
            if aws_errors.is_missing(error):  # a job that has just started has no log yet
                return
            raise
        log.read(answer["events"])
        log.token = answer["nextForwardToken"]

    def _open(self, job: str) -> bool:
        """Find a job's log; False where there is none yet."""
        answer = self._client("sagemaker").describe_training_job(TrainingJobName=job)
        # A step names its job by its ARN, in lower case (recorded); the log is called by the job's own name.
        found = self._client("logs").describe_log_streams(
            logGroupName=GROUP, logStreamNamePrefix=STREAM.format(job=answer["TrainingJobName"])
        )["logStreams"]
        if not found:
            return False
        given = answer.get("HyperParameters", {})
        epochs = given.get("epochs", "").strip('"')
        self._logs[job] = _Log(int(epochs) if epochs.isdecimal() else 0, found[-1]["logStreamName"])
        return True

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            client: Any = self._session.client
            self._clients[service] = client(service)
        return self._clients[service]


def about(seconds: float) -> str:
    """An estimated duration: about 20 s, about 3 min, about 1 h 10 min."""
    if seconds < 55:
        return f"about {max(1, -(-int(seconds) // 10)) * 10} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"
