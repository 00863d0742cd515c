"""Tags that follow the settings, and others' tags, which stay: with moto, and AWS's refusals by Stubber."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from scripts import tags

ARN = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/flowers"


def definition(**values):
    listed = [{"Key": key, "Value": value} for key, value in values.items()]
    steps = [
        {"Name": "Split", "Type": "Processing", "Arguments": {"Tags": listed}},
        {"Name": "Mail", "Type": "Lambda", "Arguments": {"Tags": "of the mail"}},
        {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}},
    ]
    return json.dumps({"Version": "2020-12-01", "Steps": steps})


def test_the_definition_tells_what_was_upserted():
    assert tags.upserted_before(None) == {}
    assert tags.upserted_before(definition(team="vision")) == {"team": "vision"}


def test_tags_follow_the_settings_and_those_of_others_stay(client):
    sagemaker = client("sagemaker")
    theirs = {"cost-centre": "7", "debugger-probe": "accepted 2026-11-29", "team": "research"}
    ours = {"project": "flowers", "stage": "test", "team": "vision"}
    arn = sagemaker.create_pipeline(
        PipelineName="flowers",
        PipelineDefinition=definition(**ours),
        ClientRequestToken="x" * 32,
        RoleArn="arn:aws:iam::123456789012:role/execution",
        Tags=[{"Key": key, "Value": value} for key, value in {**ours, **theirs}.items()],
    )["PipelineArn"]
    before = tags.upserted_before(definition(**ours))
    assert tags.update_sagemaker(sagemaker, arn, {"project": "flowers", "owner": "me"}, before)
    live = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    # `stage` was ours and is gone; so was `team`, until somebody changed its value.
    assert live == {**theirs, "project": "flowers", "owner": "me"}
    assert not tags.update_sagemaker(sagemaker, arn, {"project": "flowers", "owner": "me"}, before)


def test_only_what_differs_is_sent(stub):
    stub.add_response("list_tags", {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]})
    stub.add_response("add_tags", {}, {"ResourceArn": ARN, "Tags": [{"Key": "b", "Value": "3"}]})
    stub.add_response("delete_tags", {}, {"ResourceArn": ARN, "TagKeys": ["a"]})
    assert tags.update_sagemaker(stub.client, ARN, {"b": "3"}, {"a": "1", "b": "2"})


def test_without_tags_nobody_is_asked(stub):
    assert not tags.update_sagemaker(stub.client, ARN, {}, {})


def test_a_permission_is_missed_only_where_tags_have_changed(stub, capsys):
    stub.add_client_error("list_tags", "AccessDeniedException", "no ListTags")
    assert not tags.update_sagemaker(stub.client, ARN, {"a": "1"}, {"a": "1"})
    assert "tags are not checked: AWS refused ListTags" in " ".join(capsys.readouterr().err.split())
    stub.add_client_error("list_tags", "AccessDeniedException", "no ListTags")
    with pytest.raises(ClientError, match="no ListTags"):
        tags.update_sagemaker(stub.client, ARN, {"a": "2"}, {"a": "1"})
