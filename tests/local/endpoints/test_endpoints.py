import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.wire.errors import ModelError, ServiceError
from tests.local.endpoint_service import ARN, gone, refused, serving


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path) as service:
        yield service


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
    assert service.endpoints.invoke("e", b"x", {"x-amzn-sagemaker-target-variant": "v"})[2] == b"hello:x"
    for header, message in (
        ("target-variant", "Variant w not found for endpoint e, which has v."),
        (
            "target-model",
            "Endpoint e is not a multi-model endpoint and does not support target model header.",
        ),
        ("inference-component", "Inference Component Name header is not allowed for endpoints to which you"),
        ("target-container-hostname", "Endpoint e has one container; leave TargetContainerHostname out."),
        ("session-id", "Endpoint e keeps no sessions; leave SessionId out."),
        ("enable-explanations", "Endpoint e has no explainer; leave EnableExplanations out."),
    ):
        with pytest.raises(ServiceError) as caught:
            service.endpoints.invoke("e", b"x", {f"x-amzn-sagemaker-{header}": "w"})
        assert (caught.value.code, caught.value.status) == ("ValidationError", 400)
        assert caught.value.message.startswith(message)
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

    described = service.update("two")  # the same configuration again starts a new server
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
        # The old server still had two seconds to answer after the traffic had moved.
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


def test_a_server_that_is_killed_fails_its_endpoint_which_can_be_made_again(service):
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
