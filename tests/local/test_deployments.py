import pytest

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
