import os
import shutil
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.endpoints import endpoints
from local.home.disk import NotRecorded
from tests.local.endpoint_service import ARN, Service, deleted, gone, refused, restarted, serving


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path) as service:
        yield service


# A value with which no process can be started: raises an error that this service never raises itself.
NUL = {"SETTING": "\0"}


def test_endpoints_come_back_with_the_service(service, tmp_path):
    service.config("one")
    service.create("one")
    pid = int(service.invoke(b"pid"))
    with restarted(service, tmp_path) as again:
        assert gone(pid)
        assert again.describe()["EndpointStatus"] == "SystemUpdating"
        assert again.settled()["EndpointStatus"] == "InService"
        assert again.invoke(b"x") == b"hello:x"


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


def test_an_endpoint_whose_server_ended_serves_again_after_a_restart(service, tmp_path):
    service.config("one")
    service.create("one")
    server = service.deployments.server("e")
    os.kill(server.pid, signal.SIGKILL)
    server.wait(5)
    described = service.describe()
    assert described["FailureReason"].startswith(
        "Endpoint e, which the local service tries again when it next starts: the model server exited with"
    )
    with restarted(service, tmp_path) as again:
        assert again.describe()["EndpointStatus"] == "SystemUpdating"
        described = again.settled()
        assert described["EndpointStatus"] == "InService"
        assert "FailureReason" not in described
        assert again.invoke(b"x") == b"hello:x"


def test_a_model_that_failed_at_its_creation_stays_failed(service, tmp_path):
    service.config("one", app="raise RuntimeError('no weights here')")
    failed = service.create("one")
    assert failed["EndpointStatus"] == "Failed"
    with restarted(service, tmp_path) as again:
        assert again.describe() == failed


def test_an_endpoint_that_served_is_tried_again_at_every_start(service, tmp_path):
    service.config("one")
    archive = service.home.object_path("s3://bucket/one.tar.gz")
    service.create("one")
    archive.rename(tmp_path / "elsewhere")
    with restarted(service, tmp_path) as again:
        described = again.settled()
        assert described["EndpointStatus"] == "Failed"
        assert described["FailureReason"].endswith("the model data does not exist")
        (tmp_path / "elsewhere").rename(archive)
        with restarted(again, tmp_path) as third:
            assert third.settled()["EndpointStatus"] == "InService"


def test_an_error_that_nobody_expects_fails_the_creation_and_is_logged(service, caplog):
    service.config("one", environment=NUL)
    described = service.create("one")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == (
        "Endpoint e: the output of the local service says where this happened: ValueError: embedded null byte"
    )
    (record,) = caplog.records
    assert record.getMessage() == "The work on endpoint e has ended."
    assert record.exc_info[0] is ValueError
    assert list(service.home.folder("endpoints", "e").rglob("ml-*")) == []
    assert deleted(service)


def test_an_error_that_nobody_expects_gives_up_an_update(service):
    service.config("one")
    service.config("two", environment=NUL)
    service.config("three", word="goodbye")
    service.create("one")
    described = service.update("two")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "one")
    assert "PendingDeploymentSummary" not in described
    assert described["FailureReason"].endswith("ValueError: embedded null byte")
    assert service.invoke(b"x") == b"hello:x"
    assert "FailureReason" not in service.update("three")
    assert service.invoke(b"x") == b"goodbye:x"


@pytest.fixture
def full(service, monkeypatch):
    """Whether the disk is full for the threads that work on endpoints, so that it refuses their changes."""
    full = threading.Event()
    update = service.store.update

    def change(*arguments):
        if full.is_set() and threading.current_thread().name == "endpoint-e":
            raise NotRecorded(service.home.database, sqlite3.OperationalError("database or disk is full"))
        return update(*arguments)

    monkeypatch.setattr(service.store, "update", change)
    return full


def test_an_endpoint_serves_though_the_disk_does_not_take_its_record(service, full, tmp_path):
    service.config("one")
    full.set()
    assert service.create("one")["EndpointStatus"] == "InService"
    assert service.invoke(b"x") == b"hello:x"
    with restarted(service, tmp_path) as again:
        assert again.settled()["EndpointStatus"] == "InService"


def test_an_update_holds_though_the_disk_does_not_take_its_record(service, full):
    service.config("one")
    service.config("two", word="goodbye")
    service.create("one")
    full.set()
    described = service.update("two")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "two")
    assert service.invoke(b"x") == b"goodbye:x"


def test_work_that_cannot_begin_is_not_in_progress(service, monkeypatch):
    """No thread can be started: the request is answered with the error, and the endpoint can be deleted."""
    service.config("one")
    request = {"EndpointName": "e", "EndpointConfigName": "one"}

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            service.call("CreateEndpoint", request)
    described = service.describe()
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == (
        "Endpoint e, which the local service tries again when it next starts: the work on it did not begin; "
        "the output of the local service says why; deploy it again"
    )
    assert deleted(service)
    service.create("one")
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            service.call("UpdateEndpoint", request)
    listed = service.call("ListEndpoints", {})["Endpoints"]
    assert [endpoint["EndpointStatus"] for endpoint in listed] == ["InService"]
    assert "the work on it did not begin" in service.describe()["FailureReason"]
    assert service.invoke(b"x") == b"hello:x"


def test_an_endpoint_whose_creation_just_begins_is_in_progress(service, monkeypatch):
    """Its record exists before its thread."""
    seen = []
    add_tags = endpoints.add_tags

    def look(*arguments):
        seen.append(service.describe()["EndpointStatus"])
        seen.append(refused(service, "DeleteEndpoint", {"EndpointName": "e"})[1])
        add_tags(*arguments)

    monkeypatch.setattr(endpoints, "add_tags", look)
    service.config("one")
    assert service.create("one")["EndpointStatus"] == "InService"
    assert seen == ["Creating", f'Cannot update in-progress endpoint "{ARN}".']


def test_a_deletion_that_fails_can_be_asked_for_again(service, tmp_path, monkeypatch):
    service.config("one")
    service.create("one")
    pid = int(service.invoke(b"pid"))

    def refuse(folder):
        raise PermissionError(1, "Operation not permitted", str(folder))

    with monkeypatch.context() as protected:
        protected.setattr(shutil, "rmtree", refuse)
        service.call("DeleteEndpoint", {"EndpointName": "e"})
        described = service.settled()
    assert gone(pid)
    assert described["EndpointStatus"] == "Failed"
    assert "it is not deleted yet; delete it again" in described["FailureReason"]
    assert "PermissionError" in described["FailureReason"]
    with restarted(service, tmp_path) as again:
        assert again.describe()["EndpointStatus"] == "Failed"
        assert deleted(again)
        assert not again.home.folder("endpoints", "e").exists()


def test_servers_end_with_the_service_though_one_cannot_be_cleared_away(service, monkeypatch):
    service.config("one")
    service.create("one")
    service.call("CreateEndpoint", {"EndpointName": "f", "EndpointConfigName": "one"})
    while service.call("DescribeEndpoint", {"EndpointName": "f"})["EndpointStatus"] == "Creating":
        time.sleep(0.05)
    pids = [service.deployments.server(name).pid for name in "ef"]

    def refuse(folder):
        raise PermissionError(1, "Operation not permitted", str(folder))

    with monkeypatch.context() as protected:
        protected.setattr(shutil, "rmtree", refuse)
        with pytest.raises(PermissionError):
            service.deployments.stop()
    assert all(gone(pid) for pid in pids)


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
