"""Requests for another region, as boto3 sends them."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError

from local.application import application
from local.home.home import Home
from local.s3.operations import S3
from local.server import Server
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane
from tests.local.conftest import refuse

FOREIGN = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/p"


def client(server: Server, service: str, region: str = "eu-west-1", **more: Any) -> Any:
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, endpoint_url=server.url, region_name=region, **keys, **more)


def refusal(call: Any, **request: Any) -> Any:
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value.response


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("sagemaker", "list_models"),
        ("lambda", "list_functions"),
        ("scheduler", "list_schedules"),
        ("cloudwatch", "list_metrics"),
    ],
)
def test_another_region_has_none_of_this_ones_resources(server: Server, service: str, operation: str) -> None:
    error = refusal(getattr(client(server, service), operation))["Error"]
    assert error["Code"] == "InvalidSignatureException"
    assert error["Message"].startswith("Credential should be scoped to a valid region, not 'eu-west-1'.")
    assert "AWS_DEFAULT_REGION to us-east-1" in error["Message"]


def test_what_has_no_region_answers_everywhere(server: Server) -> None:
    assert client(server, "sts").get_caller_identity()["Account"]
    assert client(server, "iam").list_roles()["Roles"] == []


def test_s3_says_where_the_bucket_is_and_clients_go_there(server: Server) -> None:
    here, there = client(server, "s3", "us-east-1"), client(server, "s3")
    here.create_bucket(Bucket="pictures")
    here.put_object(Bucket="pictures", Key="a", Body=b"x")
    answer = refusal(there.list_buckets)
    assert answer["Error"]["Code"] == "AuthorizationHeaderMalformed"
    assert answer["Error"]["Region"] == "us-east-1"
    assert answer["Error"]["Message"] == (
        "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'"
    )
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "us-east-1"
    # boto3 sends the request again, signed for the region in the answer.
    assert there.get_object(Bucket="pictures", Key="a")["Body"].read() == b"x"


def test_a_presigned_url_is_of_a_region_too(server: Server) -> None:
    config = boto3.session.Config(signature_version="s3v4")
    signer = client(server, "s3", config=config)
    url = signer.generate_presigned_url("get_object", {"Bucket": "pictures", "Key": "a"})
    answer = urllib3.request("GET", url)
    assert answer.status == 400 and b"<Code>AuthorizationQueryParametersError</Code>" in answer.data


def test_an_arn_of_another_region_is_not_the_resource_of_that_name() -> None:
    plane = ControlPlane(
        {"DescribePipeline": lambda _: {}, "CreateModel": lambda _: {}, "AddTags": lambda _: {}}
    )
    for operation, request in (
        ("DescribePipeline", {"PipelineName": FOREIGN}),
        ("CreateModel", {"ModelName": "m", "Containers": [{"ModelPackageName": FOREIGN}]}),
        ("AddTags", {"ResourceArn": FOREIGN, "Tags": []}),
    ):
        with pytest.raises(ServiceError, match=f"(Name|Arn) {FOREIGN} is in region eu-west-1; .* us-east-1"):
            plane.call(operation, request)
    ours = FOREIGN.replace("eu-west-1", "us-east-1")
    plane.call("AddTags", {"ResourceArn": ours, "Tags": [{"Key": "copy-of", "Value": FOREIGN}]})


def test_a_service_of_another_region_is_that_regions(home: Home) -> None:
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, refuse, refuse, "eu-west-1"))
    server.start()
    try:
        assert client(server, "cloudwatch").list_metrics()["Metrics"] == []
        assert refusal(client(server, "cloudwatch", "us-east-1").list_metrics)["Error"]["Code"]
    finally:
        server.stop()
