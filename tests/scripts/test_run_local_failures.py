"""Runs that fail, are interrupted or never begin."""

import json
import signal
import time

import psutil
import pytest

from local.service import LocalService
from tests.scripts.runs import SMALL, make_pictures, start


def test_a_program_that_fails_tells_its_reason(tmp_path):
    """A weights file of another network stops the first trial; its own words reach the person."""
    import torch

    torch.save({"nothing.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    pictures = make_pictures(tmp_path / "pictures", 3)
    process = start(
        *("--data", pictures, "--home", tmp_path / "home", "--weights", tmp_path / "weights.pth", *SMALL),
        *("--summary", tmp_path / "summary.json"),
    )
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, output + errors
    assert "weights.pth is not a ResNet18 of torchvision: it lacks " in output
    assert "Traceback" not in output + errors
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "Failed"
    assert summary["steps"][-1]["name"] == "TuneHyperparameters"
    assert summary["test_accuracy"] is None


@pytest.mark.parametrize("step", ["SplitDataset", "TuneHyperparameters"])
def test_an_interrupted_run_leaves_no_process_and_says_what_was_kept(tmp_path, step):
    pictures = make_pictures(tmp_path / "pictures", 3)
    home = tmp_path / "home"
    process = start("--data", pictures, "--home", home, *SMALL)
    folder = home / {"SplitDataset": "processing-jobs", "TuneHyperparameters": "training-jobs"}[step]
    deadline = time.monotonic() + 120
    while not list(folder.glob("*/log.txt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) > 1
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("run_local.py: interrupted: ") and str(home) in last
    assert "Traceback" not in errors
    assert not [p for p in family[1:] if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    # What was kept can be read: the execution is there, and it is stopped.
    with LocalService(home) as service:
        sagemaker = service.client("sagemaker")
        found = sagemaker.list_pipeline_executions(PipelineName="image-classification")
        statuses = [e["PipelineExecutionStatus"] for e in found["PipelineExecutionSummaries"]]
    assert statuses == ["Stopped"]


def test_two_runs_at_once_on_one_home(tmp_path, run, refused):
    pictures = make_pictures(tmp_path / "pictures", 3)
    with LocalService(tmp_path / "home") as service:
        done = run("run_local.py", "--data", pictures, "--home", tmp_path / "home")
        refused(done, "is in use", service.url, "--home")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "missing"], ("missing", "not a folder")),
        (["--weights", "missing.pth"], ("missing.pth", "none, imagenet")),
        (["--local", "http://127.0.0.1:1"], ("start_execution.py",)),
        (["--summary", "missing/s.json"], ("missing/s.json",)),
        (["--summary", "pictures"], ("pictures", "name a file")),
        (["--home", "pictures/ants/0.png"], ("0.png", "Not a directory")),
        (["--parameter", "AccuracyThreshold=2"], ("AccuracyThreshold",)),
    ],
)
def test_wrong_arguments_are_refused_before_any_job(run, refused, tmp_path, arguments, words):
    data = [] if "--data" in arguments else ["--data", make_pictures(tmp_path / "pictures", 3)]
    refused(run("run_local.py", "--home", tmp_path / "home", *data, *arguments), *words)


def test_a_dataset_that_cannot_be_trained_on_is_refused_before_any_job(run, refused, tmp_path):
    pictures = make_pictures(tmp_path / "pictures", 3)
    for picture in (pictures / "wasps").glob("[01].png"):
        picture.unlink()
    refused(run("run_local.py", "--home", tmp_path / "home", "--data", pictures), "wasps", "3")
    assert not (tmp_path / "home" / "processing-jobs").exists()
