"""What exists and what runs, from the answers of SageMaker's own operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrypoints.contract import VALIDATION_ACCURACY
from local.home import clock
from local.home.home import Home
from local.jobs import metrics, training
from local.wire.errors import ServiceError

# The answer to an operation's name and request; times are Unix seconds (ControlPlane.call).
Call = Callable[[str, dict[str, Any]], dict[str, Any]]
SHOWN = 20  # newest executions of a pipeline, and versions of a group
RUNNING = ("Executing", "Stopping")


@dataclass(frozen=True)
class Step:
    """A step of an execution; `told` is its job's progress, or why it failed."""

    name: str
    status: str
    seconds: float | None
    told: str


@dataclass(frozen=True)
class Execution:
    """An execution; it has its steps only while it runs, in the order in which they began."""

    id: str
    arn: str
    pipeline: str
    status: str
    began: float
    seconds: float
    reason: str
    report: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Version:
    """A version of a model package group, its test metrics, and which endpoints serve it."""

    group: str
    number: int
    approval: str
    began: float
    metrics: Mapping[str, str]
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class Endpoint:
    """An endpoint; `version` is "GROUP/NUMBER", None for a model that has no version."""

    name: str
    status: str
    reason: str
    version: str | None


@dataclass(frozen=True)
class Overview:
    """Everything that the page shows; `older` names pipelines and groups with more than the page shows."""

    endpoints: tuple[Endpoint, ...]
    executions: tuple[Execution, ...]
    versions: tuple[Version, ...]
    older: tuple[str, ...]

    @property
    def live(self) -> bool:
        """Whether any of it will change soon."""
        return any(execution.status in RUNNING for execution in self.executions) or any(
            endpoint.status not in ("InService", "Failed") for endpoint in self.endpoints
        )


def overview(home: Home, call: Call) -> Overview:
    """Ask for everything, newest first."""
    endpoints = tuple(_endpoints(call))
    older: list[str] = []
    executions = sorted(_executions(home, call, older), key=lambda execution: -execution.began)
    versions = sorted(_versions(call, endpoints, older), key=lambda version: -version.began)
    return Overview(endpoints, tuple(executions), tuple(versions), tuple(older))


def model_version(call: Call, endpoint: str) -> dict[str, Any] | None:
    """DescribeModelPackage's answer about what an endpoint serves; None for a model that has no version.

    Raises:
        ServiceError: there is no such endpoint.
    """
    described = call("DescribeEndpoint", {"EndpointName": endpoint})
    try:
        config = call("DescribeEndpointConfig", {"EndpointConfigName": described["EndpointConfigName"]})
        model = call("DescribeModel", {"ModelName": config["ProductionVariants"][0]["ModelName"]})
        containers = model.get("Containers") or [model["PrimaryContainer"]]
        if arn := containers[0].get("ModelPackageName"):
            return call("DescribeModelPackage", {"ModelPackageName": arn})
    except ServiceError:  # somebody has deleted one of them; the endpoint serves on, as on AWS
        return None
    return None


def report_file(home: Home, execution: str) -> Path:
    """Where run_local.py writes an execution's report."""
    return home.root / "reports" / f"{execution}.html"


def _endpoints(call: Call) -> Iterator[Endpoint]:
    for listed in _all(call, "ListEndpoints", "Endpoints"):
        name = listed["EndpointName"]
        try:
            described = call("DescribeEndpoint", {"EndpointName": name})
            package = model_version(call, name)
        except ServiceError:  # deleted since it was listed
            continue
        version = f"{package['ModelPackageGroupName']}/{package['ModelPackageVersion']}" if package else None
        yield Endpoint(name, described["EndpointStatus"], described.get("FailureReason", ""), version)


def _executions(home: Home, call: Call, older: list[str]) -> Iterator[Execution]:
    for pipeline in _all(call, "ListPipelines", "PipelineSummaries"):
        name = pipeline["PipelineName"]
        asked = {"PipelineName": name, "SortOrder": "Descending", "MaxResults": SHOWN}
        try:
            answer = call("ListPipelineExecutions", asked)
            if answer.get("NextToken"):
                older.append(name)
            for listed in answer["PipelineExecutionSummaries"]:
                yield _execution(home, call, name, listed["PipelineExecutionArn"])
        except ServiceError:  # deleted since it was listed
            continue


def _execution(home: Home, call: Call, pipeline: str, arn: str) -> Execution:
    described = call("DescribePipelineExecution", {"PipelineExecutionArn": arn})
    status, began = described["PipelineExecutionStatus"], described["CreationTime"]
    running = status in RUNNING
    steps = tuple(_steps(home, call, arn)) if running else ()
    ended = clock.now() if running else described["LastModifiedTime"]
    name = arn.rpartition("/")[2]
    return Execution(
        name, arn, pipeline, status, began, ended - began, described.get("FailureReason", ""),
        report_file(home, name).is_file(), steps,
    )  # fmt: skip


def _steps(home: Home, call: Call, arn: str) -> Iterator[Step]:
    request = {"PipelineExecutionArn": arn, "SortOrder": "Ascending"}
    for step in _all(call, "ListPipelineExecutionSteps", "PipelineExecutionSteps", request):
        began, ended = step.get("StartTime"), step.get("EndTime")
        seconds = None if began is None else (clock.now() if ended is None else ended) - began
        told = step.get("FailureReason") or "".join(_progress(home, call, step.get("Metadata", {})))
        yield Step(step["StepName"], step["StepStatus"], seconds, told)


def _progress(home: Home, call: Call, metadata: Mapping[str, Any]) -> Iterator[str]:
    """How far a step's job is, in words; nothing where the job does not report it."""
    if arn := metadata.get("TuningJob", {}).get("Arn"):
        name = arn.rpartition("/")[2]
        job = call("DescribeHyperParameterTuningJob", {"HyperParameterTuningJobName": name})
        counters = job["TrainingJobStatusCounters"]
        done = sum(counters[status] for status in ("Completed", "Stopped", "NonRetryableError"))
        limits = job["HyperParameterTuningJobConfig"]["ResourceLimits"]
        yield f"{done} of {limits['MaxNumberOfTrainingJobs']} trials have ended"
        if best := job.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric"):
            yield f"; best {best['MetricName']} so far {best['Value']:.4g}"
    elif arn := metadata.get("TrainingJob", {}).get("Arn"):
        job = call("DescribeTrainingJob", {"TrainingJobName": arn.rpartition("/")[2]})
        definitions = job["AlgorithmSpecification"].get("MetricDefinitions", [])
        values = metrics.logged(training.folder(home, job) / "log.txt", definitions)
        epochs = job.get("HyperParameters", {}).get("epochs", "").strip('"')
        if epochs.isdigit() and (done := len(values.get(VALIDATION_ACCURACY, []))):
            # The kept epoch has a second line, the last one.
            yield f"epoch {min(done, int(epochs))} of {epochs}"
        elif job["TrainingJobStatus"] == "InProgress":
            yield job["SecondaryStatus"]
        if latest := values.get(VALIDATION_ACCURACY):
            yield f"; {VALIDATION_ACCURACY} {latest[-1]:.4g}"


def _versions(call: Call, endpoints: tuple[Endpoint, ...], older: list[str]) -> Iterator[Version]:
    for group in _all(call, "ListModelPackageGroups", "ModelPackageGroupSummaryList"):
        name = group["ModelPackageGroupName"]
        asked = {"ModelPackageGroupName": name, "SortBy": "CreationTime", "SortOrder": "Descending"}
        answer = call("ListModelPackages", asked | {"MaxResults": SHOWN})
        if answer.get("NextToken"):
            older.append(name)
        for listed in answer["ModelPackageSummaryList"]:
            number = listed["ModelPackageVersion"]
            try:
                package = call("DescribeModelPackage", {"ModelPackageName": listed["ModelPackageArn"]})
            except ServiceError:  # deleted since it was listed
                continue
            serve = tuple(endpoint.name for endpoint in endpoints if endpoint.version == f"{name}/{number}")
            yield Version(
                name, number, package["ModelApprovalStatus"], package["CreationTime"],
                package.get("CustomerMetadataProperties", {}), serve,
            )  # fmt: skip


def _all(
    call: Call, operation: str, key: str, request: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Every page of a list."""
    asked = dict(request or {})
    while True:
        answer = call(operation, asked)
        yield from answer[key]
        if not (token := answer.get("NextToken")):
            return
        asked["NextToken"] = token
