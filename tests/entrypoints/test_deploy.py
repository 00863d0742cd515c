from __future__ import annotations

import re
from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError

from entrypoints import deploy
from entrypoints.contract import DEPLOYMENT_CONFIG, ENDPOINT_INSTANCE_COUNT, SERVERLESS_CONFIG
from tests.entrypoints.stubbed_sagemaker import (
    CONFIG,
    CONFIG_OF_TWO,
    CONFIG_SERVERLESS,
    ENDPOINT,
    EVENT,
    MODEL,
    PACKAGE,
    SERVERLESS,
    Service,
)

CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        }
    }
}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(deploy, "POLL_S", 0)
    service = Service()
    yield service
    service.stub.assert_no_pending_responses()


DEPLOYED = {
    "deployed": True,
    "endpoint_name": ENDPOINT,
    "endpoint_config_name": CONFIG,
    "previous_endpoint_config_name": "-",
    "model_name": MODEL,
}
UPDATED = {**DEPLOYED, "previous_endpoint_config_name": "earlier", "reason": "updated the endpoint"}


def test_missing_is_created(service: Service) -> None:
    service.package()
    service.endpoint(None)
    service.model()
    service.config()
    service.change("create_endpoint")
    assert service.deploy() == {**DEPLOYED, "reason": "created the endpoint"}


def test_what_was_just_created_may_not_be_visible_yet(service: Service) -> None:
    service.package()
    service.endpoint(None)
    service.model(invisible=2)
    service.config(invisible=1)
    service.invisible("create_endpoint", "Could not find endpoint configuration.")
    service.change("create_endpoint")
    assert service.deploy() == {**DEPLOYED, "reason": "created the endpoint"}


def test_an_update_to_what_was_just_created_waits_for_it_too(service: Service) -> None:
    service.package()
    service.endpoint("InService")
    service.model()
    service.config()
    service.note()
    service.invisible("update_endpoint", "Could not find endpoint configuration.")
    service.change("update_endpoint")
    assert service.deploy() == UPDATED


def test_what_stays_invisible_ends_it_as_sagemaker_says(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "VISIBLE_TIMEOUT_S", -1)
    service.package()
    service.endpoint(None)
    service.model()
    service.config()
    service.invisible("create_endpoint", "Could not find endpoint configuration.")
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        service.deploy()


def test_another_refusal_is_not_tried_again(service: Service) -> None:
    service.package()
    service.endpoint(None)
    service.model()
    service.config()
    service.invisible("create_endpoint", "The account-level service limit is 0 instances.")
    with pytest.raises(ClientError, match="service limit"):
        service.deploy()


@pytest.mark.parametrize("status", ["InService", "OutOfService"])
def test_in_service_is_updated(service: Service, status: str) -> None:
    service.package()
    service.endpoint(status)
    service.model()
    service.config()
    service.note()
    service.change("update_endpoint")
    assert service.deploy() == UPDATED


def test_traffic_moves_as_the_event_says(service: Service) -> None:
    service.package()
    service.endpoint("InService")
    service.model()
    service.config(instances=2)
    service.note()
    service.change("update_endpoint", EndpointConfigName=CONFIG_OF_TWO, DeploymentConfig=CANARY)
    answer = service.deploy(**{DEPLOYMENT_CONFIG: CANARY, ENDPOINT_INSTANCE_COUNT: 2})
    assert answer["endpoint_config_name"] == CONFIG_OF_TWO


def test_the_traffic_of_one_instance_does_not_move_in_steps(service: Service) -> None:
    service.package()
    with pytest.raises(
        deploy.DeployError, match="CANARY shifts the traffic of 2 instances or more"
    ) as caught:
        service.deploy(**{DEPLOYMENT_CONFIG: CANARY})
    assert "\n" not in str(caught.value)


def test_a_serverless_endpoint_is_created_and_updated(service: Service) -> None:
    for status, operation in ((None, "create_endpoint"), ("InService", "update_endpoint")):
        service.package()
        service.endpoint(status, serverless=True)
        service.model()
        service.config(instances=0)
        if status:
            service.note()
        service.change(operation, EndpointConfigName=CONFIG_SERVERLESS)
        event = {"endpoint_instance_type": "", "endpoint_instance_count": 0, SERVERLESS_CONFIG: SERVERLESS}
        assert service.deploy(**event)["endpoint_config_name"] == CONFIG_SERVERLESS


def test_an_endpoint_on_instances_cannot_become_serverless(service: Service) -> None:
    service.package()
    service.endpoint("InService", instances=1)
    with pytest.raises(deploy.DeployError, match=r"runs on instances, .* delete it with"):
        service.deploy(**{SERVERLESS_CONFIG: SERVERLESS})


def test_an_endpoint_that_was_serverless_has_no_way_back(service: Service) -> None:
    service.package()
    service.endpoint("InService", serverless=True)
    service.model()
    service.config()
    service.change("update_endpoint")
    assert service.deploy()["previous_endpoint_config_name"] == "-"


def test_model_and_config_that_exist_are_reused(service: Service) -> None:
    service.package()
    service.endpoint("InService")
    service.model(exists=True)
    service.config(exists=True)
    service.note()
    service.change("update_endpoint")
    assert service.deploy()["deployed"] is True


def test_out_of_service_with_the_same_config_is_updated(service: Service) -> None:
    service.package()
    service.endpoint("OutOfService", config=CONFIG)
    service.model(exists=True)
    service.config(exists=True)
    service.noted("earlier")
    service.change("update_endpoint")
    assert service.deploy() == UPDATED


@pytest.mark.parametrize(("noted", "previous"), [("earlier", "earlier"), (None, "-"), (CONFIG, "-")])
def test_a_second_run_changes_nothing_and_still_knows_what_was_there(
    service: Service, noted: str | None, previous: str
) -> None:
    service.package()
    service.endpoint("InService", config=CONFIG)
    service.model(exists=True)
    service.config(exists=True)
    service.noted(noted)
    reason = "the endpoint already runs this model package"
    assert service.deploy() == {**DEPLOYED, "previous_endpoint_config_name": previous, "reason": reason}


def test_a_run_that_was_cut_off_in_an_update_is_taken_up(service: Service) -> None:
    service.package()
    service.endpoint("Updating", config="earlier", pending=CONFIG)
    service.model(exists=True)
    service.config(exists=True)
    service.note()
    reason = "the endpoint is Updating already, to this model package"
    assert service.deploy() == {**UPDATED, "reason": reason}


def test_a_run_that_was_cut_off_in_a_creation_is_taken_up(service: Service) -> None:
    service.package()
    service.endpoint("Creating", config=CONFIG)
    service.model(exists=True)
    service.config(exists=True)
    service.noted(None)
    assert service.deploy() == {
        **DEPLOYED,
        "reason": "the endpoint is Creating already, to this model package",
    }


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_a_busy_endpoint_is_an_error_that_says_to_try_again(service: Service, status: str) -> None:
    service.package()
    service.endpoint(status, pending="another" if status == "Updating" else None)
    with pytest.raises(deploy.DeployError, match=f"is {status}; try again"):
        service.deploy()


def test_an_update_to_the_very_config_that_is_rolled_back_is_not_taken_up(service: Service) -> None:
    service.package()
    service.endpoint("RollingBack", pending=CONFIG)
    with pytest.raises(deploy.DeployError, match="is RollingBack; try again"):
        service.deploy()


@pytest.mark.parametrize("instances", [None, 0])
def test_failed_from_its_creation_is_deleted_and_created(service: Service, instances: int | None) -> None:
    service.package()
    service.endpoint("Failed", instances=instances)
    service.model()
    service.config()
    service.change("delete_endpoint")
    service.endpoint("Deleting")
    service.endpoint(None)
    service.change("create_endpoint")
    assert service.deploy() == {**DEPLOYED, "reason": "created the endpoint"}


def test_failed_with_instances_is_left_to_a_person(service: Service) -> None:
    service.package()
    service.endpoint("Failed", instances=1)
    with pytest.raises(deploy.DeployError, match="still has instances"):
        service.deploy()


def test_a_state_nobody_knows_is_left_to_a_person(service: Service) -> None:
    service.package()
    service.endpoint("UpdateRollbackFailed")
    with pytest.raises(deploy.DeployError, match="is UpdateRollbackFailed"):
        service.deploy()


def test_deleting_is_waited_for(service: Service) -> None:
    service.package()
    service.endpoint("Deleting")
    service.endpoint("Deleting")
    service.endpoint(None)
    service.model()
    service.config()
    service.change("create_endpoint")
    assert service.deploy()["deployed"] is True


def test_a_deletion_that_takes_too_long(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "DELETION_TIMEOUT_S", -1)
    service.package()
    service.endpoint("Deleting")
    service.endpoint("Deleting")
    with pytest.raises(deploy.DeployError, match="still being deleted"):
        service.deploy()


@pytest.mark.parametrize("status", ["PendingManualApproval", "Rejected"])
def test_only_an_approved_package_is_deployed(service: Service, status: str) -> None:
    # The package's own status decides; the event's may be outdated.
    service.package(status)
    answer = service.deploy()
    assert answer["deployed"] is False
    assert status in answer["reason"]
    names = ("endpoint_name", "endpoint_config_name", "previous_endpoint_config_name", "model_name")
    assert [answer[name] for name in names] == ["-"] * 4


def test_other_errors_reach_the_person(service: Service) -> None:
    service.package()
    service.stub.add_client_error("describe_endpoint", "AccessDeniedException", "not allowed")
    with pytest.raises(ClientError, match="not allowed"):
        service.deploy()


def test_the_count_may_come_as_a_string(service: Service) -> None:
    service.package()
    service.endpoint(None)
    service.model()
    service.config()
    service.change("create_endpoint")
    assert service.deploy(**{ENDPOINT_INSTANCE_COUNT: "1"})["deployed"] is True


def test_names_follow_from_package_and_instances() -> None:
    long = PACKAGE.replace("ants-and-bees", "a" * 60 + "-bc")
    names = {
        deploy.name_for(PACKAGE, PACKAGE),
        deploy.name_for(PACKAGE, PACKAGE, "ml.m5.large", "1"),
        deploy.name_for(PACKAGE, PACKAGE, "ml.m5.large", "2"),
        deploy.name_for(long, long),
    }
    assert len(names) == 4
    assert all(re.fullmatch("[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name) for name in names)
    assert deploy.name_for(PACKAGE, PACKAGE).startswith("ants-and-bees-7-")


def test_another_role_is_another_model(service: Service) -> None:
    service.package()
    service.endpoint("InService", CONFIG)
    other = deploy.name_for(PACKAGE, PACKAGE, "arn:aws:iam::123456789012:role/another")
    assert other != MODEL
    asked = {"ModelName": other}
    service.stub.add_client_error("describe_model", "AccessDenied", "asked", expected_params=asked)
    with pytest.raises(ClientError, match="asked"):
        service.deploy(execution_role="arn:aws:iam::123456789012:role/another")


def test_the_handler_uses_the_service_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    service.package("Rejected")
    monkeypatch.setattr(boto3, "client", lambda name: {"sagemaker": service.client}[name])
    assert deploy.handler(EVENT, None)["deployed"] is False
