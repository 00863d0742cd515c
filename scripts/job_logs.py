"""The logs of steps in CloudWatch Logs: which they are, their last lines, new lines, links to the console."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from scripts.aws_errors import is_missing

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

# Developer guide, "Log groups and streams that Amazon SageMaker AI sends to CloudWatch Logs".
# A job's streams are called JOB/algo-1-TIME; of a trial the same.
PROCESSING, TRAINING = "/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs"
_FUNCTIONS = "/aws/lambda/"
_LATE_S = 5
_CONSOLES = {"aws-cn": "console.amazonaws.cn", "aws-us-gov": "console.amazonaws-us-gov.com"}
# The local service names the file at the end of a failure's reason (local/jobs/reasons.py).
_FILE = re.compile(r"\(log: (.+)\)")


@dataclass(frozen=True)
class Source:
    """Streams of a group: those of a job, or what a function wrote while its step ran.

    `label` tells several jobs of a step apart; `reason` is the job's FailureReason, "" if it did not fail.
    """

    group: str
    prefix: str = ""
    label: str = ""
    reason: str = ""
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def file(self) -> str:
        """The log's file on this machine, where the local service named it; else ""."""
        found = _FILE.search(self.reason)
        return found[1] if found else ""


@dataclass(frozen=True)
class Place:
    """A stream, and how far it has been read."""

    group: str
    stream: str
    label: str
    token: str | None = None


def sources(sagemaker: SageMakerClient, step: Mapping[str, Any], failed: bool = False) -> list[Source]:
    """Where the log of a step is: a source for each of its jobs; none for a step without a program.

    Args:
        step: as ListPipelineExecutionSteps answers it.
        failed: of a tuning job only its first trial that failed.

    Raises:
        ClientError: AWS refused, or the job has been deleted.
    """
    metadata = step.get("Metadata", {})
    # Jobs are asked for their names: in the ARNs of steps these are in lower case (recorded).
    if "ProcessingJob" in metadata:
        job: Any = sagemaker.describe_processing_job(ProcessingJobName=_name(metadata["ProcessingJob"]))
        return [Source(PROCESSING, f"{job['ProcessingJobName']}/", "", job.get("FailureReason", ""))]
    if "TrainingJob" in metadata:
        job = sagemaker.describe_training_job(TrainingJobName=_name(metadata["TrainingJob"]))
        return [Source(TRAINING, f"{job['TrainingJobName']}/", "", job.get("FailureReason", ""))]
    if "TuningJob" in metadata:
        return list(_trials(sagemaker, _name(metadata["TuningJob"]), failed))
    if "Lambda" in metadata:
        function = str(metadata["Lambda"]["Arn"]).partition(":function:")[2].partition(":")[0]
        return [Source(f"{_FUNCTIONS}{function}", began=step.get("StartTime"), ended=step.get("EndTime"))]
    return []


def _name(metadata: Mapping[str, Any]) -> str:
    return str(metadata["Arn"]).rpartition("/")[2]


def _trials(sagemaker: Any, tuning: str, failed: bool) -> Iterator[Source]:
    only = {"StatusEquals": "Failed"} if failed else {}
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=tuning, SortBy="CreationTime", SortOrder="Ascending", **only
    )
    for page in pages:
        for trial in page["TrainingJobSummaries"]:
            name = trial["TrainingJobName"]
            # SageMaker names a trial <tuning job>-<number>-<random>.
            yield Source(TRAINING, f"{name}/", f"trial {name.split('-')[-2]}", trial.get("FailureReason", ""))
            if failed:
                return


def streams(logs: Any, source: Source) -> list[Place]:
    """The streams of a source that exist by now; several hosts of one job are told apart by their labels.

    A function's are those with events in its time: their names do not tell.

    Raises:
        ClientError: AWS refused.
    """
    try:
        if source.prefix:
            pages = logs.get_paginator("describe_log_streams").paginate(
                logGroupName=source.group, logStreamNamePrefix=source.prefix
            )
            names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        else:
            names = list(dict.fromkeys(event["logStreamName"] for event in _of_function(logs, source)))
    except ClientError as error:
        if is_missing(error):  # nothing has written into the group yet
            return []
        raise
    hosts = {name: name.rpartition("/")[2].rpartition("-")[0] for name in names} if source.prefix else {}
    several = len(set(hosts.values())) > 1
    return [
        Place(source.group, name, " ".join(filter(None, [source.label, hosts[name] if several else ""])))
        if source.prefix
        else Place(source.group, name, source.label)
        for name in names
    ]


def _of_function(logs: Any, source: Source) -> Iterator[Mapping[str, Any]]:
    """A function's events while its step ran; nearly: another execution may have called it, too."""
    between = {}
    if source.began:
        between["startTime"] = int(source.began.timestamp() * 1000)
    if source.ended:  # Lambda's own last lines come after the function's answer
        between["endTime"] = int((source.ended.timestamp() + _LATE_S) * 1000)
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=source.group, **between)
    for page in pages:
        yield from page["events"]


def tail(logs: Any, source: Source, lines: int) -> list[str]:
    """The last lines of a source, each with its label.

    Raises:
        ClientError: AWS refused.
    """
    if not source.prefix:
        try:
            return [_line("", event) for event in _of_function(logs, source)][-lines:]
        except ClientError as error:
            if is_missing(error):
                return []
            raise
    found: list[str] = []
    for place in streams(logs, source):
        answer = logs.get_log_events(
            logGroupName=place.group, logStreamName=place.stream, startFromHead=False, limit=lines
        )
        found += [_line(place.label, event) for event in answer["events"]]
    return found


def read(logs: Any, place: Place) -> tuple[list[str], Place]:
    """The next lines of a stream, and where the reading stands then; no line: it is read to its end for now.

    Raises:
        ClientError: AWS refused.
    """
    answer = logs.get_log_events(
        logGroupName=place.group,
        logStreamName=place.stream,
        startFromHead=True,
        **({"nextToken": place.token} if place.token else {}),
    )
    lines = [_line(place.label, event) for event in answer["events"]]
    return lines, Place(place.group, place.stream, place.label, answer["nextForwardToken"])


def is_read(before: Place, after: Place) -> bool:
    """Whether a stream has nothing more: "if you have reached the end of the stream, it returns the same
    token you passed in" (API reference, GetLogEvents). A page without events alone does not say so.
    """
    return before.token == after.token


def links(region: str, partition: str, places: Sequence[Place]) -> list[str]:
    """The CloudWatch console's page of each stream.

    The console percent-encodes names twice and writes $ for % (stackoverflow.com/a/66572093, as the packages
    aws-cloudwatch-logs-url for Python and cloudwatch_logs_url for Rust do; AWS publishes no rule).
    """
    console = _CONSOLES.get(partition, "console.aws.amazon.com")
    return [
        f"https://{region}.{console}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/"
        f"{_encoded(place.group)}/log-events/{_encoded(place.stream)}"
        for place in places
    ]


def _encoded(name: str) -> str:
    return quote(quote(name, safe=""), safe="").replace("%", "$")


def _line(label: str, event: Mapping[str, Any]) -> str:
    text = str(event["message"]).rstrip("\r\n")
    return f"{label}: {text}" if label else text
