import botocore.session
import pytest
from botocore.validate import ParamValidator

from config.deployment import Deployment
from config.parameters import execution_parameters
from config.settings import load
from config.values import SettingsError

ALL = {"wait_interval_s": 600, "termination_wait_s": 60, "max_runtime_s": 28_800, "alarms": ("errors",)}


@pytest.fixture(scope="module")
def shape():
    model = botocore.session.get_session().get_service_model("sagemaker")
    return model.operation_model("UpdateEndpoint").input_shape


@pytest.mark.parametrize(
    ("routing", "size"),
    [("ALL_AT_ONCE", None), ("CANARY", "CanarySize"), ("LINEAR", "LinearStepSize")],
)
def test_the_request_is_one_that_botocore_knows(shape, routing, size):
    config = Deployment(traffic_routing=routing, step_percent=25, **ALL).request
    request = {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": config}
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    traffic = config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    sizes = {size: {"Type": "CAPACITY_PERCENT", "Value": 25}} if size else {}
    assert traffic == {"Type": routing, "WaitIntervalInSeconds": 600, **sizes}
    assert config["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "errors"}]}


def test_the_limits_are_those_of_the_service(shape):
    policy = shape.members["DeploymentConfig"].members["BlueGreenUpdatePolicy"]
    limits = {name: member.metadata for name, member in policy.members.items()}
    assert limits["TerminationWaitInSeconds"] == {"min": 0, "max": 3600}
    assert limits["MaximumExecutionTimeoutInSeconds"] == {"min": 600, "max": 28_800}
    routing = policy.members["TrafficRoutingConfiguration"].members
    assert routing["WaitIntervalInSeconds"].metadata == {"min": 0, "max": 3600}
    assert routing["Type"].enum == ["ALL_AT_ONCE", "CANARY", "LINEAR"]


@pytest.mark.parametrize("wait", ["wait_interval_s", "termination_wait_s"])
def test_alarms_need_time_in_which_they_are_watched(wait):
    text = "deployment.alarms=flowers-errors"
    with pytest.raises(
        SettingsError, match="watched in the waits; set wait_interval_s or termination_wait_s"
    ):
        load(environ={}, overrides=[text])
    settings = load(environ={}, overrides=[text, f"deployment.{wait}=300"])
    assert settings.deployment.alarms == ("flowers-errors",)


def test_without_alarms_nothing_is_said_of_them():
    assert "AutoRollbackConfiguration" not in Deployment().request


def test_a_serverless_endpoint_has_memory_in_place_of_instances():
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.shape_for("ProductionVariantServerlessConfig")
    settings = load(
        environ={}, overrides=["deployment.kind=serverless", "deployment.serverless_memory_mb=6144"]
    )
    request = settings.deployment.serverless
    assert request == {"MemorySizeInMB": 6144, "MaxConcurrency": 5}
    assert not ParamValidator().validate(request, shape).has_errors()
    assert shape.members["MemorySizeInMB"].metadata == {"min": 1024, "max": 6144}
    assert shape.members["MaxConcurrency"].metadata == {"min": 1, "max": 200}
    assert Deployment().serverless == {}
    names = {parameter.name for parameter in execution_parameters(settings, "s3://bucket/marker")}
    assert "EndpointName" in names
    assert not names & {"EndpointInstanceType", "EndpointInstanceCount"}


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("serverless_memory_mb=1500", "one of 1024, 2048, 3072, 4096, 5120, 6144"),
        ("serverless_max_concurrency=201", "from 1 to 200"),
        ("traffic_routing=CANARY", "moves its traffic at once; set ALL_AT_ONCE"),
    ],
)
def test_what_sagemaker_refuses_of_a_serverless_endpoint(override, complaint):
    with pytest.raises(SettingsError, match=complaint):
        load(environ={}, overrides=["deployment.kind=serverless", f"deployment.{override}"])
