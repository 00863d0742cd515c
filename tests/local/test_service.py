"""The service as a whole: how it starts, who may use a home, and how it ends running work."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import boto3
import psutil
import pytest

from local import __main__ as command
from local import service as service_module
from local.home.home import OtherRegion, UnfitHome
from local.home.lock import HomeInUse
from local.processes import ending
from local.service import LocalService
from tests.local.job_requests import script

ROOT = Path(__file__).resolve().parents[2]
ROLE = "arn:aws:iam::123456789012:role/execution"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(600)"
)


def start_job(sagemaker, program, name="p"):
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={"ImageUri": "image", "ContainerEntrypoint": [sys.executable, script(program)]},
        ProcessingResources={
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
    )


def client_of(url, service="sagemaker"):
    plane = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client(service, endpoint_url=url, **plane)


def said(log: Path, word="up"):
    deadline = time.monotonic() + 60
    while not (log.exists() and word in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_home_has_one_service_at_a_time(tmp_path):
    with LocalService(tmp_path) as first:
        with pytest.raises(HomeInUse, match=f"process {os.getpid()}, {first.url}"):
            LocalService(tmp_path)
        (tmp_path / "service.json").write_text('{"url": ')
        with pytest.raises(HomeInUse, match="is in use by another local service;"):
            LocalService(tmp_path)
    assert (tmp_path / "service.json").read_text() == ""
    with LocalService(tmp_path) as second:
        assert json.loads((tmp_path / "service.json").read_text())["url"] == second.url


def test_a_home_keeps_its_region(tmp_path):
    with LocalService(tmp_path, "eu-west-1"):
        pass
    told = f"^{tmp_path} belongs to region eu-west-1, not us-east-1; use region eu-west-1 .*--home$"
    for _ in range(2):  # a refused service does not block others
        with pytest.raises(OtherRegion, match=told):
            LocalService(tmp_path)
    with LocalService(tmp_path, "eu-west-1") as service:
        assert service.home.region == "eu-west-1"


def test_a_home_in_which_no_program_would_find_its_modules_is_refused_before_it_is_made(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a:b")
    for name in ("a:b", "a:b/home", "link"):
        with pytest.raises(
            UnfitHome, match=r"a:b.* has a ':' in its path.*; choose another folder with --home"
        ):
            LocalService(tmp_path / name)
    assert not (tmp_path / "a:b").exists()


def test_what_a_killed_service_left_in_service_json_is_not_believed(tmp_path):
    (tmp_path / "service.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}')
    holder = LocalService(tmp_path)
    with pytest.raises(HomeInUse, match="is in use by another local service;"):
        LocalService(tmp_path)
    holder.stop()


def test_damaged_records_are_set_aside_and_what_the_folders_hold_is_reported(tmp_path):
    with LocalService(tmp_path) as service:
        assert service.notes == []
        service.client("s3").create_bucket(Bucket="pictures")
        start_job(service.client("sagemaker"), "pass")
    (tmp_path / "records.sqlite").write_bytes(b"damaged" * 1000)
    with LocalService(tmp_path) as service:
        (note,) = service.notes
        assert "records.sqlite was damaged and is set aside as records.damaged-" in note
        assert f"the logs and files of 1 processing job, 1 bucket are still in {tmp_path}" in note
        assert [bucket["Name"] for bucket in service.client("s3").list_buckets()["Buckets"]] == ["pictures"]
        assert service.client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"] == []


def test_a_home_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    process = serve(tmp_path / "file" / "home")
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (2, "")
    assert errors == f"local: {tmp_path}/file/home: Not a directory; choose another folder with --home\n"


def test_an_interruption_while_it_starts_ends_what_has_begun(tmp_path, monkeypatch):
    service = LocalService(tmp_path)

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(service._deployments, "resume", interrupted)
    with pytest.raises(KeyboardInterrupt):
        service.start()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=5)
    with LocalService(tmp_path):  # the home is free again
        pass


def test_a_disk_that_is_full_when_it_starts_is_one_line(tmp_path, monkeypatch):
    service, write = LocalService(tmp_path), os.write

    def full(file, data):
        if file == service._lock.fileno():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=f"the disk that holds {tmp_path} is full .*make room and start again"):
        service.start()


def test_ending_does_not_wait_for_a_program_that_will_not(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "ENDING_S", 0.2)
    with LocalService(tmp_path) as service:
        start_job(service.client("sagemaker"), STUBBORN)
        said(tmp_path / "processing-jobs" / "p" / "log.txt")
        began = time.monotonic()
    assert time.monotonic() - began < 20
    with LocalService(tmp_path) as service:
        job = service.client("sagemaker").describe_processing_job(ProcessingJobName="p")
    assert job["ProcessingJobStatus"] == "Stopped"


def serve(home, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "local", "--home", str(home), "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program_and_its_jobs_and_a_second_one_at_once(tmp_path, number):
    process = serve(tmp_path / "a home, größer")
    url = process.stdout.readline().split()[0]
    start_job(client_of(url), STUBBORN)
    said(tmp_path / "a home, größer" / "processing-jobs" / "p" / "log.txt")
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < service_module.ENDING_S
    assert (process.returncode, errors) == (0, "")
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_fresh_home_has_the_bucket_that_the_settings_name_and_an_old_one_stays_as_it_is(tmp_path):
    named = tomllib.loads((ROOT / "pipeline.toml").read_text(encoding="utf-8"))["bucket"]
    for buckets in ([named], []):
        process = serve(tmp_path / "home")
        try:
            s3 = client_of(process.stdout.readline().split()[0], "s3")
            assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == buckets
            for bucket in buckets:
                s3.delete_bucket(Bucket=bucket)
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("text", "bucket"),
    [('bucket = "flowers"', "flowers"), ("", ""), (None, ""), ('bucket = ""', "")],
)
def test_the_bucket_that_settings_name(tmp_path, text, bucket):
    settings = tmp_path / "pipeline.toml"
    if text is not None:
        settings.write_text(text)
    assert command._named_bucket(settings, {}) == bucket
    assert command._named_bucket(settings, {"PIPELINE_BUCKET": "petals"}) == "petals"


@pytest.mark.parametrize(
    "text", ['bucket = "s3://flowers"', "bucket = 3", f'bucket = "{"x" * 64}"', "bucket"]
)
def test_a_bucket_that_cannot_be_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "pipeline.toml").write_text(text)
    with pytest.raises(command._Refusal, match=r"pipeline\.toml is.*start again") as refused:
        command._named_bucket(tmp_path / "pipeline.toml", {})
    assert "\n" not in str(refused.value)


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = serve(tmp_path / "home", "--port", port)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output == ""
    assert (
        errors
        == f"local: port {port} of 127.0.0.1 is taken; stop what listens there, or choose another port\n"
    )


@pytest.mark.parametrize("port", ["65536", "-1", "x"])
def test_a_port_that_is_none_is_refused(tmp_path, port):
    process = serve(tmp_path / "home", "--port", port)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--port" in errors and "Traceback" not in errors


def test_a_home_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    process = serve(tmp_path / "file" / "home")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert len(errors.splitlines()) == 1 and "Not a directory" in errors


def test_a_disk_that_is_full_before_there_is_a_home_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # mkdir's error for a folder's descriptor

    monkeypatch.setattr(Path, "mkdir", full)
    monkeypatch.setattr(sys, "argv", ["local", "--home", str(tmp_path / "home"), "--port", "0"])
    assert command.main() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"local: the disk that holds {tmp_path / 'home'} is full (")
    assert line.endswith("make room and start again")


# The service's wait at its end never succeeds; a model server represents its other children.
HUNG = """
import subprocess, sys, threading, local.service, local.__main__
local.service.{part} = lambda *_: threading.Event().wait()
subprocess.Popen(["sleep", "600"], start_new_session=True)
sys.exit(local.__main__.main())
"""


@pytest.mark.parametrize(
    ("number", "part"), [(signal.SIGINT, "LocalService._end"), (signal.SIGTERM, "JobService.close")]
)
def test_a_second_signal_ends_the_program_and_its_children_whatever_hangs(tmp_path, number, part):
    process = subprocess.Popen(
        [sys.executable, "-c", HUNG.format(part=part), "--home", str(tmp_path), "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().split()[0]
    start_job(client_of(url), STUBBORN)
    said(tmp_path / "processing-jobs" / "p" / "log.txt")
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < ending.GRACE_S + 3
    assert (process.returncode, errors) == (128 + number, "ended; some threads did not end within 5 s\n")
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
