"""How an update moves traffic to the new server: its DeploymentConfig and its alarms.

One machine cannot shift traffic in steps: it moves at once, when the new server is healthy and no alarm is
in ALARM.
"""

from __future__ import annotations

from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError

from local.endpoints.model_server import LaunchError
from local.home.store import Record
from local.wire import clients
from local.wire.errors import invalid

# The name of each routing type's size, with the allowed percentages of the variant's instances
# (API reference, TrafficRoutingConfig).
SIZES = {"CANARY": ("CanarySize", 0, 50), "LINEAR": ("LinearStepSize", 10, 50)}


def check(config: Record, instance_count: int) -> None:
    """Refuse a DeploymentConfig that SageMaker refuses, or that is not supported here.

    Args:
        instance_count: of the new production variant; 0 if it is serverless.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    if "RollingUpdatePolicy" in config:
        raise invalid("The local service does only blue/green updates; leave RollingUpdatePolicy out.")
    policy = config.get("BlueGreenUpdatePolicy")
    if policy is None:
        return
    routing = policy["TrafficRoutingConfiguration"]
    for kind, (member, low, high) in SIZES.items():
        if (member in routing) != (kind == routing["Type"]):
            raise invalid(f"{member} is required for traffic routing of type {kind}, and allowed only there.")
        if kind == routing["Type"] and not instance_count:
            # Not published: its capacity is no number of instances, so that no share of it can be taken.
            raise invalid(f"A serverless variant has no instances for a {member}; use ALL_AT_ONCE.")
        if kind == routing["Type"]:
            size = routing[member]
            percent = size["Value"] * (1 if size["Type"] == "CAPACITY_PERCENT" else 100 / instance_count)
            if not low <= percent <= high:
                raise invalid(
                    f"{member} is {percent:g} % of {instance_count} instances; it must be {low} to {high} %."
                )


def heed_alarms(config: Record, service: Mapping[str, str]) -> None:
    """Check that no CloudWatch alarm of a DeploymentConfig forbids the update.

    Args:
        service: the environment that makes boto3 talk to this service.

    Raises:
        LaunchError: one of them is in ALARM, or CloudWatch does not answer.
    """
    names = [alarm["AlarmName"] for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    if not names:
        return
    try:
        alarms = clients.client("cloudwatch", service).describe_alarms(AlarmNames=names)["MetricAlarms"]
    except (BotoCoreError, ClientError) as error:
        raise LaunchError(f"the alarms of the update cannot be read: {error}") from None
    for alarm in alarms:
        if alarm["StateValue"] == "ALARM":
            raise LaunchError(f"rolled back: the alarm {alarm['AlarmName']} is in ALARM")
