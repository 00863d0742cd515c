import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.home.disk import NotRecorded
from tests.local.endpoint_service import Service, gone, serving


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path) as service:
        yield service


def test_endpoints_come_back_with_the_service(service, tmp_path):
    service.config("one")
    service.create("one")
    pid = int(service.invoke(b"pid"))
    service.deployments.stop()
    assert gone(pid)
    again = Service(tmp_path)
    try:
        again.deployments.resume()
        assert again.describe()["EndpointStatus"] == "SystemUpdating"
        assert again.settled()["EndpointStatus"] == "InService"
        assert again.invoke(b"x") == b"hello:x"
    finally:
        again.close()


def test_an_endpoint_still_being_created_is_created_after_a_restart(service, tmp_path):
    service.config("one")
    service.call("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "one"})
    service.deployments.stop()
    again = Service(tmp_path)
    try:
        assert again.describe()["EndpointStatus"] == "Creating"
        again.deployments.resume()
        assert again.settled()["EndpointStatus"] == "InService"
    finally:
        again.close()


def test_an_endpoint_is_deleted_when_its_earlier_server_has_answered_and_ended(service):
    service.config("one")
    service.config("two", "bye")
    service.create("one")
    earlier = int(service.invoke(b"pid"))
    with ThreadPoolExecutor() as client:
        lingering = client.submit(service.invoke, b"linger")
        time.sleep(0.3)  # the request has arrived
        service.update("two")
        service.call("DeleteEndpoint", {"EndpointName": "e"})
        assert lingering.result() == b"hello:lingered"
    deadline = time.monotonic() + 20
    while service.call("ListEndpoints", {})["Endpoints"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert gone(earlier)
    assert not service.home.folder("endpoints", "e").exists()


def test_an_endpoint_comes_into_service_while_no_record_can_be_written(service):
    service.config("one")
    service.call("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "one"})
    service.store._connection.execute("PRAGMA query_only=1")
    assert service.settled()["EndpointStatus"] == "InService"
    assert service.invoke(b"x") == b"hello:x"


def test_an_endpoint_whose_deletion_a_full_disk_stops_says_so_and_can_be_deleted_again(service, monkeypatch):
    def full(*_):
        raise NotRecorded(service.home.database, sqlite3.OperationalError("database or disk is full"))

    service.config("one")
    service.create("one")
    with monkeypatch.context() as patch:
        patch.setattr(service.store, "delete", full)
        service.call("DeleteEndpoint", {"EndpointName": "e"})
        record = service.settled()
    assert record["EndpointStatus"] == "Failed"
    assert "database or disk is full" in record["FailureReason"]
    service.call("DeleteEndpoint", {"EndpointName": "e"})
    deadline = time.monotonic() + 20
    while service.call("ListEndpoints", {})["Endpoints"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
