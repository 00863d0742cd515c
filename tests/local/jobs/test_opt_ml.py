"""A job's own /opt/ml: programs that name it literally, parallel jobs, and machines where it is
impossible."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from local.home.home import Home
from local.processes import opt_ml
from tests.local.conftest import clients
from tests.local.job_requests import finished, processing_request, put, training_request
from tests.local.machine import machine

OWN = pytest.mark.skipif(bool(opt_ml._obstacle("own")), reason=f"no mounts: {opt_ml._obstacle('own')}")
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user, or write to /opt")
PAGE = "docs/opt-ml.md"

# As in a public cross-validation pipeline; it uses no arguments.
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
    """As root this test becomes nobody, who must be able to reach the folders, so they are not in
    tmp_path."""
    said = "id -u; id -g; pwd; echo x > file; ls /opt/ml; mkdir /opt/mine; exit 7"
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        before = machine()
        command = [
            sys.executable,
            "-c",
            AS_NOBODY,
            str(opt_ml.LAUNCHER.parent),
            "",
            "own",
            name,
            "/bin/sh",
            "-c",
            said,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=name)
        assert (ran.stdout.split(), ran.returncode) == (["65534", "65534", "/opt/ml", "file"], 7), ran.stderr
        assert (Path(name, "file").stat().st_uid, machine()) == (65534, before)


# Becomes nobody and then `python -m local`. Files that a user cannot reach here, such as a Python in /root,
# are mounted in their place for this process alone.
SERVICE_OF_A_USER = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
import launcher
launcher._leave_mounts()
needed = [path.split(":") for path in sys.argv[3:]]
opened = [(closed, path, os.open(path, os.O_PATH | os.O_DIRECTORY)) for closed, path in needed]
for closed in sorted({closed for closed, _, _ in opened}):
    launcher._mount("tmpfs", closed, 0, "tmpfs", "mode=755")
for _, path, descriptor in opened:
    os.makedirs(path)
    launcher._mount(f"/proc/self/fd/{descriptor}", path, launcher._BIND | launcher._RECURSIVE)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
os.execv(sys.executable, [sys.executable, "-m", "local", "--port", "0", "--home", sys.argv[2]])
"""
NAMES_IT = """
import os, pathlib
ml = pathlib.Path("/opt" + "/ml")  # as it stands in a file of its own, which nobody rewrites
text = (ml / "processing/input/data/x.txt").read_text()
(ml / "processing/output/said.txt").write_text(f"{os.getuid()} {text}")
"""


def closed_to_others():
    """CLOSED:PATH for each folder that the service needs and a user cannot reach because CLOSED is closed."""
    code = Path(__file__).resolve().parents[3]
    for path in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), code}:
        for folder in (*reversed(path.parents), path):
            if folder.stat().st_mode & 0o005 != 0o005:
                yield f"{folder}:{path}"
                break


@OWN
@ROOT
def test_a_whole_service_of_a_user_gives_it_to_its_jobs():
    request = json.loads(json.dumps(processing_request(NAMES_IT)).replace("s3://b/", "s3://pictures/"))
    code = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, 65534, 65534)
        before = machine()
        command = [sys.executable, "-c", SERVICE_OF_A_USER, str(opt_ml.LAUNCHER.parent), f"{name}/home"]
        service = subprocess.Popen(
            [*command, *closed_to_others()],
            cwd=code,
            env={"PATH": os.environ["PATH"], "HOME": name, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            client = clients(service.stdout.readline().partition(" ")[0])
            client("s3").create_bucket(Bucket="pictures")
            client("s3").put_object(Bucket="pictures", Key="in/x.txt", Body=b"w")
            sagemaker = client("sagemaker")
            sagemaker.create_processing_job(**request)
            deadline = time.monotonic() + 60
            while (job := sagemaker.describe_processing_job(ProcessingJobName="p"))[
                "ProcessingJobStatus"
            ] == "InProgress":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
            said = client("s3").get_object(Bucket="pictures", Key="out/said.txt")["Body"].read()
            assert (said, machine()) == (b"65534 w", before)
            service.send_signal(signal.SIGINT)
            assert service.wait(60) == 0
        finally:
            service.kill()
            service.communicate()


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
    assert first.startswith("note: no /opt/ml of its own here (LOCAL_OPT_ML is rewritten): ")
    for words in ("programs that name /opt/ml themselves", "FrameworkProcessor", str(folder / "ml"), PAGE):
        assert words in first


def test_the_page_that_the_log_names_tells_of_the_variable_and_the_note():
    text = (Path(__file__).resolve().parents[3] / PAGE).read_text(encoding="utf-8")
    for words in (f"`{opt_ml.VARIABLE}={opt_ml.REWRITTEN}`", opt_ml.NOTE, "--cap-add SYS_ADMIN", "macOS"):
        assert words in text


@pytest.mark.usefixtures("forced")
def test_without_it_a_program_that_names_it_fails_and_changes_nothing_there(control, home):
    """Also as root, who could write there."""
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
    with pytest.raises(ValueError, match=r"LOCAL_OPT_ML is 'yes'; unset it, or set it to 'rewritten'"):
        opt_ml.opt_ml(tmp_path / "ml")
