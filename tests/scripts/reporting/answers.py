"""SageMaker's answers about one successful execution."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BUCKET = "flowers-bucket"
PREFIX = f"s3://{BUCKET}/flower-classifier/executions/abc123def456"
ARNS = "arn:aws:sagemaker:us-east-1:123456789012"
EXECUTION = f"{ARNS}:pipeline/flower-classifier/execution/abc123def456"
TRAINING_JOB = "pipelines-abc123def456-TrainModel-x1y2z3"
TUNING_JOB = "abc123def456-TuneHyp-q9w8e7"
PACKAGE = f"{ARNS}:model-package/flower-classifier/7"
EPOCHS = 5
CODE = "c0de" * 16

Answer = dict[str, Any]


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def execution() -> Answer:
    return {
        "PipelineArn": f"{ARNS}:pipeline/flower-classifier",
        "PipelineExecutionArn": EXECUTION,
        "PipelineExecutionStatus": "Succeeded",
        "CreationTime": BEGAN,
        "LastModifiedTime": at(600),
    }


def parameters() -> Answer:
    values = {
        "AccuracyThreshold": "0.7",
        "Epochs": str(EPOCHS),
        "InputDataUrl": f"s3://{BUCKET}/data/flowers",
    }
    return {"members": "PipelineParameters", "all": [{"Name": k, "Value": v} for k, v in values.items()]}


def steps() -> Answer:
    outputs = {"deployed": "true", "endpoint_name": "flower-classifier"}
    plan: list[tuple[str, float, float, Answer]] = [
        ("SplitDataset", 0, 60, {"ProcessingJob": {"Arn": f"{ARNS}:processing-job/split-job"}}),
        ("TuneHyperparameters", 60, 200, {"TuningJob": {"Arn": f"{ARNS}:tuning-job/{TUNING_JOB}"}}),
        ("TrainModel", 200, 320, {"TrainingJob": {"Arn": f"{ARNS}:training-job/{TRAINING_JOB}"}}),
        ("EvaluateModel", 320, 400, {"ProcessingJob": {"Arn": f"{ARNS}:processing-job/evaluate-job"}}),
        ("CheckAccuracy", 400, 401, {"Condition": {"Outcome": "True"}}),
        ("RegisterModel", 401, 402, {"RegisterModel": {"Arn": PACKAGE}}),
        ("DeployEndpoint", 402, 410, {"Lambda": {"OutputParameters": [
            {"Name": name, "Value": value} for name, value in outputs.items()
        ]}}),
        ("VerifyEndpoint", 410, 500, {"ProcessingJob": {"Arn": f"{ARNS}:processing-job/verify-job"}}),
    ]  # fmt: skip
    return {
        "members": "PipelineExecutionSteps",
        "all": [
            {"StepName": name, "StepStatus": "Succeeded", "StartTime": at(began), "EndTime": at(ended),
             "Metadata": metadata}
            for name, began, ended, metadata in plan
        ],
    }  # fmt: skip


def processing_job(name: str, outputs: Mapping[str, str]) -> Answer:
    return {
        "ProcessingJobName": name,
        "ProcessingJobStatus": "Completed",
        "ProcessingOutputConfig": {
            "Outputs": [
                {"OutputName": output, "S3Output": {"S3Uri": f"{PREFIX}/{folder}"}}
                for output, folder in outputs.items()
            ]
        },
    }


def training_job() -> Answer:
    return {
        "TrainingJobName": TRAINING_JOB,
        "TrainingJobStatus": "Completed",
        "ResourceConfig": {"InstanceType": "ml.m5.2xlarge"},
        "OutputDataConfig": {"S3OutputPath": f"{PREFIX}/train"},
        "TrainingTimeInSeconds": 90,
        "ModelArtifacts": {"S3ModelArtifacts": f"{PREFIX}/train/{TRAINING_JOB}/output/model.tar.gz"},
        "HyperParameters": {"sagemaker_submit_directory": f"s3://{BUCKET}/code/train/{CODE}/sourcedir.tar.gz"},
        "DebugHookConfig": {"S3OutputPath": f"{PREFIX}/train/debugger"},
        "ProfilerConfig": {"S3OutputPath": f"{PREFIX}/train/profiler"},
        "DebugRuleEvaluationStatuses": [
            {"RuleConfigurationName": "LossNotDecreasing", "RuleEvaluationStatus": "NoIssuesFound"},
            {
                "RuleConfigurationName": "Overfit",
                "RuleEvaluationStatus": "IssuesFound",
                "StatusDetails": "RuleEvaluationConditionMet: Evaluation of the rule Overfit at step 130"
                " resulted in the condition being met\n",
            },
        ],
        "ProfilerRuleEvaluationStatuses": [
            {"RuleConfigurationName": "ProfilerReport", "RuleEvaluationStatus": "NoIssuesFound"}
        ],
    }  # fmt: skip


def trained_model() -> Answer:
    """The parts of the training's model.json that reports read."""
    return {
        "hyperparameters": {"learning_rate": 0.001, "batch_size": 32, "seed": 1, "trainable": "auto"},
        "metrics": {"best_epoch": 4, "validation_accuracy": 0.875},
        "weights": "resnet18.pth",
        "versions": {"torch": "2.14.1", "torchvision": "0.29.1"},
    }


def tuning_job() -> Answer:
    return {
        "HyperParameterTuningJobName": TUNING_JOB,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.1"}
                ],
                "CategoricalParameterRanges": [{"Name": "batch_size", "Values": ['"32"', '"64"']}],
            },
        },
    }  # fmt: skip


def trials() -> Answer:
    generator = np.random.default_rng(1)
    trials: list[Answer] = [
        {
            "TrainingJobName": f"{TUNING_JOB}-{number:03}-0a1b2c3d",
            "TrainingJobStatus": "Completed",
            "TrainingStartTime": at(60),
            "TrainingEndTime": at(90 + number),
            "TunedHyperParameters": {
                "learning_rate": str(10 ** generator.uniform(-4, -1)),
                "batch_size": '"32"' if number % 2 else '"64"',
            },
            "FinalHyperParameterTuningJobObjectiveMetric": {
                "MetricName": "validation:accuracy", "Value": 0.5 + number / 40
            },
        }
        for number in range(12)
    ]  # fmt: skip
    failed: Answer = {
        "TrainingJobName": f"{TUNING_JOB}-012-0a1b2c3d",
        "TrainingJobStatus": "Failed",
        "TunedHyperParameters": {"learning_rate": "0.09", "batch_size": '"32"'},
        "FailureReason": "AlgorithmError: the loss is nan",
    }
    return {"members": "TrainingJobSummaries", "all": [*trials, failed]}


def model_card() -> Answer:
    """The member ModelCard of DescribeModelPackage's answer."""
    content = {
        "intended_uses": {"intended_uses": "Only <flowers>", "risk_rating": "Low"},
        "training_details": {
            "training_observations": "resnet18, from resnet18.pth weights",
            "training_job_details": {"training_arn": "the ARN of the training"},
        },
        "additional_information": {"custom_details": {"definition_sha256": "0123456789abcdef" * 4}},
    }
    return {"ModelCardContent": json.dumps(content), "ModelCardStatus": "Draft"}


def suspects(classes: Sequence[str]) -> Answer:
    """TrainModel's suspects: the first picture of each class, and one that is not in S3."""
    listed = [
        {
            "rank": rank, "split": "train", "file": f"{name}/{0 if rank <= len(classes) else 90:05}.png",
            "digest": f"{rank:016x}", "label": name, "suggested": classes[rank % len(classes)],
            "self_confidence": 0.01 * rank, "suggested_confidence": 0.9,
        }
        for rank, name in enumerate([*classes, classes[0]], 1)
    ]  # fmt: skip
    return {
        "method": "The mean of two probabilities.", "epochs": EPOCHS, "pictures": 10 * len(classes),
        "judged": {"train": 8 * len(classes), "validation": 2 * len(classes)}, "classes_left_out": [],
        "found": len(listed), "suspects": listed,
    }  # fmt: skip
