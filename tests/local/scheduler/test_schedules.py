"""EventBridge Scheduler through boto3: what it keeps, what it refuses, and pipelines that really start."""

import json
import time
from datetime import UTC, datetime

import pytest
import requests
from botocore.exceptions import ClientError

from local.scheduler.targets import UNIVERSAL
from local.service import LocalService
from tests.local.scheduler.test_firing import EPOCHS, PIPELINE, QUEUE

ROLE = "arn:aws:iam::123456789012:role/r"
FAIL = {
    "Version": "2020-12-01",
    "Parameters": [{"Name": "Epochs", "Type": "Integer", "DefaultValue": 1}],
    "Steps": [{"Name": "No", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}],
}
WAIT_S = 20


def schedule(expression="rate(7 days)", name="weekly", target=(), **more):
    pipeline = {"Arn": PIPELINE, "SageMakerPipelineParameters": {"PipelineParameterList": EPOCHS}}
    return {
        "Name": name, "ScheduleExpression": expression, "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {**pipeline, "RoleArn": ROLE, **dict(target)}, **more,
    }  # fmt: skip


def refusal(call, **request):
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value.response["Error"]


def executions(service, count):
    """The executions of the pipeline, once there are `count`."""
    sagemaker, deadline = service.client("sagemaker"), time.monotonic() + WAIT_S
    while True:
        found = sagemaker.list_pipeline_executions(PipelineName="flowers")["PipelineExecutionSummaries"]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """A client of a service whose schedules start nothing."""
    with LocalService(tmp_path_factory.mktemp("idle") / "home", fire=False) as service:
        yield service.client("scheduler")


@pytest.fixture(autouse=True)
def empty(idle):
    yield
    for found in idle.list_schedules()["Schedules"]:
        idle.delete_schedule(Name=found["Name"], GroupName=found["GroupName"])
    for group in idle.list_schedule_groups()["ScheduleGroups"]:
        if group["Name"] != "default":
            idle.delete_schedule_group(Name=group["Name"])


def test_a_due_schedule_starts_its_pipeline_and_outlives_the_service(tmp_path):
    with LocalService(tmp_path / "home") as service:
        service.client("sagemaker").create_pipeline(
            PipelineName="flowers", PipelineDefinition=json.dumps(FAIL), RoleArn=ROLE
        )
        scheduler = service.client("scheduler")
        scheduler.create_schedule(**schedule())
        (started,) = executions(service, 1)
        told = service.client("sagemaker").list_pipeline_parameters_for_execution(
            PipelineExecutionArn=started["PipelineExecutionArn"]
        )
        assert told["PipelineParameters"] == EPOCHS
    with LocalService(tmp_path / "home", fire=False) as service:
        scheduler = service.client("scheduler")
        assert scheduler.get_schedule(Name="weekly")["Target"]["Arn"] == PIPELINE
        due = int(time.time()) + 2
        at = f"{datetime.fromtimestamp(due, UTC):at(%Y-%m-%dT%H:%M:%S)}"
        once = {"Arn": UNIVERSAL, "RoleArn": ROLE, "Input": '{"PipelineName": "flowers"}'}
        scheduler.create_schedule(**{**schedule(at, "once"), "Target": once}, ActionAfterCompletion="DELETE")
    time.sleep(max(0, due - time.time()))
    with LocalService(tmp_path / "home") as service:
        assert len(executions(service, 2)) == 2
        deadline = time.monotonic() + WAIT_S
        while len(found := service.client("scheduler").list_schedules()["Schedules"]) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert [item["Name"] for item in found] == ["weekly"]
        assert len(executions(service, 2)) == 2


def test_what_cannot_start_lands_in_the_dead_letter_queue(tmp_path, caplog):
    with LocalService(tmp_path / "home") as service:
        queue = service.client("sqs").create_queue(QueueName="failures")["QueueUrl"]
        never = {"DeadLetterConfig": {"Arn": QUEUE}, "RetryPolicy": {"MaximumRetryAttempts": 0}}
        service.client("scheduler").create_schedule(**schedule(target=never))
        (letter,) = service.client("sqs").receive_message(
            QueueUrl=queue, WaitTimeSeconds=WAIT_S, MessageAttributeNames=["All"]
        )["Messages"]
        assert letter["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "ResourceNotFound"
        assert "does not exist" in letter["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]
        assert json.loads(letter["Body"])["PipelineName"] == PIPELINE
    assert "schedule default/weekly, due at" in caplog.text


def test_what_getschedule_shows(idle):
    start = datetime(2027, 1, 1, 3, tzinfo=UTC)
    request = schedule("cron(0 3 ? * MON *)", StartDate=start, Description="each week")
    arn = idle.create_schedule(**request, ClientToken="a")["ScheduleArn"]
    assert arn == "arn:aws:scheduler:us-east-1:123456789012:schedule/default/weekly"
    shown = idle.get_schedule(Name="weekly")
    assert shown["CreationDate"] == shown["LastModificationDate"]
    for answer in ("ResponseMetadata", "CreationDate", "LastModificationDate"):
        shown.pop(answer)
    policy = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert shown == {
        **request, "Arn": arn, "GroupName": "default", "State": "ENABLED", "ActionAfterCompletion": "NONE",
        "ScheduleExpressionTimezone": "UTC", "Target": {**request["Target"], "RetryPolicy": policy},
    }  # fmt: skip
    assert idle.create_schedule(**request, ClientToken="a")["ScheduleArn"] == arn
    again = refusal(idle.create_schedule, **request, ClientToken="b")
    assert again == {"Code": "ConflictException", "Message": "Schedule weekly already exists."}
    # An update replaces the whole schedule.
    idle.update_schedule(**schedule("rate(1 day)", State="DISABLED"))
    changed = idle.get_schedule(Name="weekly")
    assert (changed["ScheduleExpression"], changed["State"]) == ("rate(1 day)", "DISABLED")
    assert not {"StartDate", "Description"} & changed.keys()
    assert "in the past" in refusal(idle.update_schedule, **schedule("at(2026-01-01T00:00:00)"))["Message"]
    assert idle.get_schedule(Name="weekly")["ScheduleExpression"] == "rate(1 day)"
    idle.delete_schedule(Name="weekly")
    gone = {"Code": "ResourceNotFoundException", "Message": "Schedule weekly does not exist."}
    for call in (idle.get_schedule, idle.delete_schedule):
        assert refusal(call, Name="weekly") == gone
    assert refusal(idle.update_schedule, **schedule()) == gone


def test_a_client_without_botocore_s_help(idle):
    """Neither a token nor, by mistake, a number."""
    body = {key: value for key, value in schedule(StartDate="2027-01-01").items() if key != "Name"}
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=k/20261129/us-east-1/scheduler/aws4_request"}
    url = f"{idle.meta.endpoint_url}/schedules/weekly"
    refused = requests.post(url, json=body, headers=headers, timeout=10)
    assert (refused.status_code, refused.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    del body["StartDate"]
    assert requests.post(url, json=body, headers=headers, timeout=10).status_code == 200
    assert requests.post(url, json=body, headers=headers, timeout=10).status_code == 409


def test_groups_lists_and_tags(idle):
    group = idle.create_schedule_group(Name="flowers", Tags=[{"Key": "team", "Value": "bees"}])
    arn = group["ScheduleGroupArn"]
    assert arn == "arn:aws:scheduler:us-east-1:123456789012:schedule-group/flowers"
    assert refusal(idle.create_schedule_group, Name="flowers")["Code"] == "ConflictException"
    idle.tag_resource(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "1"}])
    idle.untag_resource(ResourceArn=arn, TagKeys=["team"])
    assert idle.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "cost", "Value": "1"}]
    for number in range(3):
        idle.create_schedule(**schedule(name=f"a{number}", State="DISABLED" if number else "ENABLED"))
    idle.create_schedule(**schedule(name="a0", GroupName="flowers"))

    def names(**asked):
        pages = idle.get_paginator("list_schedules").paginate(**asked, PaginationConfig={"PageSize": 2})
        return [(found["GroupName"], found["Name"]) for page in pages for found in page["Schedules"]]

    assert names() == [("flowers", "a0"), ("default", "a2"), ("default", "a1"), ("default", "a0")]
    assert names(GroupName="default", State="DISABLED") == [("default", "a2"), ("default", "a1")]
    assert names(NamePrefix="a0") == [("flowers", "a0"), ("default", "a0")]
    (summary,) = idle.list_schedules(GroupName="flowers")["Schedules"]
    assert summary["Target"] == {"Arn": PIPELINE}
    groups = idle.list_schedule_groups()["ScheduleGroups"]
    assert [(found["Name"], found["State"]) for found in groups] == [
        ("default", "ACTIVE"), ("flowers", "ACTIVE"),
    ]  # fmt: skip
    assert idle.get_schedule_group(Name="flowers")["Arn"] == arn
    idle.delete_schedule_group(Name="flowers")
    for call in (idle.get_schedule_group, idle.delete_schedule_group):
        assert refusal(call, Name="flowers")["Message"] == "Schedule group flowers does not exist."
    assert len(names()) == 3
    assert refusal(idle.delete_schedule_group, Name="default")["Code"] == "ValidationException"
    assert refusal(idle.list_schedules, GroupName="flowers")["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (schedule("rate(1 weeks)"), "Invalid Schedule Expression rate(1 weeks)"),
        (schedule(name="a b"), "'name' failed to satisfy constraint"),
        (schedule(FlexibleTimeWindow={"Mode": "FLEXIBLE"}), "MaximumWindowInMinutes goes with"),
        (schedule(target={"Arn": "arn:aws:sqs:us-east-1:123456789012:q"}), "only start SageMaker pipelines"),
        (schedule(target={"Arn": PIPELINE.replace("us-east-1", "eu-west-1")}), "is in region eu-west-1"),
        (schedule(target={"Input": "{}"}), "SageMakerPipelineParameters, not Input"),
        (schedule(target={"SqsParameters": {}}), "SqsParameters is not a member"),
        (schedule(target={"Arn": UNIVERSAL}), "put the parameters of"),
        (schedule(target={"RetryPolicy": {"MaximumRetryAttempts": 186}}), "less than or equal to 185"),
        (schedule(GroupName="none"), "Schedule group none does not exist."),
    ],
)
def test_what_is_refused(idle, request_, reason):
    request = {**schedule(), **request_}
    error = refusal(idle.create_schedule, **request)
    assert reason in error["Message"]
    assert error["Code"] in ("ValidationException", "ResourceNotFoundException")
    assert idle.list_schedules()["Schedules"] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("flowers", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "Missing required parameter"),
        ('{"PipelineName": "flowers", "pipelineParameters": []}', "Unknown parameter in input"),
    ],
)
def test_inputs_of_the_universal_target_that_are_refused(idle, text, reason):
    target = {"Arn": UNIVERSAL, "RoleArn": ROLE, "Input": text}
    assert reason in refusal(idle.create_schedule, **{**schedule(), "Target": target})["Message"]
