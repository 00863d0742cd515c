"""Clients whose answers a test makes up, in the shapes that botocore's service model allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.stub import validate_parameters

ACCOUNT = "arn:aws:sagemaker:us-east-1:123456789012"
PIPELINE = f"{ACCOUNT}:pipeline/image-classification"
START = datetime(2026, 11, 20, 8, tzinfo=UTC)


def made_up(service: str, answers: dict[str, Callable[..., dict[str, Any]]]) -> Any:
    """A client that answers each operation with a function of the request; `calls` counts them.

    A request and an answer that are not in the model's shapes fail the test.
    """
    client: Any = boto3.client(
        service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    calls: Counter[str] = Counter()

    def answer(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        calls[operation] += 1
        shape = client.meta.service_model.operation_model(operation)
        validate_parameters(request, shape.input_shape)
        given = answers[operation](**request)
        validate_parameters(given, shape.output_shape)
        return given

    client._make_api_call = answer
    client.calls = calls
    return client


class Session:
    """A session of made-up clients."""

    region_name = "us-east-1"

    def __init__(self, **clients: Any) -> None:
        self._clients = clients

    def client(self, service: str, **_: Any) -> Any:
        return self._clients[service]

    def get_partition_for_region(self, _: str) -> str:
        return "aws"


def missing(operation: str, code: str = "ResourceNotFound") -> ClientError:
    error = {"Error": {"Code": code, "Message": "it does not exist"}}
    return ClientError(error, operation)


class Account:
    """SageMaker with one pipeline, its executions and their jobs, all made up; `client()` answers for it."""

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.parameters: dict[str, dict[str, str]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.trials: dict[str, list[str]] = {}
        self.endpoints: dict[str, list[tuple[str, int]]] = {}
        self.definition = '{"Steps": []}'

    def client(self) -> Any:
        return made_up(
            "sagemaker",
            {
                "DescribePipeline": lambda **_: {
                    "PipelineArn": PIPELINE,
                    "PipelineName": "image-classification",
                    "PipelineDefinition": self.definition,
                },
                "DescribePipelineDefinitionForExecution": lambda **_: {"PipelineDefinition": self.definition},
                "DescribePipelineExecution": self._execution,
                "ListPipelineExecutions": self._executions,
                "ListPipelineExecutionSteps": lambda PipelineExecutionArn, **_: {
                    "PipelineExecutionSteps": self.steps[PipelineExecutionArn]
                },
                "ListPipelineParametersForExecution": lambda PipelineExecutionArn, **_: {
                    "PipelineParameters": [
                        {"Name": name, "Value": value}
                        for name, value in self.parameters.get(PipelineExecutionArn, {}).items()
                    ]
                },
                "DescribeProcessingJob": lambda ProcessingJobName: self._job(ProcessingJobName),
                "DescribeTrainingJob": lambda TrainingJobName: self._job(TrainingJobName),
                "DescribeHyperParameterTuningJob": lambda HyperParameterTuningJobName: self._job(
                    HyperParameterTuningJobName
                ),
                "ListProcessingJobs": self._listed("ProcessingJob", "CreationTime"),
                "ListTrainingJobs": self._listed("TrainingJob", "CreationTime"),
                "ListHyperParameterTuningJobs": self._listed("HyperParameterTuningJob", "CreationTime"),
                "ListTrainingJobsForHyperParameterTuningJob": self._of_tuning,
                "DescribeEndpoint": self._endpoint,
                "DescribeEndpointConfig": self._config,
            },
        )

    def execute(self, number: int, status: str = "Succeeded", **parameters: str) -> str:
        """Add an execution that began `number` days after START and took an hour; its ARN."""
        began = START + timedelta(days=number)
        arn = f"{PIPELINE}/execution/{number:012}"
        self.executions[arn] = {
            "PipelineArn": PIPELINE,
            "PipelineExecutionArn": arn,
            "PipelineExecutionStatus": status,
            "CreationTime": began,
            "LastModifiedTime": began + timedelta(hours=1),
        }
        self.steps[arn] = []
        self.parameters[arn] = parameters
        return arn

    def step(self, arn: str, name: str, status: str = "Succeeded", **members: Any) -> dict[str, Any]:
        began = self.executions[arn]["CreationTime"]
        step = {"StepName": name, "StepStatus": status, "StartTime": began, **members}
        if status != "Executing":
            step["EndTime"] = began + timedelta(minutes=5)
        self.steps[arn].append(step)
        return step

    def processing(self, arn: str, step: str, seconds: float, instance_type: str, **more: Any) -> str:
        """A processing job of a step, which names it unless step_names=False."""
        name = f"pipelines-{arn[-12:]}-{step[:20]}-{len(self.jobs):010}"
        began = self.executions[arn]["CreationTime"] + timedelta(seconds=1)
        named, status = more.pop("step_names", True), more.pop("status", "Completed")
        self.jobs[name] = {
            "ProcessingJobName": name,
            "ProcessingJobArn": f"{ACCOUNT}:processing-job/{name.lower()}",
            "ProcessingJobStatus": status,
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": instance_type, "VolumeSizeInGB": 30}
            },
            "AppSpecification": {"ImageUri": "image"},
            "CreationTime": began,
            "ProcessingStartTime": began,
            **({} if status == "InProgress" else {"ProcessingEndTime": began + timedelta(seconds=seconds)}),
            **more,
        }
        if named:
            job = {"Arn": self.jobs[name]["ProcessingJobArn"]}
            ended = {"Completed": "Succeeded", "InProgress": "Executing"}.get(status, status)
            self.step(arn, step, ended, Metadata={"ProcessingJob": job})
        return name

    def _training(self, name: str, arn: str, billable: int, ran: int, instance_type: str, count: int) -> None:
        began = self.executions[arn]["CreationTime"] + timedelta(seconds=1)
        self.jobs[name] = {
            "TrainingJobName": name,
            "TrainingJobArn": f"{ACCOUNT}:training-job/{name.lower()}",
            "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"},
            "TrainingJobStatus": "Completed",
            "SecondaryStatus": "Completed",
            "AlgorithmSpecification": {"TrainingInputMode": "File"},
            "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": count, "VolumeSizeInGB": 30},
            "StoppingCondition": {},
            "CreationTime": began,
            "TrainingStartTime": began,
            "TrainingEndTime": began + timedelta(seconds=ran),
            "TrainingTimeInSeconds": ran,
            "BillableTimeInSeconds": billable,
        }

    def training(
        self, arn: str, step: str, billable: int, instance_type: str, *, ran: int | None = None,
        count: int = 1, step_names: bool = True,
    ) -> str:  # fmt: skip
        name = f"pipelines-{arn[-12:]}-{step[:20]}-{len(self.jobs):010}"
        self._training(name, arn, billable, ran or billable, instance_type, count)
        if step_names:
            self.step(arn, step, Metadata={"TrainingJob": {"Arn": self.jobs[name]["TrainingJobArn"]}})
        return name

    def tuning(
        self, arn: str, step: str, trials: list[tuple[int, int]], instance_type: str, spot: bool = False
    ):
        """A tuning job with trials that were billed and ran for so many seconds."""
        name = f"{arn[-12:]}-{step[:7]}-{len(self.jobs):010}"
        resources = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30}
        self.jobs[name] = {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobArn": f"{ACCOUNT}:hyper-parameter-tuning-job/{name.lower()}",
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "ResourceLimits": {"MaxNumberOfTrainingJobs": len(trials), "MaxParallelTrainingJobs": 2},
            },
            "TrainingJobDefinition": {
                "AlgorithmSpecification": {"TrainingInputMode": "File"},
                "RoleArn": "arn:aws:iam::123456789012:role/execution",
                "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
                "ResourceConfig": resources,
                "StoppingCondition": {},
                "EnableManagedSpotTraining": spot,
            },
            "HyperParameterTuningJobStatus": "Completed",
            "CreationTime": self.executions[arn]["CreationTime"] + timedelta(seconds=1),
            "TrainingJobStatusCounters": {"Completed": len(trials)},
            "ObjectiveStatusCounters": {},
        }
        self.trials[name] = [f"{name}-{number:03}-abcdef12" for number in range(len(trials))]
        for trial, (billable, ran) in zip(self.trials[name], trials, strict=True):
            self._training(trial, arn, billable, ran, instance_type, 1)
        self.step(arn, step, Metadata={"TuningJob": {"Arn": self.jobs[name]["HyperParameterTuningJobArn"]}})
        return name

    def deploy(self, arn: str, name: str, *instances: tuple[str, int]) -> None:
        """A step DeployEndpoint that succeeded, and its endpoint unless that has no instances."""
        answer = {"deployed": "true", "endpoint_name": name, "endpoint_config_name": f"{name}-config"}
        outputs = [{"Name": key, "Value": value} for key, value in answer.items()]
        metadata = {"Lambda": {"Arn": "arn:aws:lambda:us-east-1:1:function:f", "OutputParameters": outputs}}
        self.step(arn, "DeployEndpoint", Metadata=metadata)
        if instances:
            self.endpoints[name] = list(instances)

    def _execution(self, PipelineExecutionArn: str) -> dict[str, Any]:
        if PipelineExecutionArn not in self.executions:
            raise missing("DescribePipelineExecution")
        return self.executions[PipelineExecutionArn]

    def _executions(self, MaxResults: int = 100, NextToken: str = "0", **_: Any) -> dict[str, Any]:
        found = sorted(self.executions.values(), key=lambda item: item["CreationTime"], reverse=True)
        start = int(NextToken)
        summaries = [
            {
                "PipelineExecutionArn": item["PipelineExecutionArn"],
                "PipelineExecutionStatus": item["PipelineExecutionStatus"],
                "StartTime": item["CreationTime"],
            }
            for item in found[start : start + MaxResults]
        ]
        more = {"NextToken": str(start + MaxResults)} if start + MaxResults < len(found) else {}
        return {"PipelineExecutionSummaries": summaries, **more}

    def _job(self, name: str) -> dict[str, Any]:
        """By its name in whatever case: steps name jobs by ARNs, which are in lower case."""
        found = {job.lower(): record for job, record in self.jobs.items()}
        if name.lower() not in found:
            raise missing("Describe")
        return found[name.lower()]

    def _listed(self, key: str, time: str) -> Callable[..., dict[str, Any]]:
        def answer(NameContains: str, CreationTimeAfter: datetime) -> dict[str, Any]:
            assert len(NameContains) == 12
            members = (f"{key}Name", f"{key}Arn", f"{key}Status", time)
            found = [
                {member: job[member] for member in members}
                for name, job in self.jobs.items()
                if NameContains in name and f"{key}Name" in job and job[time] >= CreationTimeAfter
            ]
            if key == "HyperParameterTuningJob":
                zeros = {"TrainingJobStatusCounters": {}, "ObjectiveStatusCounters": {}, "Strategy": "Random"}
                found = [{**item, **zeros} for item in found]
            return {f"{key}Summaries": found}

        return answer

    def _of_tuning(
        self, HyperParameterTuningJobName: str, StatusEquals: str = "", **_: Any
    ) -> dict[str, Any]:
        members = (
            "TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime",
            "TrainingJobStatus",
        )  # fmt: skip
        return {
            "TrainingJobSummaries": [
                {**{member: self.jobs[trial][member] for member in members}, "TunedHyperParameters": {}}
                for trial in self._trials(HyperParameterTuningJobName)
                if StatusEquals in ("", self.jobs[trial]["TrainingJobStatus"])
            ]
        }

    def _trials(self, tuning: str) -> list[str]:
        return next(trials for name, trials in self.trials.items() if name.lower() == tuning.lower())

    def _endpoint(self, EndpointName: str) -> dict[str, Any]:
        if EndpointName not in self.endpoints:
            raise missing("DescribeEndpoint", "ValidationException")
        return {
            "EndpointName": EndpointName,
            "EndpointArn": f"{ACCOUNT}:endpoint/{EndpointName}",
            "EndpointConfigName": EndpointName,
            "EndpointStatus": "InService",
            "CreationTime": START,
            "LastModifiedTime": START,
            "ProductionVariants": [
                {"VariantName": f"v{place}", "CurrentInstanceCount": count}
                for place, (_, count) in enumerate(self.endpoints[EndpointName])
            ],
        }

    def _config(self, EndpointConfigName: str) -> dict[str, Any]:
        return {
            "EndpointConfigName": EndpointConfigName,
            "EndpointConfigArn": f"{ACCOUNT}:endpoint-config/{EndpointConfigName}",
            "ProductionVariants": [
                {
                    "VariantName": f"v{place}",
                    "InstanceType": name,
                    "InitialInstanceCount": 7,
                    "ModelName": "m",
                }
                for place, (name, _) in enumerate(self.endpoints[EndpointConfigName])
            ],
            "CreationTime": START,
        }
