"""Serverless endpoints: refused as the developer guide has it, and served within their limits."""

import threading
import time

import pytest

from local.wire.errors import ServiceError
from tests.local.endpoint_service import refused, serving

SMALL = {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
VARIANT = {"VariantName": "v", "ModelName": "one", "ServerlessConfig": SMALL}
NETWORK = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path) as service:
        yield service


@pytest.mark.parametrize(
    ("variant", "more", "complaint"),
    [
        ({"ServerlessConfig": {**SMALL, "MemorySizeInMB": 1500}}, {}, "must be 1024, 2048, 3072, 4096, 5120"),
        ({"ServerlessConfig": {**SMALL, "MemorySizeInMB": 7168}}, {}, "less than or equal to 6144"),
        ({"ServerlessConfig": {**SMALL, "MaxConcurrency": 201}}, {}, "less than or equal to 200"),
        ({"ServerlessConfig": {**SMALL, "ProvisionedConcurrency": 2}}, {}, "at most MaxConcurrency, 1"),
        ({"InstanceType": "ml.m5.large"}, {}, "InstanceType of production variant v does not go with"),
        ({"VolumeSizeInGB": 10}, {}, "VolumeSizeInGB of production variant v does not go with"),
        ({}, {"VpcConfig": NETWORK}, "does not support VPC configuration"),
        ({}, {"EnableNetworkIsolation": True}, "does not support network isolation"),
        ({"ModelName": "isolated"}, {}, "does not support network isolation"),
        ({"ModelName": "private"}, {}, "does not support private Docker registries"),
        ({"ModelName": "pipeline"}, {}, "does not support inference pipelines"),
    ],
)
def test_what_serverless_inference_lacks_is_refused_at_creation(service, variant, more, complaint):
    service.config("one")
    data = {"ModelDataUrl": "s3://bucket/one.tar.gz"}
    registry = {"ImageConfig": {"RepositoryAccessMode": "Vpc"}}
    for name, model in (
        ("isolated", {"PrimaryContainer": data, "EnableNetworkIsolation": True}),
        ("private", {"PrimaryContainer": data | registry}),
        ("pipeline", {"Containers": [data, data]}),
    ):
        service.call("CreateModel", {"ModelName": name, **model})
    request = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT | variant], **more}
    code, message = refused(service, "CreateEndpointConfig", request)
    assert code == "ValidationException"
    assert complaint in message


def throttled(service, body):
    """The refusal of a request because another one is in progress; None if it was answered."""
    try:
        service.invoke(body)
    except ServiceError as error:
        return error
    return None


def test_it_serves_within_its_limits(service):
    service.config("one", serverless=SMALL)
    (variant,) = service.create("one")["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == SMALL
    assert service.invoke(b"x") == b"hello:x"
    with pytest.raises(ServiceError, match="takes at most 4000000") as large:
        service.invoke(bytes(4_000_001))
    assert large.value.status == 413
    assert service.invoke(bytes(4_000_000)).startswith(b"hello:")

    def linger() -> None:
        while throttled(service, b"linger"):
            pass

    first = threading.Thread(target=linger, daemon=True)
    first.start()
    deadline = time.monotonic() + 30
    while not (error := throttled(service, b"x")):  # until the other one is in progress
        assert time.monotonic() < deadline
    assert (error.code, error.message) == ("ThrottlingException", "Rate exceeded")
    first.join(30)
    assert service.invoke(b"x") == b"hello:x"


def test_only_a_serverless_endpoint_changes_its_kind(service):
    service.config("one", serverless=SMALL)
    service.config("two", word="goodbye")
    service.create("one")
    routing = {"Type": "CANARY", "WaitIntervalInSeconds": 0}
    routing["CanarySize"] = {"Type": "CAPACITY_PERCENT", "Value": 50}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    request = {"EndpointName": "e", "EndpointConfigName": "one", "DeploymentConfig": policy}
    assert "has no instances for a CanarySize" in refused(service, "UpdateEndpoint", request)[1]
    assert service.update("two")["EndpointConfigName"] == "two"
    back = refused(service, "UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": "one"})
    assert back[1].startswith("Cannot convert the instance-based endpoint e to a serverless endpoint")
    assert service.invoke(b"x") == b"goodbye:x"
