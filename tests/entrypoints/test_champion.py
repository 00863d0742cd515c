"""The model with which a new one is compared, with boto3's stubs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from entrypoints import deploy
from entrypoints.champion import find
from tests.entrypoints.stubbed_sagemaker import CONFIG, ENDPOINT, PACKAGE, TIME, Service

URL = "s3://pictures/ants-and-bees/executions/1/model.tar.gz"
EVENT = {
    "endpoint_name": ENDPOINT,
    "model_package_group_name": "ants-and-bees",
    "no_champion_url": "s3://pictures/ants-and-bees/code/no_champion/",
}
NONE = {"champion": "-", "champion_url": EVENT["no_champion_url"]}


class Account(Service):
    """SageMaker and S3, for the requests of `find`."""

    def __init__(self) -> None:
        super().__init__()
        self.s3 = boto3.client(
            "s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.objects = Stubber(self.s3)
        self.objects.activate()

    def serves(self, **container: Any) -> None:
        self.endpoint("InService", config=CONFIG)
        variants = [
            {"VariantName": name, "ModelName": f"m-{name}", "InitialVariantWeight": weight}
            for name, weight in (("few", 0.1), ("most", 0.9))
        ]
        self.stub.add_response(
            "describe_endpoint_config",
            {
                "EndpointConfigName": CONFIG,
                "EndpointConfigArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/c",
                "ProductionVariants": variants,
                "CreationTime": TIME,
            },
            {"EndpointConfigName": CONFIG},
        )
        if container:
            answer = {
                "ModelName": "m-most",
                "CreationTime": TIME,
                "ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m",
                "Containers": [container],
            }
            self.stub.add_response("describe_model", answer, {"ModelName": "m-most"})

    def package_with_artifact(self) -> None:
        self.package(InferenceSpecification={"Containers": [{"Image": "image", "ModelDataUrl": URL}]})

    def approved(self, *arns: str) -> None:
        summaries = [
            {
                "ModelPackageArn": arn,
                "ModelPackageGroupName": "ants-and-bees",
                "ModelPackageVersion": 7,
                "CreationTime": TIME,
                "ModelPackageStatus": "Completed",
            }
            for arn in arns
        ]
        expected = {
            "ModelPackageGroupName": "ants-and-bees",
            "ModelApprovalStatus": "Approved",
            "SortBy": "CreationTime",
            "SortOrder": "Descending",
            "MaxResults": 1,
        }
        self.stub.add_response("list_model_packages", {"ModelPackageSummaryList": summaries}, expected)

    def artifacts(self, *keys: str) -> None:
        expected = {"Bucket": "pictures", "Prefix": URL.partition("pictures/")[2], "MaxKeys": ANY}
        contents = [{"Key": key} for key in keys]
        self.objects.add_response("list_objects_v2", {"Contents": contents} if keys else {}, expected)

    def find(self) -> dict[str, str]:
        return find(self.client, self.s3, EVENT)


@pytest.fixture
def account() -> Iterator[Account]:
    account = Account()
    yield account
    account.stub.assert_no_pending_responses()
    account.objects.assert_no_pending_responses()


def test_what_most_of_the_endpoints_traffic_goes_to(account: Account) -> None:
    account.serves(ModelPackageName=PACKAGE)
    account.package_with_artifact()
    account.artifacts("ants-and-bees/executions/1/model.tar.gz")
    assert account.find() == {
        "champion": "ants-and-bees/7",
        "champion_url": URL,
        "reason": f"which endpoint {ENDPOINT} serves",
    }


def test_a_model_that_was_not_registered(account: Account) -> None:
    account.serves(Image="image", ModelDataSource={"S3DataSource": {"S3Uri": URL, "S3DataType": "S3Object",
                                                                    "CompressionType": "Gzip"}})  # fmt: skip
    account.artifacts("ants-and-bees/executions/1/model.tar.gz")
    assert account.find()["champion"] == "m-most"


@pytest.mark.parametrize("status", [None, "Failed"])
def test_where_nothing_serves_it_is_the_newest_approved_version(account: Account, status: str | None) -> None:
    account.endpoint(status)
    account.approved(PACKAGE)
    account.package_with_artifact()
    account.artifacts("ants-and-bees/executions/1/model.tar.gz")
    found = account.find()
    assert (found["champion"], found["reason"]) == ("ants-and-bees/7", "the newest approved version")


def test_there_is_none(account: Account) -> None:
    account.endpoint(None)
    account.approved()
    reason = f"endpoint {ENDPOINT} serves nothing, and ants-and-bees has no approved version"
    assert account.find() == {**NONE, "reason": reason}


@pytest.mark.parametrize("keys", [(), ("ants-and-bees/executions/1/model.tar.gz.old",)])
def test_its_artifact_is_gone(account: Account, keys: tuple[str, ...]) -> None:
    account.serves(ModelPackageName=PACKAGE)
    account.package_with_artifact()
    account.artifacts(*keys)
    reason = f"the artifact of ants-and-bees/7, which endpoint {ENDPOINT} serves, is gone: {URL}"
    assert account.find() == {**NONE, "reason": reason}


def test_so_is_its_bucket(account: Account) -> None:
    account.serves(ModelPackageName=PACKAGE)
    account.package_with_artifact()
    account.objects.add_client_error("list_objects_v2", "NoSuchBucket", http_status_code=404)
    assert "is gone: s3://" in account.find()["reason"]


def test_its_model_is_gone(account: Account) -> None:
    account.serves()
    account.missing("describe_model", 'Could not find model "m-most".', ModelName="m-most")
    reason = f'what endpoint {ENDPOINT} serves is gone: Could not find model "m-most".'
    assert account.find() == {**NONE, "reason": reason}


def test_the_deploying_function_finds_it(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.endpoint(None)
    account.approved()
    clients = {"sagemaker": account.client, "s3": account.s3}
    monkeypatch.setattr(deploy.boto3, "client", lambda service: clients[service])
    assert deploy.handler(EVENT, None)["champion"] == "-"
