"""SIGKILL of a real service: nothing continues without it, and the next one finds an intact home."""

import contextlib
import io
import logging
import os
import shutil
import sys
import threading
import time
import zipfile
from pathlib import Path

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local import service as service_module
from local.home.home import Home
from local.service import LocalService
from tests import forked
from tests.local.endpoint_service import APP, pack
from tests.local.job_requests import ROLE, script

ROOT = Path(__file__).resolve().parents[2]
# With a child in its own session, like torchrun's.
JOB = (
    "import subprocess, time\n"
    "print('up', subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)\n"
    "time.sleep(600)\n"
)
HANDLER = "import time\n\ndef handler(event, context):\n    print('up', flush=True)\n    time.sleep(600)\n"


class Killed:
    """A service in its own process, and boto3's clients of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        command = ["-m", "local", "--home", str(home), "--port", "0"]
        self.program = forked.Program(command, ROOT, os.environ)
        self.url = next(self.program.lines()).split()[0]

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def end(self) -> None:
        if self.program.returncode is None:
            self.program.kill()
        with contextlib.suppress(FileNotFoundError):  # its output was read
            self.program.communicate(30)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.program.pid).children(recursive=True)


@pytest.fixture
def served(tmp_path):
    """served() starts a service over tmp_path / "home"; none is left afterwards."""
    with contextlib.ExitStack() as ended:

        def served() -> Killed:
            service = Killed(tmp_path / "home")
            ended.callback(service.end)
            return service

        yield served


def running(family):
    return [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def gone_within(family, seconds):
    deadline = time.monotonic() + seconds
    while running(family) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(family)


def soon(condition):
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def start_job(service, name="p"):
    service.client("sagemaker").create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={"ImageUri": "image", "ContainerEntrypoint": [sys.executable, script(JOB)]},
        ProcessingResources={
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
    )
    log = service.home / "processing-jobs" / name / "log.txt"
    soon(lambda: log.exists() and "up" in log.read_text())


def start_function(service):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("f.py", HANDLER)
    functions = service.client("lambda")
    functions.create_function(
        FunctionName="f",
        Runtime="python3.12",
        Role=ROLE,
        Handler="f.handler",
        Timeout=600,
        Code={"ZipFile": archive.getvalue()},
    )

    def invoke():
        with contextlib.suppress(Exception):  # the service is killed meanwhile
            functions.invoke(FunctionName="f")

    threading.Thread(target=invoke, daemon=True).start()
    log = soon(lambda: list((service.home / "invocations").glob("*/log")))[0]
    soon(lambda: "up" in log.read_text())


def start_endpoint(service):
    sagemaker = service.client("sagemaker")
    pack(Home(service.home), "m.tar.gz", app_py=APP)
    container = {"Image": "i", "ModelDataUrl": "s3://bucket/m.tar.gz"}
    sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    soon(lambda: sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService")


def litter(service):
    """The work that a service is doing when it is killed; some of it never lasts long."""
    s3 = service.client("s3")
    s3.create_bucket(Bucket="pictures")
    upload = s3.create_multipart_upload(Bucket="pictures", Key="k")["UploadId"]
    s3.upload_part(Bucket="pictures", Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    (service.home / "s3" / ".temporary" / "0123").write_text("half an object")
    (service.home / "s3" / ".temporary" / "staged").mkdir()
    (service.home / "s3" / ".temporary" / "staged" / "0").write_text("half a model")
    partial = service.home / "functions" / "f" / "0123.4567.partial"
    partial.mkdir()
    ml = service.home / "tuning-jobs" / "h" / "ml"
    (ml / "code").mkdir(parents=True)
    (model,) = (service.home / "endpoints" / "e" / "c").glob("ml-*")
    (invocation,) = (service.home / "invocations").iterdir()
    uploads = service.home / "s3" / ".uploads"
    return [*(service.home / "s3" / ".temporary").iterdir(), uploads / upload, partial, ml, model, invocation]


def test_nothing_outlives_a_killed_service_and_the_next_one_sweeps(served, caplog):
    service = served()
    start_job(service)
    start_endpoint(service)
    start_function(service)
    left = litter(service)
    family = service.family()
    assert len(family) >= 5  # the guard, the job, its child, the model server, the function
    assert len(list((service.home / "processes").iterdir())) == 3
    service.program.kill()
    assert gone_within(family, 10)
    assert list((service.home / "processes").iterdir()) == []
    assert len(left) == 7 and all(path.exists() for path in left)
    with caplog.at_level(logging.WARNING), LocalService(service.home) as again:
        assert [path for path in left if path.exists()] == []
        sagemaker = again.client("sagemaker")
        job = sagemaker.describe_processing_job(ProcessingJobName="p")
        assert job["ProcessingJobStatus"] == "Failed"
        assert "the local service ended" in job["FailureReason"]
        assert again.client("s3").list_multipart_uploads(Bucket="pictures").get("Uploads", []) == []
        soon(lambda: sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService")
    assert caplog.records == []


def test_what_outlives_the_guard_as_well_is_ended_by_the_next_service(served, caplog):
    service = served()
    start_job(service)
    family = service.family()
    (guard,) = [process for process in family if "guard" in process.cmdline()]
    guard.kill()
    service.program.kill()
    family.remove(guard)
    assert not gone_within(family, 0.5) and len(running(family)) == 2
    stranger = psutil.Popen(["sleep", "60"], start_new_session=True)
    # Records its pid, as if an earlier process had had it.
    (file,) = (service.home / "processes").iterdir()
    text = file.read_text().replace(f'"pid": {int(file.name.partition("-")[0])}', f'"pid": {stranger.pid}')
    (file.with_name("stranger.json")).write_text(text)
    try:
        with caplog.at_level(logging.WARNING), LocalService(service.home):
            assert not running(family)
        assert stranger.is_running() and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    (told,) = caplog.records
    assert told.message.startswith("ended process ") and "left: " in told.message


def test_an_upload_continues_with_the_service_that_comes_after_one_that_was_not_killed(tmp_path):
    with LocalService(tmp_path) as service:
        s3 = service.client("s3")
        s3.create_bucket(Bucket="pictures")
        upload = s3.create_multipart_upload(Bucket="pictures", Key="k")["UploadId"]
    with LocalService(tmp_path) as service:
        (found,) = service.client("s3").list_multipart_uploads(Bucket="pictures")["Uploads"]
        assert found["UploadId"] == upload


def test_a_service_whose_home_is_deleted_says_so_in_one_line_and_ends(served):
    service = served()
    start_job(service)
    family = service.family()
    shutil.rmtree(service.home)
    _, errors = service.program.communicate(30)
    assert service.program.returncode == 2
    assert errors == (
        f"local: {service.home} was deleted or moved while the local service ran;"
        " put it back if you have it, and start again\n"
    )
    assert gone_within(family, 5)
    assert not service.home.exists()


@pytest.mark.parametrize("changed", ["deleted", "another's"])
def test_a_request_to_a_service_without_a_home_is_refused_and_writes_nothing(tmp_path, monkeypatch, changed):
    monkeypatch.setattr(service_module, "_WATCH_S", 0.1)
    told = []
    home = tmp_path / "home"
    with LocalService(home, when_gone=told.append) as service:
        service.client("s3").create_bucket(Bucket="pictures")
        home.rename(tmp_path / "elsewhere")
        if changed == "another's":
            LocalService(home).stop()
        soon(lambda: told)
        for refused in (
            lambda: service.client("s3").put_object(Bucket="pictures", Key="k", Body=b"x"),
            lambda: service.client("sagemaker").list_endpoints(),
        ):
            with pytest.raises(ClientError, match=f"{home} was deleted or moved") as refusal:
                refused()
            metadata = refusal.value.response["ResponseMetadata"]
            assert (metadata["HTTPStatusCode"], metadata["RetryAttempts"]) == (410, 0)
        assert home.exists() == (changed == "another's")
    assert len(told) == 2  # by the watching thread, and at the end
