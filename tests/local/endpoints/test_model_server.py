"""An endpoint's model server: one that does not start, one that answers with an error or too late."""

import contextlib
import json
import sys
import tarfile
import threading
import time
from http.client import HTTPConnection, HTTPException

import psutil
import pytest

from local.endpoints import model_server
from local.home.home import Home
from local.processes import opt_ml, orphans
from local.processes.environment import base_environment
from local.wire.errors import ModelError
from tests.local.endpoint_service import APP, pack, serving
from tests.local.machine import machine


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path) as service:
        yield service


@pytest.mark.parametrize(
    ("app", "complaint"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        (
            "async def app(scope, receive, send):\n    raise ValueError('unhealthy')",
            "did not answer GET /ping",
        ),
    ],
)
def test_a_model_that_does_not_come_up_fails_its_endpoint(service, monkeypatch, app, complaint):
    monkeypatch.setattr(model_server, "HEALTHY_WITHIN_S", 2)
    service.config("one", app=app)
    described = service.create("one")
    assert described["EndpointStatus"] == "Failed"
    assert complaint in described["FailureReason"]


def test_a_model_without_app_py_says_what_it_holds(service):
    service.config("one")
    pack(service.home, "one.tar.gz", model_py="")
    assert service.create("one")["FailureReason"] == (
        "Endpoint e: s3://bucket/one.tar.gz: the model data has no app.py with an ASGI `app` at its root, "
        "only: model.py"
    )


def test_model_data_that_is_missing_or_damaged_or_escapes_is_named(service):
    service.config("one")
    archive = service.home.object_path("s3://bucket/one.tar.gz")
    archive.write_bytes(archive.read_bytes()[:100])
    assert (
        "s3://bucket/one.tar.gz: the model data cannot be unpacked" in service.create("one")["FailureReason"]
    )
    service.config("two")
    pack(service.home, "two.tar.gz", **{"../../app_py": APP})
    service.call("CreateEndpoint", {"EndpointName": "f", "EndpointConfigName": "two"})
    service.config("three")
    service.home.object_path("s3://bucket/three.tar.gz").unlink()
    service.call("CreateEndpoint", {"EndpointName": "g", "EndpointConfigName": "three"})
    service.deployments.stop()
    reasons = [service.call("DescribeEndpoint", {"EndpointName": name})["FailureReason"] for name in "fg"]
    assert "outside the destination" in reasons[0]
    assert reasons[1] == "Endpoint g: s3://bucket/three.tar.gz: the model data does not exist"


def test_an_error_of_the_container_reaches_the_caller_with_its_status(service):
    service.config("one")
    service.create("one")
    with pytest.raises(ModelError) as caught:
        service.invoke(b"fail")
    error = caught.value
    assert (error.code, error.status) == ("ModelError", 424)
    assert error.log_stream_arn.endswith("server.log")
    assert (error.original_status, error.original_message) == (400, "not a picture")
    assert error.message.startswith(
        'Received client error (400) from primary with message "not a picture". See '
    )


def test_an_invocation_that_takes_too_long_is_an_error(service, monkeypatch):
    monkeypatch.setattr(model_server, "INVOCATION_TIMEOUT_S", 0.2)
    service.config("one")
    service.create("one")
    with pytest.raises(ModelError, match=r"no answer within 0.2 s") as caught:
        service.invoke(b"sleep")
    assert caught.value.original_status == 0
    assert service.describe()["EndpointStatus"] == "InService"


def test_rays_own_ports_run_nothing_for_strangers(tmp_path):
    """Ray's agents listen on every interface: https://docs.ray.io/en/latest/ray-security/index.html"""
    try:
        model_server.require(model_server.RAY)
    except model_server.LaunchError as missing:
        pytest.skip(str(missing))
    files = {
        "app.py": "",
        "config.yaml": "applications: [{name: a, route_prefix: /, import_path: 'deployment:app'}]",
        "deployment.py": "from ray import serve\n\n\n@serve.deployment\nclass D: ...\n\n\napp = D.bind()",
    }
    with tarfile.open(tmp_path / "model.tar.gz", "w") as tar:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
            tar.add(tmp_path / name, name)
    server = model_server.launch(
        Home(tmp_path),
        tmp_path / "model.tar.gz",
        tmp_path / "endpoint",
        base_environment({}),
        model_server.RAY,
    )
    try:
        server.wait_until_healthy(threading.Event())
        statuses = [
            submit(connection.laddr, f"touch {tmp_path}/ran")
            for process in psutil.Process(server.pid).children(recursive=True)
            if process.name().startswith("ray::Dashboard")
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert 401 in statuses and 200 not in statuses, statuses
        assert not (tmp_path / "ran").exists()
    finally:
        server.stop()


@pytest.fixture
def rays(tmp_path, monkeypatch):
    """The folder of Ray's sockets, and a stand-in for its server, which leaves a socket there."""
    folder = tmp_path / "short"
    folder.mkdir()
    program = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'socket').touch(); time.sleep(60)"
    monkeypatch.setattr(model_server, "RAY_SCRATCH", folder)
    monkeypatch.setattr(model_server, "require", lambda _: None)
    monkeypatch.setitem(model_server.COMMANDS, model_server.RAY, (sys.executable, "-c", program))
    return folder


def ray_socket(rays, service):
    """A Ray server, and its files in the folder for sockets."""
    before = set(rays.glob("*/*"))
    server = model_server.launch(
        service.home,
        service.home.object_path("s3://bucket/one.tar.gz"),
        service.home.folder("endpoints", "e"),
        base_environment({}),
        model_server.RAY,
    )
    while not (found := [path for path in rays.glob("ray-*/socket") if path not in before]):
        time.sleep(0.02)
    return server, found[0]


def test_what_ray_has_elsewhere_goes_with_its_server(service, rays):
    service.config("one")
    server, _ = ray_socket(rays, service)
    server.stop()
    assert list(rays.iterdir()) == []


def test_what_a_killed_ray_server_left_is_swept_at_the_start_and_no_other_homes(service, rays, tmp_path):
    service.config("one")
    server, _ = ray_socket(rays, service)
    (tmp_path / "other").mkdir()
    with serving(tmp_path / "other") as other:
        other.config("one")
        theirs, kept = ray_socket(rays, other)
        orphans.end_left(service.home.processes)  # as after a kill
        (rays / "ray-by-hand").mkdir()
        service.deployments.recover()
        assert set(rays.iterdir()) == {kept.parent, rays / "ray-by-hand"}
        theirs.stop()
    assert server.exit_status is not None


def submit(address, program):
    """The status of the answer to Ray's JobAgent API; None from a port that speaks something else."""
    connection = HTTPConnection(address.ip, address.port, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(HTTPException, OSError):
        connection.request("POST", "/api/job_agent/jobs/", json.dumps({"entrypoint": program}))
        return connection.getresponse().status
    return None


# It writes to /opt/ml by its literal name, and answers with the result.
WRITER = """
import os

try:
    os.makedirs("/opt" + "/ml/cache", exist_ok=True)
    open("/opt" + "/ml/cache/x", "w").close()
    said = "written"
except OSError as error:
    said = type(error).__name__


async def app(scope, receive, send):
    if scope["type"] == "http":
        answer = " ".join([said, os.getcwd(), os.environ["SUBMITTED"], str(os.path.exists("/opt/ml/model"))])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer.encode()})
"""


@pytest.mark.parametrize("forced", ["", opt_ml.REWRITTEN])
def test_a_server_has_an_opt_ml_of_its_own_and_changes_nothing_in_the_machines(service, monkeypatch, forced):
    monkeypatch.setenv(opt_ml.VARIABLE, forced)
    before = machine()
    service.config("one", app=WRITER, environment={"SUBMITTED": "/opt/ml/model/code"})
    assert service.create("one")["EndpointStatus"] == "InService"
    said, folder, submitted, found = service.invoke(b"x").decode().split()
    assert machine() == before
    log = next(service.home.folder("endpoints", "e").rglob("server.log")).read_text()
    if forced or opt_ml._obstacle("own"):
        assert (said, found, submitted) == ("PermissionError", "False", f"{folder}/code")
        assert "programs that name /opt/ml themselves" in log and "docs/opt-ml.md" in log
    else:
        assert (said, folder, submitted, found) == ("written", "/opt/ml/model", "/opt/ml/model/code", "True")
        assert opt_ml.NOTE not in log


def test_a_server_that_could_write_into_the_machines_own_does_not_start(service, monkeypatch):
    monkeypatch.setattr(opt_ml, "_writable", lambda: True)
    monkeypatch.setattr(opt_ml, "_obstacle", lambda way: f"{way} is not to be had")
    service.config("one")
    described = service.create("one")
    assert described["EndpointStatus"] == "Failed"
    assert "a program could write into the machine's own /opt/ml" in described["FailureReason"]
    assert list(service.home.folder("endpoints", "e").rglob("ml-*")) == []
