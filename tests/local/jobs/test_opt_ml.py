"""A job's own /opt/ml: programs that name it themselves, jobs beside each other, and where it cannot be."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from local.home.home import Home
from local.processes import opt_ml
from tests.local.job_requests import finished, processing_request, put, training_request
from tests.local.machine import machine

OWN = pytest.mark.skipif(bool(opt_ml._obstacle("own")), reason=f"no mounts: {opt_ml._obstacle('own')}")
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user, or write to /opt")

# As a public cross-validation pipeline does; nothing comes from its arguments.
HARDCODED = """
import os, pathlib, shutil
for split in ("train", "test"):
    os.makedirs(f"/opt/ml/processing/{split}", exist_ok=True)
shutil.copy("/opt/ml/processing/input/data/x.txt", "/opt/ml/processing/train/x.txt")
os.symlink("/opt/ml/processing/train", "/opt/ml/processing/output/link")
said = f"{os.getcwd()} {os.listdir('/opt/ml/processing')}"
pathlib.Path("/opt/ml/processing/output/said.txt").write_text(said)
pathlib.Path("/opt/ml/output/message").write_text(os.environ["WHERE"])
"""


@OWN
def test_a_program_that_names_opt_ml_finds_its_inputs_and_outputs_there(control, home):
    put(home, "s3://b/in/x.txt", "w")
    before = machine()
    request = processing_request(HARDCODED, Environment={"WHERE": "/opt/ml/processing/input"})
    request["ProcessingOutputConfig"]["Outputs"].append(
        {
            "OutputName": "train",
            "S3Output": {
                "S3Uri": "s3://b/train",
                "LocalPath": "/opt/ml/processing/train",
                "S3UploadMode": "EndOfJob",
            },
        }
    )
    control.call("CreateProcessingJob", request)
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Completed", record
    assert record["ExitMessage"] == "/opt/ml/processing/input"
    assert home.object_path("s3://b/train/x.txt").read_text() == "w"
    said = home.object_path("s3://b/out/said.txt").read_text()
    assert said.startswith("/opt/ml [") and "'train'" in said
    assert machine() == before


@OWN
def test_a_program_that_is_not_there_is_named(control, home):
    put(home, "s3://b/in/x.txt", "w")
    request = training_request("")
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["/opt/ml/code/absent.sh"]
    control.call("CreateTrainingJob", request)
    reason = finished(control, "TrainingJob", "t")["FailureReason"]
    assert reason.startswith(
        "AlgorithmError: /opt/ml/code/absent.sh: No such file or directory, exit code: 127"
    )


@OWN
def test_jobs_beside_each_other_have_an_opt_ml_each(control, home):
    """A training by a ContainerEntrypoint; each waits until all have written."""
    put(home, "s3://b/in/x.txt", "w")
    program = (
        "import json, pathlib, sys, time\n"
        "name = sys.argv[1]\n"
        "place = pathlib.Path('/opt/ml/model/name')\n"
        "place.write_text(name)\n"
        "print('up', flush=True)\n"
        "while not pathlib.Path('/opt/ml/go').exists(): time.sleep(0.02)\n"
        "assert place.read_text() == name and [*place.parent.iterdir()] == [place]\n"
    )
    names = ("one", "two", "three")
    for name in names:
        request = training_request(program, TrainingJobName=name)
        request["AlgorithmSpecification"]["ContainerArguments"] = [name]
        control.call("CreateTrainingJob", request)
    folders = {name: home.folder("training-jobs", name) for name in names}
    deadline = time.monotonic() + 60
    while not all((folder / "ml/model/name").exists() for folder in folders.values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert {name: (folder / "ml/model/name").read_text() for name, folder in folders.items()} == {
        name: name for name in names
    }
    for folder in folders.values():
        (folder / "ml/go").touch()
    for name in names:
        assert finished(control, "TrainingJob", name)["TrainingJobStatus"] == "Completed"


AS_NOBODY = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
import launcher
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as a new program of that user has it
launcher.main(*sys.argv[2:])
"""


@OWN
@ROOT
def test_a_user_has_it_too_and_stays_who_he_is():
    """As root this test becomes nobody; the user must reach the folders, so they do not lie in tmp_path."""
    said = "id -u; id -g; pwd; echo x > file; ls /opt/ml; mkdir /opt/mine; exit 7"
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        before = machine()
        command = [
            sys.executable,
            "-c",
            AS_NOBODY,
            str(opt_ml.LAUNCHER.parent),
            "own",
            name,
            "/bin/sh",
            "-c",
            said,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=name)
        assert (ran.stdout.split(), ran.returncode) == (["65534", "65534", "/opt/ml", "file"], 7), ran.stderr
        assert (Path(name, "file").stat().st_uid, machine()) == (65534, before)


@pytest.fixture
def forced(monkeypatch):
    monkeypatch.setenv(opt_ml.VARIABLE, opt_ml.REWRITTEN)


@pytest.mark.usefixtures("forced")
def test_without_it_paths_are_rewritten_and_the_log_says_what_will_not_work(control, home):
    put(home, "s3://b/in/x.txt", "w")
    program = (
        "import os, pathlib, sys\n"
        "pathlib.Path(sys.argv[2], 'said').write_text(' '.join([*sys.argv[1:], os.environ['WHERE']]))"
    )
    control.call(
        "CreateProcessingJob", processing_request(program, Environment={"WHERE": "/opt/ml/processing/x"})
    )
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Completed", record
    folder = home.folder("processing-jobs", "p")
    paths = [f"{folder}/ml/processing/{name}" for name in ("input/data", "output", "x")]
    assert home.object_path("s3://b/out/said").read_text().split() == paths
    first = (folder / "log.txt").read_text().splitlines()[0]
    assert "programs that name /opt/ml themselves will not find it" in first and str(folder / "ml") in first


@pytest.mark.usefixtures("forced")
def test_without_it_a_program_that_names_it_fails_and_changes_nothing_there(control, home):
    """As root, who could write there, too."""
    put(home, "s3://b/in/x.txt", "w")
    before = machine()
    program = "import os; os.makedirs('/opt' + '/ml/processing/train')"  # what stands in a file of its own
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Failed"
    assert record["FailureReason"].startswith(
        "AlgorithmError: PermissionError: [Errno 13] Permission denied: '/opt/ml'"
    )
    assert machine() == before


@pytest.mark.usefixtures("forced")
def test_the_note_is_not_the_reason_of_a_failure(control, home):
    put(home, "s3://b/in/x.txt", "w")
    control.call("CreateTrainingJob", training_request("raise SystemExit(3)"))
    reason = finished(control, "TrainingJob", "t")["FailureReason"]
    assert reason.startswith("AlgorithmError: it wrote nothing, exit code: 3")


@pytest.mark.usefixtures("forced")
def test_a_job_that_could_write_into_the_machines_own_does_not_start(control, home, monkeypatch):
    monkeypatch.setattr(opt_ml, "_writable", lambda: True)
    monkeypatch.setattr(opt_ml, "_obstacle", lambda way: f"{way} is not to be had")
    put(home, "s3://b/in/x.txt", "w")
    control.call("CreateProcessingJob", processing_request("pass"))
    reason = finished(control, "ProcessingJob", "p")["FailureReason"]
    assert reason.startswith("ClientError: a program could write into the machine's own /opt/ml: ")
    assert "(guarded is not to be had); run the local service as a user who cannot write to /opt" in reason


def test_a_home_in_opt_ml_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(opt_ml, "OPT_ML", str(tmp_path))
    with pytest.raises(ValueError, match=r"choose a home folder elsewhere with --home"):
        opt_ml.opt_ml(Home(tmp_path / "home").folder("training-jobs", "t") / "ml")


def test_an_unknown_way_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(opt_ml.VARIABLE, "yes")
    with pytest.raises(ValueError, match=r"LOCAL_OPT_ML is 'yes'; leave it away, or set it to 'rewritten'"):
        opt_ml.opt_ml(tmp_path / "ml")
