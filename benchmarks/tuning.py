"""A tuning job through the local service: its wall time, and each trial's time that is not training.

That is the time from the trial's creation to its end, when its model is in S3, minus the time inside the
training program's main(), which the program prints. It is compared with the same trials started by the
sagemaker-training toolkit.

  python -m benchmarks.tuning --data hymenoptera_data --weights resnet18.pth --json tuning.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks.training import usable
from entrypoints.contract import METRIC_REGEXES, PRETRAINED, TRAIN, VALIDATION, VALIDATION_ACCURACY
from entrypoints.folders import DatasetError
from local.jobs import forks
from local.service import LocalService
from steps.code import bundles

TRIALS = 8
PARALLEL = 2
EPOCHS = 4
GOAL_S = 0.5
POLL_S = 0.2
PROGRAM_SECONDS = "program:seconds"
TIMED = """\
import time

from entrypoints import train

began = time.time()
train.main()
print(f"program:seconds={time.time() - began:.6f}")
"""


def fill(service: LocalService, data: Path, weights: Path) -> None:
    """Put the pictures, the weights and the code where the tuning jobs look for them."""
    objects = service.home.object_path
    shutil.copytree(data / "train", objects(f"s3://benchmark/{TRAIN}"))
    shutil.copytree(data / "val", objects(f"s3://benchmark/{VALIDATION}"))
    objects(f"s3://benchmark/{PRETRAINED}").mkdir()
    shutil.copy(weights, objects(f"s3://benchmark/{PRETRAINED}"))
    bundle = bundles()["tune"]
    timed = replace(bundle, files={**bundle.files, "timed.py": TIMED.encode()})
    objects("s3://benchmark/sourcedir.tar.gz").write_bytes(timed.archive())


def request(name: str, trials: int, hyperparameters: dict[str, str]) -> dict[str, Any]:
    """CreateHyperParameterTuningJob's request, with the same trials for both ways to start them."""
    regexes = {**METRIC_REGEXES, PROGRAM_SECONDS: rf"{PROGRAM_SECONDS}=([0-9.]+)"}
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": VALIDATION_ACCURACY},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": trials,
                "MaxParallelTrainingJobs": min(PARALLEL, trials),
            },
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "learning_rate", "MinValue": "0.0005", "MaxValue": "0.005"}
                ]
            },
            "RandomSeed": 1,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {
                "sagemaker_program": "timed.py",
                "sagemaker_submit_directory": "s3://benchmark/sourcedir.tar.gz",
                "sagemaker_torch_distributed_enabled": "true",  # as in the pipeline's definition
                "trainable": "last_block",
                "engines": "0",
                **hyperparameters,
            },
            "AlgorithmSpecification": {
                "TrainingImage": "none",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": metric, "Regex": regex} for metric, regex in regexes.items()],
            },
            "RoleArn": "arn:aws:iam::123456789012:role/benchmark",
            "InputDataConfig": [
                {
                    "ChannelName": channel,
                    "DataSource": {
                        "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://benchmark/{channel}"}
                    },
                }
                for channel in (TRAIN, VALIDATION, PRETRAINED)
            ],
            "OutputDataConfig": {"S3OutputPath": f"s3://benchmark/{name}"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        },
    }


def tune(sagemaker: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Run a tuning job to its end; return its figures.

    Raises:
        SystemExit: a trial failed.
    """
    name = {"HyperParameterTuningJobName": asked["HyperParameterTuningJobName"]}
    sagemaker.create_hyper_parameter_tuning_job(**asked)
    while (job := sagemaker.describe_hyper_parameter_tuning_job(**name))[
        "HyperParameterTuningJobStatus"
    ] == "InProgress":
        time.sleep(POLL_S)
    summaries = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        **name, SortBy="CreationTime", SortOrder="Ascending", MaxResults=100
    )["TrainingJobSummaries"]
    trials = [sagemaker.describe_training_job(TrainingJobName=s["TrainingJobName"]) for s in summaries]
    for trial in trials:
        if trial["TrainingJobStatus"] != "Completed":
            sys.exit(f"{trial['TrainingJobName']}: {trial.get('FailureReason', trial['TrainingJobStatus'])}")
    metrics = [{m["MetricName"]: m["Value"] for m in trial["FinalMetricDataList"]} for trial in trials]
    training_s = [values[PROGRAM_SECONDS] for values in metrics]
    other_s = [
        (trial["TrainingEndTime"] - trial["CreationTime"]).total_seconds() - seconds
        for trial, seconds in zip(trials, training_s, strict=True)
    ]
    return {
        "seconds": (job["HyperParameterTuningEndTime"] - job["CreationTime"]).total_seconds(),
        "until_first_trial_s": (trials[0]["CreationTime"] - job["CreationTime"]).total_seconds(),
        "training_s": statistics.median(training_s),
        "not_training_s": statistics.median(other_s),
        "not_training_max_s": max(other_s),
        "accuracies": [values[VALIDATION_ACCURACY] for values in metrics],
    }


def measure(data: Path, weights: Path, trials: int, epochs: int) -> dict[str, Any]:
    """The figures of both ways to start the same trials."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        pictures = usable(data, Path(folder) / "data")
        with LocalService(Path(folder) / "home") as service:
            fill(service, pictures, weights)
            sagemaker, shared = service.client("sagemaker"), {"epochs": str(epochs)}
            return {
                "trials": trials,
                "parallel": min(PARALLEL, trials),
                "epochs": epochs,
                "goal_s": GOAL_S,
                "forked": tune(sagemaker, request("forked", trials, shared)),
                "toolkit": by_the_toolkit(sagemaker, request("toolkit", trials, shared)),
            }


def by_the_toolkit(sagemaker: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Like `tune`, with a service that forks no jobs."""
    with patch.object(forks, "_forkable", return_value=False):
        return tune(sagemaker, asked)


def table(figures: dict[str, Any]) -> Table:
    title = f"{figures['trials']} trials, {figures['parallel']} at a time, {figures['epochs']} epochs each"
    result = Table("seconds", title=title)
    for head in ("forked", "by the toolkit", "goal"):
        result.add_column(head, justify="right")
    rows = {
        "seconds": "the tuning job",
        "until_first_trial_s": "until its first trial is created",
        "training_s": "training, median trial",
        "not_training_s": "not training, median trial",
        "not_training_max_s": "not training, slowest trial",
    }
    for key, name in rows.items():
        goal = f"under {figures['goal_s']}" if key == "not_training_s" else ""
        result.add_row(name, f"{figures['forked'][key]:.2f}", f"{figures['toolkit'][key]:.2f}", goal)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train and val")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a ResNet18 state dict")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    for folder in (arguments.data / "train", arguments.data / "val"):
        if not folder.is_dir():
            parser.error(f"{folder} is not a folder; --data must hold train and val")
    if not arguments.weights.is_file():
        parser.error(f"{arguments.weights} is not a file; --weights must be a ResNet18 state dict")
    if not 1 <= arguments.trials <= 100 or arguments.epochs < 1:
        parser.error("--trials must be between 1 and 100, --epochs at least 1")
    try:
        figures = measure(arguments.data, arguments.weights, arguments.trials, arguments.epochs)
    except DatasetError as error:
        parser.error(str(error))
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
