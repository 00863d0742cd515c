"""Small pipeline definitions, as plain dictionaries."""

import json
from pathlib import Path
from typing import Any

SHARED = Path(__file__).parents[2].parent / "shared" / "definitions"
ROLE = "arn:aws:iam::123456789012:role/pipeline"
PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/pictures"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:deploy"
EQUAL = {"Type": "Equals", "LeftValue": 1, "RightValue": 1}


def document(*steps: dict[str, Any], parameters: Any = (), **more: Any) -> str:
    body = {"Version": "2020-12-01", "Metadata": {}, "Parameters": list(parameters), "Steps": list(steps)}
    return json.dumps({**body, **more})


def processing(name: str, *arguments: Any, **more: Any) -> dict[str, Any]:
    """A processing step with one output, `result`, at s3://bucket/<name>."""
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
            },
            "AppSpecification": {
                "ImageUri": "image",
                "ContainerEntrypoint": ["/bin/bash", "run.sh"],
                **({"ContainerArguments": list(arguments)} if arguments else {}),
            },
            "RoleArn": ROLE,
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "result",
                        "S3Output": {
                            "S3Uri": f"s3://bucket/{name}",
                            "LocalPath": "/opt/ml/processing/result",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
        },
        **more,
    }


def training(name: str, hyperparameters: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "Training",
        "Arguments": {
            "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "image"},
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "ResourceConfig": {"VolumeSizeInGB": 30, "InstanceCount": 1, "InstanceType": "ml.m5.large"},
            "RoleArn": ROLE,
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": "s3://bucket/code.tar.gz",
                **(hyperparameters or {}),
            },
        },
        **more,
    }


def tuning(name: str) -> dict[str, Any]:
    job = training(name)["Arguments"]
    return {
        "Name": name,
        "Type": "Tuning",
        "Arguments": {
            "HyperParameterTuningJobConfig": {
                "Strategy": "Random",
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
                "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            },
            "TrainingJobDefinition": {
                "StaticHyperParameters": job["HyperParameters"],
                **{
                    key: job[key]
                    for key in (
                        "AlgorithmSpecification", "OutputDataConfig", "StoppingCondition", "ResourceConfig",
                        "RoleArn",
                    )
                },
            },
        },
    }  # fmt: skip


def condition(
    name: str, conditions: list[Any], then: Any = (), otherwise: Any = (), **more: Any
) -> dict[str, Any]:
    branches = {"IfSteps": list(then), "ElseSteps": list(otherwise)}
    return {"Name": name, "Type": "Condition", "Arguments": {"Conditions": conditions, **branches}, **more}


def fail(name: str, message: Any) -> dict[str, Any]:
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def function(name: str, payload: dict[str, Any], outputs: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "Lambda",
        "Arguments": payload,
        "FunctionArn": FUNCTION,
        "OutputParameters": [{"OutputName": key, "OutputType": kind} for key, kind in outputs.items()],
        **more,
    }


def register(name: str, model_data: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "group",
            "InferenceSpecification": {
                "Containers": [{"Image": "image", "ModelDataUrl": model_data}],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        },
    }


def model(name: str, model_data: Any) -> dict[str, Any]:
    container = {"Image": "image", "ModelDataUrl": model_data}
    return {
        "Name": name,
        "Type": "Model",
        "Arguments": {"ExecutionRoleArn": ROLE, "PrimaryContainer": container},
    }


def get(path: str) -> dict[str, str]:
    return {"Get": path}


def join(on: str, *values: Any) -> dict[str, Any]:
    return {"Std:Join": {"On": on, "Values": list(values)}}


def report(step: str, path: str) -> dict[str, Any]:
    """A value of the property file `Report` of a step."""
    return {"Std:JsonGet": {"PropertyFile": get(f"Steps.{step}.PropertyFiles.Report"), "Path": path}}


REPORT = {"PropertyFileName": "Report", "OutputName": "result", "FilePath": "evaluation.json"}
