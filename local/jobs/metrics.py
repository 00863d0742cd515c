"""A training job's metrics: found in its log, and sent to CloudWatch while it runs, as SageMaker does."""

from __future__ import annotations

import contextlib
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.home import clock
from local.processes.sidecar import sidecar
from local.wire import clients

# Namespace and dimension: sagemaker.core.analytics.TrainingJobAnalytics.
NAMESPACE = "/aws/sagemaker/TrainingJobs"
DIMENSION = "TrainingJobName"
_POLL_S = 0.5

Definitions = Sequence[Mapping[str, str]]


def found(lines: Iterable[str], definitions: Definitions) -> Iterator[tuple[str, float]]:
    """Every metric in the lines of a log, in order; a metric's regex has the number as group 1.

    Source: MetricDefinitions in the API reference; only finite numbers are emitted.
    """
    patterns = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
    for line in lines:
        for name, pattern in patterns:
            match = pattern.search(line)
            number = _number(match[1]) if match else math.nan
            if math.isfinite(number):
                yield name, number


def logged(log: Path, definitions: Definitions) -> dict[str, list[float]]:
    """Every value of every metric in a log, in order."""
    values: dict[str, list[float]] = {definition["Name"]: [] for definition in definitions}
    if log.exists():
        with log.open(encoding="utf-8", errors="replace") as lines:
            for name, value in found(lines, definitions):
                values[name].append(value)
    return values


@contextlib.contextmanager
def emitted(log: Path, record: Mapping[str, Any], service: Mapping[str, str]) -> Iterator[None]:
    """Send the metrics in a training job's log to CloudWatch, until the block ends.

    Sending ends if CloudWatch cannot be reached or refuses.

    Args:
        service: the environment that makes boto3 talk to this service.
    """
    definitions = record.get("AlgorithmSpecification", {}).get("MetricDefinitions", [])
    if not definitions or "AWS_ENDPOINT_URL" not in service:
        yield
        return
    job = record["TrainingJobName"]
    send = partial(_send, log, job, definitions, service)
    lost = f"some metrics of {job} are missing in CloudWatch"
    with sidecar("metrics", send, (BotoCoreError, ClientError), lost):
        yield


def _send(
    log: Path, job: str, definitions: Definitions, service: Mapping[str, str], ended: threading.Event
) -> None:
    dimensions = [{"Name": DIMENSION, "Value": job}]
    client, place = None, 0
    over = False
    while not over:
        over = ended.wait(_POLL_S)  # the log's last lines are read after the end
        lines, place = _lines(log, place)
        now = clock.now()
        data = [
            {"MetricName": name, "Dimensions": dimensions, "Timestamp": now, "Value": value}
            for name, value in found(lines, definitions)
        ]
        for start in range(0, len(data), 1000):  # API reference: the most in one request
            client = client or clients.client("cloudwatch", service)
            client.put_metric_data(Namespace=NAMESPACE, MetricData=data[start : start + 1000])


def _lines(log: Path, place: int) -> tuple[list[str], int]:
    """The complete lines of a log from an offset on, and the offset behind them."""
    if not log.exists():
        return [], place
    with log.open("rb") as file:
        file.seek(place)
        whole, newline, _ = file.read().rpartition(b"\n")
    return whole.decode("utf-8", "replace").splitlines(), place + len(whole) + len(newline)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
