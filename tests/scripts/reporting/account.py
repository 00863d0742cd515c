"""An AWS account with one execution: S3 laid out as AWS leaves it, and SageMaker's answers."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from smdebug.core.modes import ModeKeys
from smdebug.core.writer import FileWriter

from entrypoints.contract import EPOCH_COLUMNS, EVALUATION, PREDICTIONS, SPLIT_SUMMARY, STEP_COLUMNS
from entrypoints.journal import table
from entrypoints.metrics import multiclass_metrics
from local.control import ControlPlane, ServiceError, invalid, page
from local.home import Home
from local.s3 import S3
from local.server import Server, application

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BUCKET = "flowers-bucket"
PREFIX = f"s3://{BUCKET}/flower-classifier/executions/abc123def456"
ARNS = "arn:aws:sagemaker:us-east-1:123456789012"
EXECUTION = f"{ARNS}:pipeline/flower-classifier/execution/abc123def456"
TRAINING_JOB = "pipelines-abc123def456-TrainModel-x1y2z3"
TUNING_JOB = "abc123def456-TuneHyp-q9w8e7"
PACKAGE = f"{ARNS}:model-package/flower-classifier/7"
SPLIT_OUTPUTS = ("train", "validation", "test", "summary")
STEPS, EPOCHS = 200, 5
VALIDATION_STEPS = 4  # of an epoch: Debugger counts them, too
VERIFIED = "endpoint flower-classifier answers 8 test pictures as the evaluation did"

Answer = dict[str, Any]


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


class Account:
    """The answers of SageMaker by operation and name, and the files of S3, to be changed before it serves."""

    def __init__(self, root: Path, classes: Sequence[str], test_images: int) -> None:
        self.home = Home(root)
        self.classes = list(classes)
        self.answers = {
            "DescribePipelineExecution": {EXECUTION: _execution()},
            "ListPipelineExecutionSteps": {EXECUTION: _steps()},
            "ListPipelineParametersForExecution": {EXECUTION: _parameters()},
            "DescribeProcessingJob": {
                "split-job": _processing_job("split-job", {name: f"split/{name}" for name in SPLIT_OUTPUTS}),
                "evaluate-job": _processing_job("evaluate-job", {"evaluation": "evaluate"}),
                "verify-job": _processing_job("verify-job", {}) | {"ExitMessage": VERIFIED},
            },
            "DescribeTrainingJob": {TRAINING_JOB: _training_job()},
            "DescribeHyperParameterTuningJob": {TUNING_JOB: _tuning_job()},
            "ListTrainingJobsForHyperParameterTuningJob": {TUNING_JOB: _trials()},
            "DescribeModelPackage": {PACKAGE: {"ModelApprovalStatus": "Approved"}},
            "DescribeEndpoint": {"flower-classifier": {"EndpointStatus": "InService"}},
        }  # fmt: skip
        self._write_dataset(test_images)
        self._write_training()

    def copied(self, root: Path) -> Account:
        """The same account once more, its files below `root`."""
        result = copy.copy(self)
        result.home = Home(root)
        result.answers = copy.deepcopy(self.answers)
        shutil.copytree(self.home.root, root)
        return result

    def path(self, key: str) -> Path:
        """The file of an object below the execution's prefix."""
        return self.home.object_path(f"{PREFIX}/{key}")

    def put(self, key: str, content: bytes | str | object) -> None:
        """Write an object; what is neither bytes nor text becomes JSON."""
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def job(self) -> Answer:
        """DescribeTrainingJob's answer for TrainModel."""
        return self.answers["DescribeTrainingJob"][TRAINING_JOB]

    def steps(self) -> list[Answer]:
        """The execution's steps."""
        steps: list[Answer] = self.answers["ListPipelineExecutionSteps"][EXECUTION]["all"]
        return steps

    def end_at(self, step: str, status: str, reason: str = "") -> None:
        """Let the execution end, or stand, at a step."""
        steps = self.steps()
        del steps[[record["StepName"] for record in steps].index(step) + 1 :]
        steps[-1] |= {"StepStatus": status, **({"FailureReason": reason} if reason else {})}
        execution = self.answers["DescribePipelineExecution"][EXECUTION]
        execution |= {"PipelineExecutionStatus": status, **({"FailureReason": reason} if reason else {})}

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The URL at which boto3 finds all this."""
        control = ControlPlane(
            {
                **{name: self._answers(name) for name in self.answers},
                "ListPipelineExecutions": lambda request: page(
                    [{"PipelineExecutionArn": arn} for arn in self.answers["DescribePipelineExecution"]],
                    request,
                    "PipelineExecutionSummaries",
                ),
            }
        )
        server = Server(application(S3(self.home).handle, control, _nothing, _nothing, _nothing))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()

    def _answers(self, operation: str) -> Any:
        def answer(request: Answer) -> Answer:
            name = next(
                value for key, value in request.items() if key not in {"MaxResults", "NextToken", "SortOrder"}
            )
            if name not in self.answers[operation]:
                raise invalid(f"Could not find {name}.")
            found: Answer = copy.deepcopy(self.answers[operation][name])
            if "members" in found:
                return page(found["all"], request, found["members"])
            return found

        return answer

    def _write_dataset(self, test_images: int) -> None:
        generator = np.random.default_rng(0)
        count = len(self.classes)
        labels = np.arange(test_images) % count
        sure = generator.beta(6, 1.5, test_images)
        predicted = np.where(
            generator.random(test_images) < 0.2 + 0.8 * sure,
            labels,
            (labels + generator.integers(1, 4)) % count,
        )
        records = []
        for number, (label, guess, share) in enumerate(zip(labels, predicted, sure, strict=True)):
            rest = (1 - share) / max(1, count - 1)
            probabilities = dict.fromkeys(self.classes, float(rest))
            probabilities[self.classes[guess]] = float(max(share, rest))
            records.append(
                {
                    "file": f"{self.classes[label]}/{number:05}.png",
                    "label": self.classes[label],
                    "predicted": self.classes[guess],
                    "probabilities": probabilities,
                }
            )
            if label != guess or number < 4 * count:
                self.put(f"split/test/{records[-1]['file']}", _picture(int(label), number))
        for place, name in enumerate(self.classes):
            for number in range(8):
                self.put(f"split/train/{name}/{number:05}.png", _picture(place, number))
        per_split = {"train": 8, "validation": 2, "test": max(1, test_images // count)}
        self.put(
            f"split/summary/{SPLIT_SUMMARY}",
            {
                "classes": self.classes,
                "counts": {split: dict.fromkeys(self.classes, number) for split, number in per_split.items()},
                "layout": "folders",
                "rejected": [{"file": f"{self.classes[0]}/notes.txt", "reason": "is not an image"}],
                "seed": 1,
            },
        )
        self.put(
            f"evaluate/{EVALUATION}",
            {"multiclass_classification_metrics": multiclass_metrics(self.classes, labels, predicted)},
        )
        self.put(f"evaluate/{PREDICTIONS}", records)

    def _write_training(self) -> None:
        losses = 2.2 * np.exp(-np.arange(STEPS) / 60) + 0.15 + 0.05 * np.sin(np.arange(STEPS))
        steps = [
            {
                "step": step + 1, "epoch": step * EPOCHS // STEPS + 1, "loss": float(losses[step]),
                "learning_rate": 0.001 * min(1, step / 20) * (1 - step / STEPS),
                "data_s": 0.01, "forward_s": 0.08, "backward_s": 0.16, "optimizer_s": 0.02,
            }
            for step in range(STEPS)
        ]  # fmt: skip
        epochs = [
            {
                "epoch": epoch, "train_loss": 2 / epoch, "validation_loss": 2.2 / epoch,
                "validation_accuracy": 1 - 0.5 / epoch, "seconds": 12.0, "validation_s": 1.2,
            }
            for epoch in range(1, EPOCHS + 1)
        ]  # fmt: skip
        self.put_output({"steps.csv": table(STEP_COLUMNS, steps), "epochs.csv": table(EPOCH_COLUMNS, epochs)})
        write_tensors(self.path(f"train/debugger/{TRAINING_JOB}/debug-output"), losses)
        for minute in range(2):
            began = int(BEGAN.timestamp()) + 200 + 60 * minute
            lines = [
                json.dumps(metric | {"NodeId": "algo-1", "Timestamp": began + second})
                for second in range(60)
                for metric in _metrics(second)
            ]
            self.put(
                f"train/profiler/{TRAINING_JOB}/profiler-output/system/incremental/2026030112/{began}.algo-1.json",
                "\n".join(lines) + "\n",
            )

    def put_output(self, files: Mapping[str, str]) -> None:
        """The training job's output.tar.gz with these files."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        self.put(f"train/{TRAINING_JOB}/output/output.tar.gz", archive.getvalue())


def write_tensors(folder: Path, losses: Sequence[float]) -> None:
    """Losses and a weight tensor as smdebug's hook leaves them, every tenth step of either mode."""
    per_epoch = len(losses) // EPOCHS
    recorded = 0
    for epoch in range(EPOCHS):
        training = [(ModeKeys.TRAIN, epoch * per_epoch + step) for step in range(per_epoch)]
        validation = [(ModeKeys.EVAL, epoch * VALIDATION_STEPS + step) for step in range(VALIDATION_STEPS)]
        for mode, step in training + validation:
            if step % 10 == 0:
                writer = FileWriter(trial_dir=str(folder), step=recorded, worker="worker_0")
                tensors = {"weight": np.zeros((32, 32)), "CrossEntropyLoss_output_0": np.array(losses[step])}
                for name, value in tensors.items():
                    writer.write_tensor(tname=name, tdata=value, mode=mode, mode_step=step)
                writer.close()
            recorded += 1
    from smdebug.core.collection_manager import CollectionManager

    manager = CollectionManager()
    manager.set_num_workers(1)
    manager.get("losses").include(r"[Ll]oss_(?!input).*output")
    manager.get("losses").tensor_names.add("CrossEntropyLoss_output_0")
    (folder / "collections" / "000000000").mkdir(parents=True)
    manager.export(str(folder), "000000000/worker_0_collections.json")


def _nothing(*_: object) -> Any:
    raise ServiceError("UnknownOperationException", "not here", 404)


def _picture(shade: int, number: int) -> bytes:
    noise = np.random.default_rng(1000 * shade + number).integers(0, 90, (8, 8, 3), np.uint8)
    colour = np.array([37 * shade % 160, 91 * shade % 160, 53 * shade % 160], np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise + colour).resize((96, 72)).save(file, "PNG")
    return file.getvalue()


def _metrics(second: int) -> Iterator[Answer]:
    for core in range(4):
        yield {"Type": "cpu", "Name": f"cpu{core}", "Dimension": "CPUUtilization",
               "Value": 60 + 8 * core + 10 * float(np.sin(second / 5 + core))}  # fmt: skip
        yield {"Type": "cpu", "Name": f"cpu{core}", "Dimension": "I/OWaitPercentage", "Value": 1.0}
    yield {"Type": "memory", "Name": "MemoryUsedPercent", "Dimension": "", "Value": 30 + second / 6}


def _execution() -> Answer:
    return {
        "PipelineArn": f"{ARNS}:pipeline/flower-classifier",
        "PipelineExecutionArn": EXECUTION,
        "PipelineExecutionStatus": "Succeeded",
        "CreationTime": BEGAN,
        "LastModifiedTime": at(600),
    }


def _parameters() -> Answer:
    values = {
        "AccuracyThreshold": "0.7",
        "Epochs": str(EPOCHS),
        "InputDataUrl": f"s3://{BUCKET}/data/flowers",
    }
    return {"members": "PipelineParameters", "all": [{"Name": k, "Value": v} for k, v in values.items()]}


def _steps() -> Answer:
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


def _processing_job(name: str, outputs: Mapping[str, str]) -> Answer:
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


def _training_job() -> Answer:
    return {
        "TrainingJobName": TRAINING_JOB,
        "TrainingJobStatus": "Completed",
        "ResourceConfig": {"InstanceType": "ml.m5.2xlarge"},
        "OutputDataConfig": {"S3OutputPath": f"{PREFIX}/train"},
        "TrainingTimeInSeconds": 90,
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


def _tuning_job() -> Answer:
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


def _trials() -> Answer:
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
