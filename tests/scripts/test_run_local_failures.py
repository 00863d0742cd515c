"""Runs that fail, are interrupted or never start."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from config.settings import load
from local.processes.ending import GRACE_S
from local.service import LocalService
from scripts.training_data import find_dataset
from tests.local.full_disk import MESSAGE
from tests.scripts.runs import ROOT, SMALL, make_pictures, start

ENDLESS = ("--set", "tuning.learning_rate_min=1e30", "--set", "tuning.learning_rate_max=1e31")


def test_a_killed_run_continues_and_a_program_that_fails_tells_its_reason(tmp_path):
    """A huge learning rate stops the first trial; the user sees the trial's own message."""
    pictures, home = make_pictures(tmp_path / "pictures", 3), tmp_path / "home"
    process = start("--data", pictures, "--home", home, *ENDLESS, *SMALL)
    deadline = time.monotonic() + 200
    while not list((home / "tuning-jobs").glob("*/log.txt")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    process = start("--resume", "--home", home, "--summary", tmp_path / "summary.json")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, output + errors
    assert "try a smaller learning_rate" in output
    assert "Traceback" not in output + errors
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "Failed"
    assert summary["steps"][-1]["name"] == "TuneHyperparameters"
    assert summary["test_accuracy"] is None
    assert len(list((home / "processing-jobs").iterdir())) == 1  # the split is not repeated


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
    assert last.endswith(f"python scripts/run_local.py --home={home} --resume continues from there")
    # What was kept can be read: the execution is there, and this service does not resume it.
    with LocalService(home, resume=False) as service:
        sagemaker = service.client("sagemaker")
        found = sagemaker.list_pipeline_executions(PipelineName="image-classification")
        statuses = [e["PipelineExecutionStatus"] for e in found["PipelineExecutionSummaries"]]
    assert statuses == ["Stopped"]


def test_a_killed_run_leaves_no_process(tmp_path):
    """SIGKILL while it builds the definition: the service, and the processes of its own, are part of it."""
    records = tmp_path / "home" / "processes"
    pictures = make_pictures(tmp_path / "pictures", 3)
    process = start("--data", pictures, "--home", tmp_path / "home", *SMALL)
    deadline = time.monotonic() + 120
    while not any("upsert_pipeline.py" in path.read_text() for path in records.glob("*.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list(records.iterdir()) == []


def changed(change, *arguments):
    """Start run_local.py as users do, in a process where a part of the service is changed first."""
    program = f"import runpy, sys\nsys.argv[0] = 'run_local.py'\n{change}\n"
    program += f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"  # as Python does for a file
    program += f"runpy.run_path({str(ROOT / 'scripts' / 'run_local.py')!r}, run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_ctrl_c_ends_a_run_whose_service_hangs(tmp_path):
    pictures, home = make_pictures(tmp_path / "pictures", 3), tmp_path / "home"
    hung = "import threading, local.pipelines.executions\n"
    hung += "local.pipelines.executions.ExecutionService.stop = lambda _: threading.Event().wait()"
    process = changed(hung, "--data", pictures, "--home", home, *SMALL)
    while not list(home.glob("processing-jobs/*/log.txt")):
        assert process.poll() is None
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(signal.SIGINT)
    assert any("Ctrl-C again" in line for line in process.stderr)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < GRACE_S + 3
    assert process.returncode == 130, errors
    assert errors.endswith("ended; some threads did not end within 5 s\n") and "Traceback" not in errors
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_disk_that_is_full_when_a_job_begins_ends_the_run_with_what_to_do(tmp_path):
    pictures = make_pictures(tmp_path / "pictures", 3)
    full = (
        "import local.jobs.jobs\n"
        "fill = runpy.run_path('tests/local/full_disk.py')['fill']\n"
        "def carry_out(self, *rest, original=local.jobs.jobs.JobService._carry_out):\n"
        "    fill(self._store)\n"
        "    return original(self, *rest)\n"
        "local.jobs.jobs.JobService._carry_out = carry_out"
    )
    process = changed(full, "--data", pictures, "--home", tmp_path / "home", *SMALL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1, output + errors
    assert "SplitDataset Failed" in errors
    assert re.search(MESSAGE, output), output
    assert "Traceback" not in output + errors
    # There is room again. The failure was never written: a service that resumes would continue it.
    with LocalService(tmp_path / "home", resume=False) as service:
        found = service.client("sagemaker").list_pipeline_executions(PipelineName="image-classification")
    assert [e["PipelineExecutionStatus"] for e in found["PipelineExecutionSummaries"]] == ["Stopped"]


def test_two_runs_at_once_on_one_home(tmp_path, run, refused):
    pictures = make_pictures(tmp_path / "pictures", 3)
    with LocalService(tmp_path / "home") as service:
        done = run("run_local.py", "--data", pictures, "--home", tmp_path / "home")
        refused(done, "is in use", service.url, "--home")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "missing"], ("missing", "not a folder")),
        (["--weights", "missing.pth"], ("missing.pth", "imagenet or none")),
        (["--weights", ROOT / "README.md"], ("README.md", "must end in", "imagenet or none")),
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


def test_there_is_nothing_to_resume(run, refused, tmp_path):
    refused(run("run_local.py", "--resume", "--home", tmp_path / "none"), "there is no", "--home")
    home = tmp_path / "home"
    refused(
        run("run_local.py", "--resume", "--home", tmp_path, "--parameter", "Epochs=1"),
        "leave out --parameter",
    )
    home.mkdir()
    refused(run("run_local.py", "--resume", "--home", home), "has no execution here", "leave out --resume")


def test_what_the_split_makes_of_copies_is_told_before_any_job(run, refused, tmp_path, capsys):
    pictures = make_pictures(tmp_path / "pictures", 3)
    for name in ("0 again.png", "0 once more.png"):
        shutil.copyfile(pictures / "wasps" / "0.png", pictures / "wasps" / name)
    find_dataset(str(pictures), tmp_path, load(environ={}))
    assert "3 pictures have copies (identical bytes)" in capsys.readouterr().err
    shutil.copyfile(pictures / "wasps" / "0.png", pictures / "ants" / "a wasp.png")
    command = run("run_local.py", "--home", tmp_path / "home", "--data", pictures)
    refused(command, "'ants/a wasp.png'", "under two classes", "split.conflicting_labels")
    assert not (tmp_path / "home").exists()
