"""An AWS account with one execution: S3 laid out as AWS leaves it, and SageMaker's answers, served."""

from __future__ import annotations

import copy
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from smdebug.core.modes import ModeKeys
from smdebug.core.writer import FileWriter

from entrypoints.comparison import not_compared
from entrypoints.contract import EPOCH_COLUMNS, EVALUATION, PREDICTIONS, SPLIT_SUMMARY, STEP_COLUMNS
from entrypoints.journal import table
from entrypoints.metrics import multiclass_metrics, one_each, worth
from local.application import application
from local.home.home import Home
from local.s3.operations import S3
from local.server import Server
from local.wire.errors import ServiceError, invalid
from local.wire.lists import page
from local.wire.operations import ControlPlane
from tests.scripts.reporting import answers
from tests.scripts.reporting.answers import (
    BEGAN,
    EPOCHS,
    EXECUTION,
    PACKAGE,
    PREFIX,
    TRAINING_JOB,
    TUNING_JOB,
    Answer,
)

SPLIT_OUTPUTS = ("train", "validation", "test", "summary")
STEPS = 200
VALIDATION_STEPS = 4  # of an epoch; Debugger also counts them
VERIFIED = "endpoint flower-classifier answers 8 test pictures as the evaluation did"


class Account:
    """SageMaker's answers by operation and name, and S3's files, which tests change before it serves."""

    def __init__(self, root: Path, classes: Sequence[str], test_images: int) -> None:
        self.home = Home(root)
        self.classes = list(classes)
        self.answers = {
            "DescribePipelineExecution": {EXECUTION: answers.execution()},
            "ListPipelineExecutionSteps": {EXECUTION: answers.steps()},
            "ListPipelineParametersForExecution": {EXECUTION: answers.parameters()},
            "DescribeProcessingJob": {
                "split-job": answers.processing_job(
                    "split-job", {name: f"split/{name}" for name in SPLIT_OUTPUTS}
                ),
                "evaluate-job": answers.processing_job("evaluate-job", {"evaluation": "evaluate"}),
                "verify-job": answers.processing_job("verify-job", {}) | {"ExitMessage": VERIFIED},
            },
            "DescribeTrainingJob": {TRAINING_JOB: answers.training_job()},
            "DescribeHyperParameterTuningJob": {TUNING_JOB: answers.tuning_job()},
            "ListTrainingJobsForHyperParameterTuningJob": {TUNING_JOB: answers.trials()},
            "DescribeModelPackage": {
                PACKAGE: {"ModelApprovalStatus": "Approved", "ModelCard": answers.model_card()}
            },
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
        """Write an object; values other than bytes and text become JSON."""
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
        """Let the execution end, or stop for now, at a step."""
        steps = self.steps()
        del steps[[record["StepName"] for record in steps].index(step) + 1 :]
        steps[-1] |= {"StepStatus": status, **({"FailureReason": reason} if reason else {})}
        execution = self.answers["DescribePipelineExecution"][EXECUTION]
        execution |= {"PipelineExecutionStatus": status, **({"FailureReason": reason} if reason else {})}

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The URL of all this for boto3."""
        control = ControlPlane(
            {
                **{name: self._answers(name) for name in self.answers},
                "DescribePipeline": lambda request: {
                    **request,
                    "PipelineArn": EXECUTION.partition("/execution/")[0],
                },
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
                "layout": "classes",
                "notes": ["left out: 2 files that systems leave behind (Thumbs.db 2)"],
                "rejected": [{"file": f"{self.classes[0]}/notes.txt", "reason": "is not an image"}],
                "seed": 1,
                "copies": {"identical bytes": 5, "near copies": 3},
                "groups": {
                    f"train/{self.classes[place]}/{number:05}.png": f"group {place}"
                    for place in range(min(2, count))
                    for number in range(4 - place)
                },
                "largest_groups": [
                    {
                        "pictures": 4 - place,
                        "why": ["identical bytes", "near copies"][: 2 - place],
                        "files": [f"train/{self.classes[place]}/{n:05}.png" for n in range(4 - place)],
                    }
                    for place in range(min(2, count))
                ],
                "conflicts": [
                    {"why": "near copies", "files": [f"{name}/9.png" for name in self.classes[:2]]}
                ],
            },
        )
        self.put(
            f"evaluate/{EVALUATION}",
            {
                "multiclass_classification_metrics": multiclass_metrics(self.classes, labels, predicted),
                "champion": not_compared("Not compared: there is none"),
                "engine": "int8",
                "engines": {
                    "fp32": {"accuracy": 0.76, "agreement": 1.0, "pictures": len(labels)},
                    "int8": {"accuracy": 0.75, "agreement": 0.98, "pictures": len(labels)},
                },
                "worth": {
                    **worth(self.classes, labels, predicted, sure, one_each(labels)),
                    "known": {"value": 0.96, "low": 0.91, "high": 0.98},
                },
            },
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
        self.tables = {"steps.csv": table(STEP_COLUMNS, steps), "epochs.csv": table(EPOCH_COLUMNS, epochs)}
        self.left = {
            **self.tables,
            "suspects.json": json.dumps(answers.suspects(self.classes)),
            "model.json": json.dumps(answers.trained_model()),
        }
        self.put_output(self.left)
        self.put(f"train/{TRAINING_JOB}/output/model.tar.gz", b"0" * 1_500_000)
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
