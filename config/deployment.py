"""How an update moves the endpoint's traffic to the new instances."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from config.values import Between, Checked, Matches, SettingsError

# The name of a step's size in step-wise traffic shifting, and its least percentage of the instances
# (API reference, TrafficRoutingConfig; at most half of them in both).
_SIZES = {"CANARY": ("CanarySize", 1), "LINEAR": ("LinearStepSize", 10)}


@dataclass(frozen=True)
class Deployment(Checked):
    """[deployment]: on what the endpoint runs, its blue/green updates, and their automatic rollback."""

    # "serverless" scales to zero and costs by the request: no instances, 6 GB and 4 MB a request at most.
    kind: Literal["realtime", "serverless"] = "realtime"
    # ProductionVariantServerlessConfig in the API reference: whole gigabytes; at most 200 requests.
    serverless_memory_mb: Literal[1024, 2048, 3072, 4096, 5120, 6144] = 4096
    serverless_max_concurrency: Annotated[int, Between(1, 200)] = 5  # requests at once; more are throttled
    # Limits: BlueGreenUpdatePolicy, TrafficRoutingConfig and AutoRollbackConfig in the API reference.
    traffic_routing: Literal["ALL_AT_ONCE", "CANARY", "LINEAR"] = "ALL_AT_ONCE"
    step_percent: Annotated[int, Between(1, 50)] = 50  # of the instances: CANARY's first, each of LINEAR's
    wait_interval_s: Annotated[int, Between(0, 3600)] = 0  # after each step, watching the alarms
    termination_wait_s: Annotated[int, Between(0, 3600)] = 0  # before the old instances end
    max_runtime_s: Annotated[int, Between(600, 28_800)] = 3600  # an update that takes longer is given up
    # CloudWatch alarms; at most 10.
    alarms: tuple[
        Annotated[str, Matches(r"(?=.{1,255}$).*\S.*", "an alarm's name of at most 255 characters")], ...
    ] = ()

    @property
    def instances_min(self) -> int:
        """The fewest instances that the endpoint may have, since a step is at most half of them."""
        return 1 if self.traffic_routing == "ALL_AT_ONCE" else 2

    @property
    def serverless(self) -> dict[str, int]:
        """The ServerlessConfig of the production variant; empty for an endpoint on instances."""
        if self.kind == "realtime":
            return {}
        return {
            "MemorySizeInMB": self.serverless_memory_mb,
            "MaxConcurrency": self.serverless_max_concurrency,
        }

    @property
    def request(self) -> dict[str, Any]:
        """The DeploymentConfig of UpdateEndpoint."""
        routing: dict[str, Any] = {
            "Type": self.traffic_routing,
            "WaitIntervalInSeconds": self.wait_interval_s,
        }
        if self.traffic_routing in _SIZES:
            size = {"Type": "CAPACITY_PERCENT", "Value": self.step_percent}
            routing[_SIZES[self.traffic_routing][0]] = size
        config: dict[str, Any] = {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": routing,
                "TerminationWaitInSeconds": self.termination_wait_s,
                "MaximumExecutionTimeoutInSeconds": self.max_runtime_s,
            }
        }
        if self.alarms:
            config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in self.alarms]}
        return config

    def check(self, refuse: Callable[[str, str], SettingsError]) -> None:
        if self.kind == "serverless" and self.traffic_routing in _SIZES:
            # A step is a share of the instances (API reference, CapacitySize), and there are none.
            raise refuse(
                "traffic_routing", "a serverless endpoint moves its traffic at once; set ALL_AT_ONCE"
            )
        if self.traffic_routing in _SIZES and self.step_percent < _SIZES[self.traffic_routing][1]:
            raise refuse("step_percent", "a LINEAR step is at least 10 % of the instances")
        if len(self.alarms) > 10:
            raise refuse("alarms", "SageMaker allows at most 10")
        if self.alarms and not (self.wait_interval_s or self.termination_wait_s):
            # The baking periods of the developer guide, "Auto-Rollback Configuration and Monitoring".
            raise refuse(
                "alarms", "they are watched in the waits; set wait_interval_s or termination_wait_s, too"
            )
        steps = {"ALL_AT_ONCE": 1, "CANARY": 2, "LINEAR": math.ceil(100 / self.step_percent)}
        waits_s = steps[self.traffic_routing] * self.wait_interval_s + self.termination_wait_s
        if waits_s >= self.max_runtime_s:
            raise refuse("max_runtime_s", f"the update alone waits {waits_s} s; raise it or lower the waits")
