"""What an execution used: for each of its jobs the instances, and the seconds that AWS bills.

A cached step, and one taken from an earlier execution, used nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from scripts.aws_errors import explain, is_denied, is_missing
from scripts.prices import Use

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

# The service names jobs pipelines-<execution id>-<step, up to 20 letters>-<10 letters and digits>, and tuning
# jobs, whose names are shorter, <execution id>-<7 letters of the step>-<10> (recorded in public notebooks).
_JOB = re.compile(r"(?:pipelines-)?[a-z0-9]+-(.+)-[a-z0-9]{10}")
_ENDED = {"Completed", "Failed", "Stopped"}


@dataclass(frozen=True)
class Usage:
    """A job: on how many instances of which type it ran, and how long, in seconds for each instance."""

    step: str
    job: str
    use: Use
    instance_type: str
    instances: int
    billable_s: float
    ran_s: float  # more than billable_s where spot instances saved something
    running: bool = False
    retried: bool = False  # an earlier attempt of its step

    @property
    def billable_h(self) -> float:
        """Billable hours of all instances together."""
        return self.instances * self.billable_s / 3600

    @property
    def saved_h(self) -> float:
        """Hours of all instances together that spot instances saved."""
        return self.instances * (self.ran_s - self.billable_s) / 3600


@dataclass
class Used:
    """Everything that an execution used, in the order of its steps, and what is not known of it."""

    usages: list[Usage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)  # of the steps' processing jobs: ExitMessage


@dataclass(frozen=True)
class _Kind:
    """How the API calls a kind of job."""

    key: str
    describe: str
    list: str
    summaries: str


_PROCESSING = _Kind(
    "ProcessingJob", "describe_processing_job", "list_processing_jobs", "ProcessingJobSummaries"
)
_TRAINING = _Kind("TrainingJob", "describe_training_job", "list_training_jobs", "TrainingJobSummaries")
_TUNING = _Kind(
    "HyperParameterTuningJob",
    "describe_hyper_parameter_tuning_job",
    "list_hyper_parameter_tuning_jobs",
    "HyperParameterTuningJobSummaries",
)
_OF_METADATA = {"ProcessingJob": _PROCESSING, "TrainingJob": _TRAINING, "TuningJob": _TUNING}


def of_execution(
    sagemaker: SageMakerClient,
    execution: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    attempts: bool = True,
) -> Used:
    """What the jobs of an execution used, up to now.

    Args:
        execution: DescribePipelineExecution's answer, or a summary of ListPipelineExecutions.
        steps: its steps, as ListPipelineExecutionSteps answers them.
        attempts: also look for the jobs of steps' earlier attempts, which no step names; three lists more.

    Raises:
        ClientError: AWS refused.
    """
    reader = _Reader(sagemaker)
    seen: set[str] = set()
    for step in steps:
        name = step["StepName"]
        jobs = {
            _OF_METADATA[key]: str(metadata["Arn"]).rpartition("/")[2]
            for key, metadata in step.get("Metadata", {}).items()
            if key in _OF_METADATA
        }
        if jobs and (reused := _reused(step)):
            reader.used.notes.append(f"{name} was {reused} and used nothing")
            if _PROCESSING in jobs:
                reader.read(_PROCESSING, name, jobs[_PROCESSING], counts=False)
            continue
        for kind, job in jobs.items():
            seen.add(job.lower())
            reader.read(kind, name, job)
    if attempts:
        names = [str(step["StepName"]) for step in steps]
        try:
            for kind, job in _earlier(sagemaker, execution, seen):
                reader.read(kind, _step_of(job, names), job, retried=True)
        except ClientError as error:
            if not is_denied(error):
                raise
            reader.used.notes.append(f"jobs of earlier attempts may be missing: {explain(error)}")
    return reader.used


def _reused(step: Mapping[str, Any]) -> str:
    if "CacheHitResult" in step:
        return "taken from the cache"
    return "taken from an earlier execution" if "SelectiveExecutionResult" in step else ""


def _earlier(sagemaker: Any, execution: Mapping[str, Any], seen: set[str]) -> Iterator[tuple[_Kind, str]]:
    """The jobs with the execution's id in their names that no step names, without tuning jobs' trials."""
    own = str(execution["PipelineExecutionArn"]).rpartition("/")[2]
    began = execution.get("CreationTime") or execution["StartTime"]
    for kind in (_PROCESSING, _TUNING, _TRAINING):
        pages = sagemaker.get_paginator(kind.list).paginate(NameContains=own, CreationTimeAfter=began)
        jobs = [summary[f"{kind.key}Name"] for page in pages for summary in page[kind.summaries]]
        # The ARN, from which a step's job is known, has its name in lower case (recorded).
        for job in sorted(job for job in set(jobs) if job.lower() not in seen):
            # A trial is called <tuning job>-<number>-<random>; its tuning job counts it.
            if kind is not _TRAINING or job.startswith("pipelines-"):
                yield kind, job


def _step_of(job: str, steps: Sequence[str]) -> str:
    """The step whose earlier attempt a job was, by its name."""
    found = _JOB.fullmatch(job)
    part = found[1] if found else job
    return next((step for step in steps if step.replace("_", "-").lower().startswith(part.lower())), part)


class _Reader:
    """Reads jobs into `used`."""

    def __init__(self, sagemaker: Any) -> None:
        self._sagemaker = sagemaker
        self.used = Used()

    def read(self, kind: _Kind, step: str, job: str, *, retried: bool = False, counts: bool = True) -> None:
        """Read a job; one that does not count only says its last word."""
        try:
            answer = getattr(self._sagemaker, kind.describe)(**{f"{kind.key}Name": job})
            if kind is _TUNING:
                self.used.usages += self._trials(step, answer, retried)
            elif kind is _TRAINING and retried and "TuningJobArn" in answer:
                pass  # a trial, which its tuning job counts
            elif kind is _TRAINING:
                self.used.usages += _training(step, answer, retried)
                self.used.notes += _rules(step, answer)
            else:
                if not retried and "ExitMessage" in answer:
                    self.used.messages[step] = answer["ExitMessage"]
                if counts:
                    self.used.usages += _processing(step, answer, retried)
        except ClientError as error:
            if not is_missing(error):
                raise
            if counts:
                self.used.notes.append(f"{step}: the job {job} has been deleted; what it used is unknown")

    def _trials(self, step: str, tuning: Mapping[str, Any], retried: bool) -> Iterator[Usage]:
        """A usage for each trial. Their list says how long each ran; how much of it is billed for spot
        instances, and what several definitions asked for, only their own records say.
        """
        definitions = tuning.get("TrainingJobDefinitions") or [tuning["TrainingJobDefinition"]]
        resources = definitions[0].get("ResourceConfig")
        alike = len(definitions) == 1 and resources and "InstanceType" in resources
        spot = any(definition.get("EnableManagedSpotTraining") for definition in definitions)
        pages = self._sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=tuning["HyperParameterTuningJobName"],
            SortBy="CreationTime",
            SortOrder="Ascending",
        )
        for page in pages:
            for trial in page["TrainingJobSummaries"]:
                if alike and not spot:
                    yield from _training(step, {**trial, "ResourceConfig": resources}, retried)
                else:
                    name = trial["TrainingJobName"]
                    answer = self._sagemaker.describe_training_job(TrainingJobName=name)
                    yield from _training(step, answer, retried)


def _training(step: str, job: Mapping[str, Any], retried: bool) -> Iterator[Usage]:
    """A training job's usage, one for each of its instance groups.

    BillableTimeInSeconds is for each instance, and so is TrainingTimeInSeconds. Without them: "You are billed
    for the time interval between" TrainingStartTime and TrainingEndTime (API reference, DescribeTrainingJob).
    """
    resources = job["ResourceConfig"]
    running = job["TrainingJobStatus"] not in _ENDED
    between = _between(job, "Training", running)
    billable = float(job.get("BillableTimeInSeconds", between))
    # Before it ends, a spot job does not say what it saves.
    ran = max(billable, float(job.get("TrainingTimeInSeconds", between)))
    for group in resources.get("InstanceGroups") or [resources]:
        yield Usage(
            step, job["TrainingJobName"], "training", group["InstanceType"], group["InstanceCount"],
            billable, ran, running, retried,
        )  # fmt: skip


def _rules(step: str, job: Mapping[str, Any]) -> Iterator[str]:
    """A note about Debugger's rules beside a training.

    Built-in ones run "at no additional cost" (developer guide, "Use built-in profiler rules managed by Amazon
    SageMaker Debugger"); a bill has $0.0 for "SageMaker Debugger Built-in Rule Instance"
    (aws-samples/sagemaker-ssh-helper, Sample_Costs.md). Only custom rules name an instance type.
    """
    rules = [*job.get("DebugRuleConfigurations", []), *job.get("ProfilerRuleConfigurations", [])]
    own = [rule["RuleConfigurationName"] for rule in rules if "InstanceType" in rule]
    if len(rules) > len(own):
        yield f"{step}: AWS runs Debugger's built-in rules at no charge"
    if own:
        yield f"{step}: the custom rules {', '.join(own)} are billed, too; they are not counted here"


def _processing(step: str, job: Mapping[str, Any], retried: bool) -> Iterator[Usage]:
    cluster = job["ProcessingResources"]["ClusterConfig"]
    running = job["ProcessingJobStatus"] not in _ENDED
    between = _between(job, "Processing", running)
    yield Usage(
        step, job["ProcessingJobName"], "processing", cluster["InstanceType"], cluster["InstanceCount"],
        between, between, running, retried,
    )  # fmt: skip


def _between(job: Mapping[str, Any], period: str, running: bool) -> float:
    """Seconds from a job's start, on its instances, to its end or now; 0 for one that never got there."""
    began = job.get(f"{period}StartTime")
    ended = job.get(f"{period}EndTime") or (datetime.now(UTC) if running else None)
    return max(0.0, (ended - began).total_seconds()) if began and ended else 0.0
