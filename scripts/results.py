"""The results of a local execution."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scripts.command as command
from entrypoints import contract
from local.home.files import make_folder
from local.home.home import Home
from local.home.recovery import sweep
from local.processes.start import start
from scripts.exclude import read_member
from scripts.execution import Execution, seconds

if TYPE_CHECKING:
    import boto3


class Results:
    """An execution's results, read from the service and its S3 folder."""

    def __init__(self, home: Home, session: boto3.Session, execution: Execution) -> None:
        self._home = home
        self._sagemaker: Any = session.client("sagemaker")
        self._execution = execution

    def _job(self, step: str, kind: str) -> str | None:
        record = self._execution.step(step)
        metadata = (record or {}).get("Metadata", {}).get(kind)
        return metadata["Arn"].rpartition("/")[2] if metadata else None

    def output(self, step: str, name: str) -> Path | None:
        """The folder of a processing step's output; None if it does not exist."""
        job = self._job(step, "ProcessingJob")
        if job is None:
            return None
        record = self._sagemaker.describe_processing_job(ProcessingJobName=job)
        uris = {
            output["OutputName"]: output["S3Output"]["S3Uri"]
            for output in record["ProcessingOutputConfig"]["Outputs"]
        }
        path = self._home.object_path(uris[name])
        return path if path.exists() else None

    def trials(self) -> list[dict[str, Any]]:
        """All trials' hyperparameters and objectives, best first."""
        job = self._job("TuneHyperparameters", "TuningJob")
        if job is None:
            return []
        pages = self._sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=job, SortBy="FinalObjectiveMetricValue", SortOrder="Descending"
        )
        return [
            {
                "hyperparameters": trial["TunedHyperParameters"],
                "objective": trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
            }
            for page in pages
            for trial in page["TrainingJobSummaries"]
        ]

    def model(self) -> Path | None:
        """The model artifact that TrainModel wrote."""
        job = self._job("TrainModel", "TrainingJob")
        if job is None:
            return None
        record = self._sagemaker.describe_training_job(TrainingJobName=job)
        path = self._home.object_path(record["ModelArtifacts"]["S3ModelArtifacts"])
        return path if path.exists() else None

    def suspects(self) -> tuple[Path, int] | None:
        """The archive with TrainModel's suspects.json, and its number of suspect labels; None without one."""
        job = self._job("TrainModel", "TrainingJob")
        if job is None:
            return None
        record = self._sagemaker.describe_training_job(TrainingJobName=job)
        folder = record["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        path = self._home.object_path(f"{folder}/{job}/output/output.tar.gz")
        if not path.is_file():
            return None
        try:
            content = json.loads(read_member(path) or "{}")
        except (OSError, ValueError) as error:  # includes UnsafeArchive
            command.fail(f"{path} cannot be read ({error}); train again, or look at what wrote it")
        return (path, content["found"]) if "found" in content else None

    def model_package(self) -> dict[str, Any]:
        """ARN and approval status of the registered model; empty if there is none."""
        record = self._execution.step("RegisterModel")
        arn = (record or {}).get("Metadata", {}).get("RegisterModel", {}).get("Arn")
        if arn is None:
            return {}
        package = self._sagemaker.describe_model_package(ModelPackageName=arn)
        return {"model_package_arn": arn, "model_approval_status": package["ModelApprovalStatus"]}

    def summary(self) -> dict[str, Any]:
        """All of `--summary` except the time and the prediction."""
        evaluation = self.output("EvaluateModel", "evaluation")
        split = self.output("SplitDataset", "summary")
        trials = self.trials()
        result: dict[str, Any] = {
            "status": self._execution.status,
            "failure_reason": self._execution.failure_reason,
            "refused": self._execution.refused,
            "execution_arn": self._execution.arn,
            "steps": [
                {
                    "name": step["StepName"],
                    "status": step["StepStatus"],
                    "seconds": round(seconds(step), 1),
                    "type": step["StepType"],
                }
                for step in self._execution.steps
            ],
            "trials": trials,
            "best_hyperparameters": trials[0]["hyperparameters"] if trials else None,
            "test_accuracy": None,
            "test_accuracy_interval": None,
            "test_known": None,
            "champion": None,
            "test_images": None,
            "training_images": None,
            "classes": None,
            "model_package_arn": None,
            "model_approval_status": None,
            "endpoint_name": None,
            "suspect_labels": None,
            **self.model_package(),
        }
        artifacts = {"home": self._home.root, "model": self.model()}
        if evaluation:
            file = artifacts["evaluation"] = evaluation / contract.EVALUATION
            content = json.loads(file.read_text(encoding="utf-8"))
            accuracy = content["worth"][contract.ACCURACY]
            result["test_accuracy"] = accuracy["value"]
            result["test_accuracy_interval"] = [accuracy["low"], accuracy["high"]]
            result["test_known"] = content["worth"].get(contract.KNOWN_SHARE, {}).get("value")
            result["champion"] = content["champion"][contract.COMPARISON]
        if suspects := self.suspects():
            artifacts["suspects"], result["suspect_labels"] = suspects
        if split:
            summary = json.loads((split / contract.SPLIT_SUMMARY).read_text(encoding="utf-8"))
            result["classes"] = summary["classes"]
            result["test_images"] = sum(summary["counts"][contract.TEST].values())
            result["training_images"] = summary["counts"][contract.TRAIN]
        result["artifacts"] = {name: str(path) for name, path in artifacts.items() if path}
        return result


def write_report(home: Home, arn: str, options: Sequence[str]) -> Path | None:
    """Write an execution's report into the home; if that fails, print why and return None.

    Runs in its own process: plots and pictures take memory that is not needed afterwards.

    Args:
        options: report.py's options for finding the execution.
    """
    folder = home.root / "reports"
    try:
        make_folder(folder)
        sweep(folder.glob(".*.partial"))  # left by a killed run
    except OSError as error:
        command.console.print(f"no report: {folder}: {error.strerror}", soft_wrap=True)
        return None
    path = folder / f"{arn.rpartition('/')[2]}.html"
    program = Path(__file__).with_name("report.py")
    with start(
        home.processes,
        [sys.executable, str(program), arn, f"--output={path}", *options],
        os.environ,
        Path.cwd(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            _, errors = process.communicate()
        finally:
            process.end(0)
    if process.returncode == 0:
        return path
    reason = "".join(errors.decode(errors="replace").strip().splitlines()[-1:])
    command.console.print(f"no report: {reason}", soft_wrap=True)
    return None
