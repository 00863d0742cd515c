import io
import os
import signal
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from local import model_server
from local.control import ControlPlane, ServiceError
from local.endpoint_configs import EndpointConfigs
from local.endpoints import Endpoints
from local.home import Home
from local.models import Models
from local.registry import Registry
from local.store import Store
from local.wire import ModelError

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"

APP = """
import asyncio
import os
import time


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = dict(scope["headers"])
    status, answer = 200, b"WORD:" + body
    if body == b"fail":
        status, answer = 400, b"not a picture"
    elif body == b"die":
        print("out of luck", flush=True)
        os._exit(3)
    elif body == b"sleep":
        time.sleep(1)
    elif body == b"linger":
        await asyncio.sleep(2)
        answer = b"WORD:lingered"
    elif body == b"pid":
        answer = str(os.getpid()).encode()
    elif body.startswith(b"env:"):
        answer = os.environ.get(body[4:].decode(), "-").encode()
    elif body == b"headers":
        secret = headers.get(b"authorization", b"-")
        answer = b" ".join([headers[b"content-type"], headers[b"accept"], secret])
    sent = [(b"content-type", b"text/x"), (b"x-amzn-sagemaker-custom-attributes", b"engine=WORD")]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": answer})
"""


def pack(home, key, **files):
    path = home.object_path(f"s3://bucket/{key}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("_py", ".py"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


class Service:
    """The parts of the local service that endpoints need, over one home folder."""

    def __init__(self, root):
        self.home = Home(root)
        self.store = Store(self.home.database)
        registry = Registry(self.home, self.store)
        models = Models(self.home, self.store, registry)
        configs = EndpointConfigs(self.home, self.store, models)
        self.endpoints = Endpoints(
            self.home, self.store, models, configs, lambda: {"AWS_REGION": "us-east-1"}
        )
        self.call = ControlPlane(
            registry.operations() | models.operations() | configs.operations() | self.endpoints.operations()
        ).call

    def close(self):
        self.endpoints.stop()
        self.store.close()

    def config(self, name, word="hello", app=APP, environment=None):
        pack(self.home, f"{name}.tar.gz", app_py=app.replace("WORD", word))
        container = {"ModelDataUrl": f"s3://bucket/{name}.tar.gz", "Environment": environment or {}}
        self.call("CreateModel", {"ModelName": name, "PrimaryContainer": container})
        variant = {
            "VariantName": "v",
            "ModelName": name,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.2xlarge",
        }
        self.call("CreateEndpointConfig", {"EndpointConfigName": name, "ProductionVariants": [variant]})

    def create(self, config):
        self.call("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": config})
        return self.settled()

    def update(self, config):
        self.call("UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": config})
        return self.settled()

    def describe(self):
        return self.call("DescribeEndpoint", {"EndpointName": "e"})

    def settled(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            described = self.describe()
            if described["EndpointStatus"] in ("InService", "Failed"):
                return described
            time.sleep(0.05)
        raise AssertionError(f"still {described['EndpointStatus']}")

    def invoke(self, body, **headers):
        return self.endpoints.invoke("e", body, headers)[2]


@pytest.fixture
def service(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    service = Service(tmp_path)
    yield service
    service.close()
    assert set(psutil.Process().children(recursive=True)) <= before


def refused(service, name, request):
    with pytest.raises(ServiceError) as caught:
        service.call(name, request)
    return caught.value.code, caught.value.message


def gone(pid):
    """Whether a process has ended, within a moment."""
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def test_an_endpoint_serves_its_model_until_it_is_deleted(service):
    service.config("one", environment={"SETTING": "7"})
    answer = service.call("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "one"})
    assert answer == {"EndpointArn": ARN}
    assert service.describe()["EndpointStatus"] == "Creating"
    with pytest.raises(ServiceError, match="not in service: its status is Creating"):
        service.invoke(b"x")
    assert refused(service, "DeleteEndpoint", {"EndpointName": "e"}) == (
        "ValidationException",
        f'Cannot update in-progress endpoint "{ARN}".',
    )
    described = service.settled()
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "one"
    (variant,) = described["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"]) == ("v", 1)
    assert [item["EndpointName"] for item in service.call("ListEndpoints", {})["Endpoints"]] == ["e"]

    status, headers, body = service.endpoints.invoke("e", b"world", {})
    assert (status, body) == (200, b"hello:world")
    assert headers == {
        "content-type": "text/x",
        "x-amzn-invoked-production-variant": "v",
        "x-amzn-sagemaker-custom-attributes": "engine=hello",
    }
    sent = {"Content-Type": "image/png", "Accept": "application/json", "Authorization": "secret"}
    assert service.endpoints.invoke("e", b"headers", sent)[2] == b"image/png application/json -"
    assert service.invoke(b"env:SETTING") == b"7"
    assert service.invoke(b"env:AWS_REGION") == b"us-east-1"
    pid = int(service.invoke(b"pid"))

    service.call("DeleteEndpoint", {"EndpointName": "e"})
    deadline = time.monotonic() + 10
    while service.call("ListEndpoints", {})["Endpoints"] and time.monotonic() < deadline:
        time.sleep(0.02)
    message = f'Could not find endpoint "{ARN}".'
    assert refused(service, "DescribeEndpoint", {"EndpointName": "e"}) == ("ValidationException", message)
    assert gone(pid)
    assert not service.home.folder("endpoints", "e").exists()


def test_an_unknown_endpoint_is_named(service):
    with pytest.raises(ServiceError, match=r"^Endpoint e of account 123456789012 not found\.$") as caught:
        service.invoke(b"x")
    assert (caught.value.code, caught.value.status) == ("ValidationError", 400)


def test_an_update_moves_to_the_new_model_and_a_failed_one_keeps_the_old(service):
    service.config("one")
    service.config("two", word="goodbye")
    service.config("broken", app="raise RuntimeError('no weights here')")
    service.create("one")
    pid = int(service.invoke(b"pid"))

    service.call("UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": "two"})
    described = service.describe()
    assert described["EndpointStatus"] == "Updating"
    assert described["EndpointConfigName"] == "one"
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == "two"
    assert service.invoke(b"x") in (b"hello:x", b"goodbye:x")
    described = service.settled()
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "two")
    assert "PendingDeploymentSummary" not in described
    assert service.invoke(b"x") == b"goodbye:x"
    assert gone(pid)

    described = service.update("broken")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "two")
    assert "no weights here" in described["FailureReason"]
    assert service.invoke(b"x") == b"goodbye:x"

    described = service.update("two")  # the same configuration again is a fresh server
    assert "FailureReason" not in described
    assert service.invoke(b"x") == b"goodbye:x"


def test_an_update_under_load_loses_no_request(service):
    service.config("one")
    service.config("two", word="goodbye")
    service.create("one")
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(service.invoke(b"x"))

    def browse():
        while not stop.is_set():
            assert service.endpoints.page("e")[2] in (b"hello:", b"goodbye:")

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(work) for work in (ask, ask, ask, ask, browse)]
        lingering = pool.submit(service.invoke, b"linger")
        for config in ("two", "one", "two"):
            assert service.update(config)["EndpointConfigName"] == config
        service.invoke(b"x")
        stop.set()
        for client in clients:
            client.result()  # an error of any request is raised here
        # The old server had its two seconds to answer, though the traffic had moved on.
        assert lingering.result() == b"hello:lingered"
    assert set(answers) == {b"hello:x", b"goodbye:x"}


CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        }
    }
}


def test_the_latest_deployment_config_is_kept_as_asked(service):
    service.config("one")
    service.create("one")
    request = {"EndpointName": "e", "EndpointConfigName": "one"}
    for more, kept in (
        ({"DeploymentConfig": CANARY}, CANARY),
        ({"RetainDeploymentConfig": True}, CANARY),
        ({}, None),
    ):
        service.call("UpdateEndpoint", request | more)
        assert service.settled().get("LastDeploymentConfig") == kept


@pytest.mark.parametrize(
    ("kind", "member", "size", "complaint"),
    [
        ("CANARY", "CanarySize", ("CAPACITY_PERCENT", 51), "CanarySize is 51 % of 1 instances"),
        ("CANARY", "CanarySize", ("INSTANCE_COUNT", 1), "CanarySize is 100 % of 1 instances"),
        ("LINEAR", "LinearStepSize", ("CAPACITY_PERCENT", 9), "must be 10 to 50 %"),
        ("LINEAR", "CanarySize", ("CAPACITY_PERCENT", 50), "CanarySize goes with traffic routing of type"),
    ],
)
def test_traffic_that_cannot_move_so_is_refused(service, kind, member, size, complaint):
    service.config("one")
    service.create("one")
    routing = {"Type": kind, "WaitIntervalInSeconds": 0, member: {"Type": size[0], "Value": size[1]}}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    request = {"EndpointName": "e", "EndpointConfigName": "one", "DeploymentConfig": policy}
    assert complaint in refused(service, "UpdateEndpoint", request)[1]
    assert service.describe()["EndpointStatus"] == "InService"


def test_a_rolling_update_is_refused(service):
    service.config("one")
    service.create("one")
    batch = {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 0}
    request = {"EndpointName": "e", "EndpointConfigName": "one"}
    request["DeploymentConfig"] = {"RollingUpdatePolicy": batch}
    assert "blue/green updates only" in refused(service, "UpdateEndpoint", request)[1]


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


def test_a_server_that_dies_fails_its_endpoint_with_its_last_words(service):
    service.config("one")
    service.create("one")
    with pytest.raises(ModelError, match=r"(?s)exited with status 3: .*out of luck"):
        service.invoke(b"die")
    described = service.describe()
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"].endswith("out of luck")
    with pytest.raises(ServiceError, match="its status is Failed"):
        service.invoke(b"x")
    request = {"EndpointName": "e", "EndpointConfigName": "one"}
    assert "failed endpoint" in refused(service, "UpdateEndpoint", request)[1]


def test_a_server_that_is_killed_fails_its_endpoint_which_can_be_made_anew(service):
    service.config("one")
    service.create("one")
    pid = int(service.invoke(b"pid"))
    with ThreadPoolExecutor(1) as pool:
        lingering = pool.submit(service.invoke, b"linger")
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="exited with status -9"):
            lingering.result()
    described = service.describe()
    assert described["EndpointStatus"] == "Failed"
    # entrypoints/deploy.py leaves a failed endpoint alone whose instances may answer.
    assert "ProductionVariants" not in described
    service.call("DeleteEndpoint", {"EndpointName": "e"})
    deadline = time.monotonic() + 10
    while service.call("ListEndpoints", {})["Endpoints"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert service.create("one")["EndpointStatus"] == "InService"
    assert service.invoke(b"x") == b"hello:x"


def test_an_invocation_that_takes_too_long_is_an_error(service, monkeypatch):
    monkeypatch.setattr(model_server, "INVOCATION_TIMEOUT_S", 0.2)
    service.config("one")
    service.create("one")
    with pytest.raises(ModelError, match=r"no answer within 0.2 s") as caught:
        service.invoke(b"sleep")
    assert caught.value.original_status == 0
    assert service.describe()["EndpointStatus"] == "InService"


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
    service.endpoints.stop()
    reasons = [service.call("DescribeEndpoint", {"EndpointName": name})["FailureReason"] for name in "fg"]
    assert "outside the destination" in reasons[0]
    assert reasons[1] == "Endpoint g: s3://bucket/three.tar.gz: the model data does not exist"


def test_endpoints_come_back_with_the_service(service, tmp_path):
    service.config("one")
    service.create("one")
    pid = int(service.invoke(b"pid"))
    service.endpoints.stop()
    assert gone(pid)
    again = Service(tmp_path)
    try:
        again.endpoints.resume()
        assert again.describe()["EndpointStatus"] == "SystemUpdating"
        assert again.settled()["EndpointStatus"] == "InService"
        assert again.invoke(b"x") == b"hello:x"
    finally:
        again.close()


def test_an_endpoint_still_being_created_is_created_after_a_restart(service, tmp_path):
    service.config("one")
    service.call("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "one"})
    service.endpoints.stop()
    again = Service(tmp_path)
    try:
        assert again.describe()["EndpointStatus"] == "Creating"
        again.endpoints.resume()
        assert again.settled()["EndpointStatus"] == "InService"
    finally:
        again.close()


def test_names_that_exist_or_do_not_are_refused(service):
    service.config("one")
    service.create("one")
    request = {"EndpointName": "e", "EndpointConfigName": "one"}
    assert (
        refused(service, "CreateEndpoint", request)[1] == f'Cannot create already existing endpoint "{ARN}".'
    )
    missing = (
        'Could not find endpoint configuration "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/no".'
    )
    for operation in ("CreateEndpoint", "UpdateEndpoint"):
        request = {"EndpointName": "e", "EndpointConfigName": "no"}
        assert refused(service, operation, request)[1] == missing
    assert "Could not find endpoint" in refused(service, "DeleteEndpoint", {"EndpointName": "no"})[1]
