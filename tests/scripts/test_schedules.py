"""Schedules that a new definition breaks: with moto, and AWS's refusals by Stubber."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from scripts.schedules import outdated

PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/flowers"
DEFINITION = json.dumps({"Parameters": [{"Name": "Epochs", "Type": "Integer"}], "Steps": []})
of_scheduler = pytest.mark.parametrize("stub", ["scheduler"], indirect=True)


def schedule(name, *parameters, pipeline=PIPELINE):
    values = [{"Name": parameter, "Value": "1"} for parameter in parameters]
    return {
        "Name": name,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ScheduleExpression": "rate(1 day)",
        "Target": {
            "Arn": pipeline,
            "RoleArn": "arn:aws:iam::123456789012:role/scheduler",
            "SageMakerPipelineParameters": {"PipelineParameterList": values},
        },
    }


def test_a_parameter_that_the_definition_lacks_is_named(client):
    scheduler = client("scheduler")
    scheduler.create_schedule_group(Name="weekly")
    scheduler.create_schedule(**schedule("known", "Epochs"))
    scheduler.create_schedule(**schedule("another", "Size", pipeline=f"{PIPELINE}-2"))
    scheduler.create_schedule(**schedule("old", "Epochs", "Size", "Rate"), GroupName="weekly")
    (line,) = outdated(scheduler, PIPELINE, DEFINITION)
    assert line.startswith("schedule old names Size, Rate, which the new definition lacks")
    assert "aws scheduler get-schedule --name old --group-name weekly" in line


@of_scheduler
def test_a_missing_permission_is_reported(stub):
    stub.add_client_error("list_schedules", "AccessDeniedException", "no ListSchedules")
    (line,) = outdated(stub.client, PIPELINE, DEFINITION)
    assert line.startswith("the schedules' parameters are not checked: AWS refused ListSchedules")
    stub.add_client_error("list_schedules", "ValidationException", "no token")
    with pytest.raises(ClientError, match="no token"):
        outdated(stub.client, PIPELINE, DEFINITION)


@of_scheduler
def test_a_schedule_that_is_deleted_meanwhile_names_nothing(stub):
    summary = {"Name": "gone", "GroupName": "default", "Target": {"Arn": PIPELINE}}
    stub.add_response("list_schedules", {"Schedules": [summary]})
    stub.add_client_error("get_schedule", "ResourceNotFoundException", "there is none")
    assert outdated(stub.client, PIPELINE, DEFINITION) == []


@of_scheduler
def test_an_account_with_very_many_is_looked_at_in_part(stub):
    listed = [{"Name": f"s{n}", "GroupName": "default", "Target": {"Arn": "other"}} for n in range(100)]
    for page in range(10):
        more = {"NextToken": str(page)} if page else {}
        stub.add_response(
            "list_schedules",
            {"Schedules": list(listed), "NextToken": str(page + 1)},
            {"MaxResults": 100, **more},
        )
    assert outdated(stub.client, PIPELINE, DEFINITION) == [
        "of the account's schedules only 1000 were checked"
    ]
