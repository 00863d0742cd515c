"""The DeploymentConfig of an update, checked; its alarms, against a CloudWatch that moto plays."""

import pytest

from local.endpoints import traffic
from local.endpoints.model_server import LaunchError
from tests.local.endpoint_service import refused, serving


@pytest.fixture
def service(tmp_path):
    with serving(tmp_path) as service:
        yield service


@pytest.mark.parametrize(
    ("kind", "member", "size", "complaint"),
    [
        ("CANARY", "CanarySize", ("CAPACITY_PERCENT", 51), "CanarySize is 51 % of 1 instances"),
        ("CANARY", "CanarySize", ("INSTANCE_COUNT", 1), "CanarySize is 100 % of 1 instances"),
        ("LINEAR", "LinearStepSize", ("CAPACITY_PERCENT", 9), "must be 10 to 50 %"),
        (
            "LINEAR",
            "CanarySize",
            ("CAPACITY_PERCENT", 50),
            "CanarySize is required for traffic routing of type",
        ),
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
    assert "only blue/green updates" in refused(service, "UpdateEndpoint", request)[1]


@pytest.fixture
def environment(server, client):
    """A running server with two alarms, of which `errors` is in ALARM."""
    cloudwatch = client("cloudwatch")
    for name in ("errors", "latency"):
        cloudwatch.put_metric_alarm(
            AlarmName=name, ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Threshold=1,
            MetricName=name, Namespace="AWS/SageMaker", Period=60, Statistic="Average",
        )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="a test")
    cloudwatch.set_alarm_state(AlarmName="latency", StateValue="OK", StateReason="a test")
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def config(*alarms):
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}


def test_an_alarm_that_is_in_alarm_forbids_the_update(environment):
    with pytest.raises(LaunchError, match="rolled back: the alarm errors is in ALARM"):
        traffic.heed_alarms(config("latency", "errors"), environment)


@pytest.mark.parametrize("names", [("latency",), ("unknown",), ()])
def test_others_do_not(environment, names):
    traffic.heed_alarms(config(*names), environment)


def test_without_alarms_nobody_is_asked():
    traffic.heed_alarms({}, {})


def test_a_cloudwatch_that_does_not_answer_forbids_it_too(environment):
    with pytest.raises(LaunchError, match="cannot be read: Could not connect"):
        traffic.heed_alarms(config("errors"), environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
