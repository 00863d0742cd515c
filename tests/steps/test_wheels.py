"""Wheels next to the code: pinned, canonical without a download, and found by pip without an index."""

import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from local.home.home import Home
from local.home.store import Store
from scripts.lock_wheels import BESIDES
from steps import code, wheels
from steps.code import Bundle
from steps.wheels import Lock, WheelsError
from tests.local.job_requests import (
    control_plane,
    finished,
    job_services,
    processing_request,
    put,
    training_request,
)
from tests.steps.test_code import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
WITH_WHEELS = ("split", "tune", "train", "train_debugged", "evaluate")
# What the images hold in any case: docker/pytorch/2.13/cpu/uv.lock, and FastAPI's starlette under Ray Serve.
CODE = "/opt/ml/processing/code"
IN_IMAGE = {"psutil", "requests", "starlette"}


def requirements(text: bytes) -> dict[str, Requirement]:
    lines = [line for line in text.decode().splitlines() if line and not line.startswith(("#", "--"))]
    return {item.name: item for item in map(Requirement, lines)}


@pytest.fixture
def no_pip(monkeypatch):
    """Any start of pip fails."""

    def refuse(*_, **__):
        raise AssertionError("a digest needs no download")

    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A wheel that pip finds without an index, and its lock."""
    folder = tmp_path / "links"
    folder.mkdir()
    path = folder / "tiny_thing-1.0-py3-none-any.whl"
    info = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_thing.py", "x = 1\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, Lock("3.12", (f"tiny-thing==1.0 --hash=sha256:{digest}",))


@pytest.mark.parametrize("name", [*WITH_WHEELS, "serving"])
def test_what_is_brought_has_the_version_of_the_constraints_and_fits_the_requirements(name):
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()) | BESIDES
    brought = dict(line.partition(" ")[0].split("==") for line in wheels.locked(name).lines)
    assert brought == {item: pinned[item] for item in wheels.LACKING[name][1]}
    wanted = requirements(
        (ROOT / "entrypoints/requirements/serving.txt").read_bytes()
        if name == "serving"
        else code.bundles()[name].files["requirements.txt"]
    )
    assert wanted.keys() - brought.keys() <= IN_IMAGE
    assert [
        str(item)
        for item in wanted.values()
        if item.name in brought and brought[item.name] not in item.specifier
    ] == []


def test_what_smdebug_needs_is_brought_too():
    """Its dependencies, and theirs, are in the bundle, except those that the training image has anyway."""
    held = {"boto3", "packaging"}
    needed, todo = set(), ["smdebug"]
    while todo:
        name = todo.pop()
        needed.add(name)
        for item in map(Requirement, distribution(name).requires or ()):
            wanted = item.marker is None or item.marker.evaluate({"extra": ""})
            if wanted and item.name not in needed | held:
                todo.append(item.name)
    assert {name.replace("-", "_").lower() for name in needed} <= set(wheels.LACKING["train_debugged"][1])


@pytest.mark.usefixtures("no_pip")
def test_the_digests_name_the_wheels_and_need_no_download():
    index, bundle = code.bundles(), code.bundles(package_source="bundle")
    changed = {name for name in index if index[name].digest != bundle[name].digest}
    assert changed == set(WITH_WHEELS)
    assert code.digests(code.bundles(package_source="bundle")) == code.digests(bundle)
    for name in WITH_WHEELS:
        files = bundle[name].files
        assert (
            files["requirements.txt"]
            == b"--no-index\n--find-links wheels\n" + index[name].files["requirements.txt"]
        )
        assert files["wheels.txt"] == wheels.locked(name).text
    serving = "entrypoints/requirements/serving.txt"
    assert bundle["tune"].files[serving] == index["tune"].files[serving]
    for name in ("train", "train_debugged"):
        assert bundle[name].files[serving] == wheels.offline(index[name].files[serving])
        assert b"Python 3.13" in bundle[name].files["entrypoints/requirements/wheels.txt"]


def test_another_wheel_is_another_digest(monkeypatch):
    before = code.bundles(package_source="bundle")
    (lines, python) = (wheels.locked("tune").lines, "3.12")
    other = Lock(python, (lines[0].replace("sha256:", "sha256:0"),))
    monkeypatch.setattr(wheels, "locked", lambda *_: other)
    assert code.bundles(package_source="bundle")["tune"].digest != before["tune"].digest


def test_the_wheels_are_uploaded_beside_the_code(s3, uploaded, monkeypatch):
    monkeypatch.setattr(wheels, "fetch", lambda lock: {f"for-{lock.python}.whl": b"wheel"})
    bundles = code.bundles(package_source="bundle")
    code.upload(s3, SETTINGS, [bundles["evaluate"], bundles["train"]])
    folder = code.url(SETTINGS, "evaluate", bundles["evaluate"].digest)
    assert f"{folder.removeprefix('s3://pictures/')}wheels/for-3.13.whl" in uploaded(folder)
    with tarfile.open(fileobj=io.BytesIO(bundles["train"].archive())) as archive:
        assert {"wheels/for-3.12.whl", "entrypoints/requirements/wheels/for-3.13.whl"} <= set(
            archive.getnames()
        )


def test_pip_is_asked_once_and_installs_from_beside_the_requirements(tiny, tmp_path, monkeypatch):
    path, lock = tiny
    expected = {path.name: path.read_bytes()}
    assert wheels.fetch(lock, tmp_path / "cache") == expected
    path.unlink()
    assert wheels.fetch(lock, tmp_path / "cache") == expected

    bundle = tmp_path / "bundle"
    (bundle / "wheels").mkdir(parents=True)
    (bundle / "wheels" / path.name).write_bytes(expected[path.name])
    (bundle / "requirements.txt").write_bytes(wheels.offline(b"tiny-thing\n"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    command = [sys.executable, "-m", "pip", "install", "--target", tmp_path / "installed"]
    subprocess.run([*command, "-r", bundle / "requirements.txt"], cwd="/", check=True, capture_output=True)
    assert (tmp_path / "installed/tiny_thing.py").is_file()


@pytest.fixture
def index():
    """An empty package index on this machine; yields the requests to it."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_jobs_on_the_laptop_install_from_their_bundles_and_ask_no_index(tiny, tmp_path, monkeypatch, index):
    _, lock = tiny
    url, asked = index
    monkeypatch.setattr(wheels, "fetch", partial(wheels.fetch, cache=tmp_path / "cache"))
    program = (
        "import os, sys\n"
        "sys.path.insert(0, os.environ['PIP_TARGET'])\n"  # a job must not change this environment
        "import tiny_thing\n"
        "print('installed', tiny_thing.x)\n"
    )

    def bundle(name, form, program_name, requirements):
        files = {"entrypoints/__init__.py": b"", f"entrypoints/{program_name}.py": program.encode()}
        files |= {"requirements.txt": requirements, "run.sh": (ROOT / "entrypoints/run.sh").read_bytes()}
        return Bundle(name, form, files, {"wheels": lock})

    def environment(name):
        """The environment of a job that would use the index if its bundle did not prevent that."""
        return {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": url, "PIP_TARGET": str(tmp_path / name)}

    home = Home(tmp_path / "home")
    store = Store(home.database)
    with job_services(home, store) as services:
        control = control_plane(services)

        def job(kind, name, request):
            control.call(f"Create{kind}", {**request, f"{kind}Name": name, "Environment": environment(name)})
            record = finished(control, kind, name)
            log = home.folder(f"{kind.removesuffix('Job').lower()}-jobs", name) / "log.txt"
            return record[f"{kind}Status"], log.read_text()

        archive = tmp_path / "sourcedir.tar.gz"
        archive.write_bytes(bundle("tune", "tar", "train", wheels.offline(b"tiny-thing\n")).archive())
        request = training_request("")
        request["AlgorithmSpecification"] = {"TrainingImage": "image", "TrainingInputMode": "File"}
        script = {"sagemaker_program": code.TRAINING_PROGRAM, "sagemaker_submit_directory": str(archive)}
        put(home, "s3://b/in/x", "x")
        status, log = job("TrainingJob", "trains", {**request, "HyperParameters": script})
        assert (status, "installed 1" in log, asked) == ("Completed", True, []), log

        for name, requirements, expected in (
            ("offline", wheels.offline(b"tiny-thing\n"), ("Completed", True, [])),
            ("asking", b"tiny-thing\n", ("Failed", False, ["/tiny-thing/"])),  # so that it would be noticed
        ):
            made = bundle("evaluate", "files", "evaluate", requirements)
            for path, content in made.contents().items():
                place = home.object_path(f"s3://b/{name}/{path}")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            request = processing_request("")
            request["AppSpecification"]["ContainerEntrypoint"] = ["/bin/bash", f"{CODE}/run.sh", "evaluate"]
            request["ProcessingInputs"][0]["S3Input"] |= {"S3Uri": f"s3://b/{name}/", "LocalPath": CODE}
            status, log = job("ProcessingJob", name, request)
            assert (status, "installed 1" in log, asked) == expected, log
    store.close()


def test_a_file_that_is_not_the_pinned_one_is_refused_in_one_line(tiny, tmp_path):
    _, lock = tiny
    other = replace(lock, lines=(lock.lines[0][:-64] + "0" * 64,))
    with pytest.raises(WheelsError, match=r"set package_source to index$") as caught:
        wheels.fetch(other, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_list_without_one_says_how_it_is_written(tmp_path):
    path = wheels.list_for("3.12", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("pi-heif==1.4.0 --hash=sha256:0\n")
    with pytest.raises(ValueError, match=r"lacks safetensors; write it again with scripts/lock_wheels\.py"):
        wheels.locked("tune", tmp_path)
