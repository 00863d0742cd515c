"""Read the parts of a report from AWS's APIs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from scripts import aws_errors
from scripts.execution import ENDED, Execution, deployment, seconds
from scripts.reporting import evaluation, splits, training
from scripts.reporting.parts import (
    Card,
    Endpoint,
    Missing,
    ModelPackage,
    Report,
    Run,
    Step,
    Trial,
    Tuning,
    Verification,
)
from scripts.reporting.store import Store, Unavailable, part

if TYPE_CHECKING:
    import boto3

# Kinds of step metadata whose results stay valid in a later execution.
_JOBS = {"ProcessingJob", "TrainingJob", "TuningJob"}
THIS_MACHINE = {"127.0.0.1", "localhost", "::1"}  # of a local service


def collect(session: boto3.Session, arn: str) -> Report:
    """Everything that a report shows of an execution, in any state.

    Raises:
        ClientError: there is no such execution, or AWS refused.
    """
    sagemaker = session.client("sagemaker")
    records = Records(sagemaker, arn)
    store = Store(session.client("s3"))
    split = part(lambda: records.outputs("SplitDataset"))
    return Report(
        run=records.run(),
        package=part(records.package),
        data=part(lambda: splits.read(store, records.outputs("SplitDataset"))),
        tuning=part(records.tuning),
        training=part(lambda: training.read(store, records.training_job("TrainModel"), split)),
        evaluation=part(lambda: evaluation.read(store, records.outputs("EvaluateModel"), split)),
        endpoint=part(lambda: records.endpoint(str(session.region_name))),
        verification=part(records.verification),
        made=datetime.now(UTC),
    )


@dataclass(frozen=True)
class _Kind:
    """The API's names for a kind of job."""

    metadata: str
    describe: str
    name: str


_PROCESSING = _Kind("ProcessingJob", "describe_processing_job", "ProcessingJobName")
_TRAINING = _Kind("TrainingJob", "describe_training_job", "TrainingJobName")
_TUNING = _Kind("TuningJob", "describe_hyper_parameter_tuning_job", "HyperParameterTuningJobName")


class Records:
    """What SageMaker knows about one execution. Methods raise Unavailable if their source is missing."""

    def __init__(self, sagemaker: Any, arn: str) -> None:
        self._sagemaker = sagemaker
        self._here = urlsplit(sagemaker.meta.endpoint_url).hostname in THIS_MACHINE
        self._answer = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        self._execution = Execution(
            arn,
            self._answer["PipelineExecutionStatus"],
            self._answer.get("FailureReason", ""),
            tuple(self._steps(arn)),
        )

    def run(self) -> Run:
        """The execution itself."""
        execution, answer = self._execution, self._answer
        conditions = [
            step["Metadata"]["Condition"]
            for step in execution.steps
            if "Condition" in step.get("Metadata", {})
        ]
        refused = any(str(condition.get("Outcome")).lower() == "false" for condition in conditions)
        ended = answer["LastModifiedTime"] if execution.status in ENDED else datetime.now(UTC)
        pages = self._pages("list_pipeline_parameters_for_execution", PipelineExecutionArn=execution.arn)
        return Run(
            arn=execution.arn,
            pipeline=answer["PipelineArn"].rpartition("/")[2],
            status=execution.status,
            failure_reason=execution.failure_reason,
            began=answer["CreationTime"],
            seconds=(ended - answer["CreationTime"]).total_seconds(),
            parameters={item["Name"]: item["Value"] for page in pages for item in page["PipelineParameters"]},
            steps=[self._step(step) for step in execution.steps],
            # Steps that follow the gate's last condition show that there is no other.
            passed=False if refused else True if execution.step("RegisterModel") else None,
            refusal=execution.refused,
            here=self._here,
        )

    def outputs(self, step: str) -> dict[str, str]:
        """The S3 URIs of a processing step's outputs, by name; only a completed job has all of them."""
        job = self._job(step, _PROCESSING)
        if job["ProcessingJobStatus"] != "Completed":
            raise Unavailable(self._why(step))
        outputs = job["ProcessingOutputConfig"]["Outputs"]
        return {output["OutputName"]: output["S3Output"]["S3Uri"] for output in outputs}

    def training_job(self, step: str) -> Any:
        """DescribeTrainingJob's answer for a training step."""
        return self._job(step, _TRAINING)

    def tuning(self) -> Tuning:
        """The tuning job with its trials, best first; trials without an objective come last."""
        job = self._job("TuneHyperparameters", _TUNING)
        config = job["HyperParameterTuningJobConfig"]
        objective = config["HyperParameterTuningJobObjective"]
        ranges = config.get("ParameterRanges") or job["TrainingJobDefinition"]["HyperParameterRanges"]
        maximize = objective["Type"] == "Maximize"
        pages = self._pages(
            "list_training_jobs_for_hyper_parameter_tuning_job",
            HyperParameterTuningJobName=job["HyperParameterTuningJobName"],
        )
        trials = [_trial(summary) for page in pages for summary in page["TrainingJobSummaries"]]
        if not trials:
            name, status = job["HyperParameterTuningJobName"], job["HyperParameterTuningJobStatus"]
            if status == "InProgress":
                raise Unavailable(f"The tuning job {name} has no trial yet.")
            reason = job.get("FailureReason", status).rstrip(".")
            raise Unavailable(f"The tuning job {name} ended without a trial: {reason}.")

        best = job.get("BestTrainingJob", {}).get("TrainingJobName")

        def rank(trial: Trial) -> tuple[bool, bool, float]:
            value = trial.objective or 0.0
            # If objectives are equal, the service has chosen one.
            return trial.name != best, trial.objective is None, -value if maximize else value

        return Tuning(
            job=job["HyperParameterTuningJobName"],
            strategy=config["Strategy"],
            objective=objective["MetricName"],
            maximize=maximize,
            ranges={
                item["Name"]: kind == "CategoricalParameterRanges"
                for kind in sorted(ranges)
                if kind != "AutoParameters"
                for item in ranges[kind]
            },
            trials=sorted(trials, key=rank),
        )

    def package(self) -> ModelPackage:
        """The registered model."""
        record = self._execution.step("RegisterModel") or {}
        arn = record.get("Metadata", {}).get("RegisterModel", {}).get("Arn")
        if arn is None:
            raise Unavailable(self._why("RegisterModel"))
        answer = self._ask("describe_model_package", ModelPackageName=arn)
        return ModelPackage(arn, answer["ModelApprovalStatus"], part(lambda: _card(answer)))

    def endpoint(self, region: str) -> Endpoint:
        """The current state of the endpoint that DeployEndpoint created or updated."""
        answer = deployment(self._execution)
        if not answer:
            raise Unavailable(self._why("DeployEndpoint"))
        if answer.get("deployed", "").lower() != "true":
            raise Unavailable(f"Nothing was deployed: {answer.get('reason', 'no reason given').rstrip('.')}.")
        name = answer["endpoint_name"]
        return Endpoint(name, region, self._ask("describe_endpoint", EndpointName=name)["EndpointStatus"])

    def verification(self) -> Verification:
        """VerifyEndpoint's findings about the endpoint."""
        job = self._job("VerifyEndpoint", _PROCESSING)
        if not job.get("ExitMessage"):
            raise Unavailable(self._why("VerifyEndpoint"))
        return Verification(job["ProcessingJobStatus"] == "Completed", job["ExitMessage"])

    def _step(self, record: dict[str, Any]) -> Step:
        note = self._failure(record) if record["StepStatus"] == "Failed" else ""
        if "CacheHitResult" in record:
            note = "taken from the cache"
        if "SelectiveExecutionResult" in record:
            note = "taken from an earlier execution"
        return Step(record["StepName"], record["StepStatus"], record.get("StartTime"), seconds(record), note)

    def _failure(self, record: dict[str, Any]) -> str:
        """Why a step failed: on AWS its reason only points to a log; VerifyEndpoint writes its own."""
        said = ""
        if "ProcessingJob" in record.get("Metadata", {}):
            job = part(lambda: self._job(record["StepName"], _PROCESSING))
            said = "" if isinstance(job, Missing) else job.get("ExitMessage", "")
        return said or str(record.get("FailureReason", "no reason given"))

    def _job(self, step: str, kind: _Kind) -> Any:
        record = self._execution.step(step) or {}
        arn = record.get("Metadata", {}).get(kind.metadata, {}).get("Arn")
        if arn is None:
            raise Unavailable(self._why(step))
        return self._ask(kind.describe, **{kind.name: arn.rpartition("/")[2]})

    def _ask(self, operation: str, **request: Any) -> Any:
        try:
            return getattr(self._sagemaker, operation)(**request)
        except ClientError as error:
            if aws_errors.is_missing(error):
                raise Unavailable(f"{next(iter(request.values()))} has been deleted since.") from error
            raise

    def _why(self, step: str) -> str:
        """Why a step has no results."""
        record = self._execution.step(step)
        status = record["StepStatus"] if record else ""
        if record is None and self._execution.status not in ENDED:
            return f"{step} has not started yet; the execution is still running."
        if record is None and self._execution.status == "Succeeded":
            return f"{step} was not part of this execution."
        if record is None:
            return f"{step} did not run: the execution ended before it ({self._execution.status})."
        if status == "Failed":
            return f"{step} failed: {self._failure(record).rstrip('.')}."
        if status in {"Starting", "Executing", "Stopping"}:
            return f"{step} is still running; make the report again when it has ended."
        return f"{step} is {status} and left no results."

    def _steps(self, arn: str) -> list[dict[str, Any]]:
        """The execution's steps by start time, after those whose results it took from its source."""
        pages = self._pages("list_pipeline_execution_steps", PipelineExecutionArn=arn, SortOrder="Ascending")
        steps = [step for page in pages for step in page["PipelineExecutionSteps"]]
        source = self._answer.get("SelectiveExecutionConfig", {}).get("SourcePipelineExecutionArn")
        if source is None:
            return steps
        names = {step["StepName"] for step in steps}
        reused = [
            {
                "StepName": step["StepName"],
                "StepStatus": step["StepStatus"],
                "Metadata": step["Metadata"],
                "SelectiveExecutionResult": {"SourcePipelineExecutionArn": source},
            }
            for step in Records(self._sagemaker, source)._execution.steps
            if step["StepName"] not in names and _JOBS & step.get("Metadata", {}).keys()
        ]
        return reused + steps

    def _pages(self, operation: str, **request: Any) -> Iterator[Any]:
        yield from self._sagemaker.get_paginator(operation).paginate(**request)


def _trial(summary: dict[str, Any]) -> Trial:
    final = summary.get("FinalHyperParameterTuningJobObjectiveMetric", {})
    began, ended = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    return Trial(
        name=summary["TrainingJobName"],
        status=summary["TrainingJobStatus"],
        hyperparameters=summary.get("TunedHyperParameters", {}),
        objective=final.get("Value"),
        seconds=(ended - began).total_seconds() if began and ended else None,
        failure_reason=summary.get("FailureReason", ""),
    )


def _card(package: Any) -> Card:
    """The card in DescribeModelPackage's answer.

    Raises:
        Unavailable: it has no card, or one that is not in AWS's schema.
    """
    card = package.get("ModelCard", {})
    if not card.get("ModelCardContent"):
        raise Unavailable("This version has no card: an earlier version of the pipeline registered it.")
    try:
        content = json.loads(card["ModelCardContent"])
        training = content.get("training_details", {})
        job = training.get("training_job_details", {})
        facts = {
            "training": training.get("training_observations"),
            "training_job": job.get("training_arn"),
            "training_datasets": ", ".join(job.get("training_datasets", [])),
            "container_image": ", ".join(job.get("training_environment", {}).get("container_image", [])),
            **content.get("additional_information", {}).get("custom_details", {}),
        }
        uses = content.get("intended_uses", {})
        return Card(
            card.get("ModelCardStatus", "no status"),
            {name: str(text) for name, text in uses.items() if text},
            {name: str(text) for name, text in facts.items() if text},
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise Unavailable(f"The card is not in AWS's schema ({error!r}).") from error
