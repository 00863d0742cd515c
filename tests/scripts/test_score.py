"""Scoring by batch transform, against a local service with a model of a few lines."""

import csv
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from local.service import LocalService
from scripts import score

SCRIPT = "score.py"
GROUP = "image-classification"
BUCKET = "image-classification-123456789012"
# What a picture shows is its first pixel's red; a dark green one is refused, a bright green one takes long.
APP = """
import asyncio, io, json
from PIL import Image

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status, answer = 200, {}
    if scope["path"] == "/invocations":
        assert dict(scope["headers"])[b"content-type"] == b"application/x-image"
        red, green, _ = Image.open(io.BytesIO(body)).convert("RGB").getpixel((0, 0))
        if green == 99:
            status, answer = 400, {"code": "invalid", "message": "The picture is too green."}
        elif green == 200:
            await asyncio.sleep(30)
        bees = red / 255
        label = "bees" if bees > 0.5 else "ants"
        answer = answer or {
            "label": label, "probabilities": {"ants": 1 - bees, "bees": bees},
            "known": green == 0, "score": 1.0,
        }
    elif scope["path"] == "/execution-parameters":
        status = 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A local service with two approved versions of the model, and one that is not."""
    with LocalService(tmp_path_factory.mktemp("home")) as service:
        service.client("s3").create_bucket(Bucket=BUCKET)
        for status in ("Approved", "Approved", "PendingManualApproval"):
            service.client("sagemaker").create_model_package(
                ModelPackageGroupName=GROUP,
                ModelApprovalStatus=status,
                InferenceSpecification={
                    "Containers": [{"Image": "image", "ModelDataUrl": artifact(service)}],
                    "SupportedContentTypes": ["application/x-image"],
                    "SupportedResponseMIMETypes": ["application/json"],
                },
            )
        yield service


def artifact(service):
    path = service.home.object_path(f"s3://{BUCKET}/model.tar.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("app.py")
        member.size = len(APP)
        tar.addfile(member, io.BytesIO(APP.encode()))
    return f"s3://{BUCKET}/model.tar.gz"


@pytest.fixture
def photos(tmp_path):
    """Three of ants and two of bees, of which one looks like ants; a copy, and a file that is no picture."""
    folder = tmp_path / "photos"
    paint(folder / "ants" / "1.png", 0)
    paint(folder / "ants" / "2.png", 51)
    paint(folder / "ants" / "copy of 2.png", 51)
    paint(folder / "bees" / "=1.png", 204)
    paint(folder / "bees" / "2: dark.jpg", 0)
    (folder / "bees" / "notes.txt").write_text("no picture")
    return folder


def paint(path, red, green=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (red, green, 0)).save(path)
    return path


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def jobs(service):
    listed = service.client("sagemaker").list_transform_jobs()["TransformJobSummaries"]
    return {item["TransformJobName"]: item["TransformJobStatus"] for item in listed}


def test_a_folder_is_scored_and_a_second_start_does_only_what_is_new(run, service, photos, tmp_path):
    before = jobs(service)
    done = run(SCRIPT, photos, "--output", "out", "--local", service.url, "--pictures-per-job", 3)
    assert done.returncode == 1, done.stderr  # the file that is no picture
    rows = table(tmp_path / "out" / "scores.csv")
    assert rows[0] == ["file", "label", "probability", "known"]
    assert rows[1:] == [
        ["ants/1.png", "ants", "1.0", "true"],
        ["ants/2.png", "ants", "0.8", "true"],
        ["ants/copy of 2.png", "ants", "0.8", "true"],
        ["bees/2: dark.jpg", "ants", "1.0", "true"],
        ["bees/=1.png", "bees", "0.8", "true"],
    ]
    (reason,) = table(tmp_path / "out" / "refused.csv")[1:]
    assert reason[0] == "bees/notes.txt"
    assert "accuracy 80 % of 5 pictures in folders named as classes (95 % interval 37.55 %" in done.stdout
    assert f"5 pictures are scored with version 2 of {GROUP}: out/scores.csv" in done.stdout
    assert f"refused: bees/notes.txt: {reason[1]}" in done.stderr
    assert len(jobs(service)) - len(before) == 2  # three contents, then one: the copy is scored once

    paint(photos / "bees" / "new.png", 255)
    (photos / "bees" / "notes.txt").unlink()
    (photos / "ants" / "1.png").unlink()
    again = run(SCRIPT, photos, "--output", "out", "--local", service.url, "--format", "parquet")
    assert again.returncode == 0, again.stderr
    assert "transform job" in again.stderr and ": 1 pictures on 1 ml.m5.2xlarge, 16 at once" in again.stderr
    found = pq.read_table(tmp_path / "out" / "scores.parquet").to_pydict()
    assert list(found) == ["file", "label", "probability", "known"]
    names = ["ants/2.png", "ants/copy of 2.png", "bees/2: dark.jpg", "bees/=1.png", "bees/new.png"]
    assert found["file"] == names
    assert found["known"] == [True] * 5
    assert not (tmp_path / "out" / "refused.csv").exists()
    third = run(SCRIPT, photos, "--output", "out", "--local", service.url)
    assert "transform job" not in third.stderr


def test_what_the_model_refuses_is_told_by_its_own_words_and_the_rest_is_scored(
    run, service, photos, tmp_path
):
    paint(photos / "ants" / "a: green.png", 0, green=99)
    done = run(SCRIPT, photos / "ants", "--version", 3, "--output", "out", "--local", service.url)
    assert done.returncode == 1, done.stderr
    assert f"3 pictures are scored with version 3 of {GROUP}" in done.stdout  # named, so it may be pending
    assert "refused: a: green.png: The picture is too green." in done.stderr
    assert table(tmp_path / "out" / "refused.csv") == [
        ["file", "reason"],
        ["a: green.png", "The picture is too green."],
    ]
    assert "Failed" in jobs(service).values()  # as AWS does it


def test_pictures_in_s3_are_read_in_place(run, refused, service, photos, tmp_path):
    s3 = service.client("s3")
    paint(photos / "ants" / "a: green.png", 0, green=99)
    for path in photos.rglob("*.*"):
        key = f"theirs/photos/{path.relative_to(photos).as_posix()}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    s3.put_object(Bucket=BUCKET, Key="theirs/photos-2/x.png", Body=b"another dataset")
    s3.put_object(Bucket=BUCKET, Key="theirs/photos/empty.png", Body=b"")
    url = f"s3://{BUCKET}/theirs/photos"
    done = run(SCRIPT, url, "--output", "out", "--local", service.url, "--version", 1)
    assert done.returncode == 1, done.stderr
    names = ["ants/1.png", "ants/2.png", "ants/copy of 2.png", "bees/2: dark.jpg", "bees/=1.png"]
    assert [row[0] for row in table(tmp_path / "out" / "scores.csv")[1:]] == names
    assert table(tmp_path / "out" / "refused.csv")[1:] == [
        ["ants/a: green.png", "The picture is too green."],
        ["empty.png", "is empty"],
    ]
    refused(
        run(SCRIPT, url, "--output", "out", "--local", service.url, "--version", 2),
        "out has results of version 1, not of 2; name another --output",
    )
    nothing = f"s3://{BUCKET}/theirs/phot"
    refused(run(SCRIPT, nothing, "--output", "o", "--local", service.url), "nothing is in", "theirs/phot/")


def test_bad_input_is_one_line(run, refused, service, photos, tmp_path):
    local = ("--local", service.url)
    refused(run(SCRIPT, "no-such", *local), "no-such is not a folder; give a folder with pictures, or s3://")
    refused(run(SCRIPT, photos, "--output", photos / "out", *local), "lies in", "name another --output")
    refused(run(SCRIPT, photos, "--version", 9, *local), f"{GROUP} has no version 9; there are 1 (Approved)")
    refused(run(SCRIPT, "s3://B", *local), "s3://B is not an S3 URI")
    (tmp_path / "empty").mkdir()
    refused(run(SCRIPT, "empty", *local), "no pictures found in", "give a file that is")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "scoring.sqlite").write_bytes(b"no database at all" * 99)
    refused(run(SCRIPT, photos, "--output", "broken", *local), "damaged or in use", "another --output")


def start(photos, tmp_path, url):
    """score.py as a process that can be interrupted; its first line names the job."""
    command = [sys.executable, Path(score.__file__), photos, "--output", "out", "--local", url]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    return process, process.stderr.readline().split()[2].rstrip(":")


def wait_until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_leaves_the_job_and_the_next_start_goes_on_with_it(run, service, tmp_path):
    slow = paint(tmp_path / "photos" / "slow.png", 0, green=200)
    process, name = start(slow.parent, tmp_path, service.url)
    wait_until(lambda: jobs(service).get(name) == "InProgress")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"transform job {name} goes on" in said
    assert f"aws sagemaker stop-transform-job --transform-job-name {name}" in said
    assert jobs(service)[name] == "InProgress"

    service.client("sagemaker").stop_transform_job(TransformJobName=name)
    wait_until(lambda: jobs(service)[name] == "Stopped")
    stopped = run(SCRIPT, slow.parent, "--output", "out", "--local", service.url)
    assert stopped.returncode == 1
    assert f"transform job {name} is Stopped" in stopped.stdout
    assert "1 pictures are left, and the same command goes on with them" in stopped.stdout
    paint(slow, 255)
    done = run(SCRIPT, slow.parent, "--output", "out", "--local", service.url)
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "out" / "scores.csv")[1:] == [["slow.png", "bees", "1.0", "true"]]
