"""The calls of schedules and their times, by a clock that the test sets."""

import json
import logging

import pytest
from botocore.exceptions import ClientError

from local.home.store import Store
from local.scheduler.firing import SCHEDULES, Firing
from local.scheduler.schedules import ScheduleService
from local.scheduler.targets import UNIVERSAL
from tests.local.scheduler.test_expressions import unix

PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/flowers"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:failures"
EPOCHS = [{"Name": "Epochs", "Value": "10"}]


class World:
    """A clock, a SageMaker that accepts each token once, a queue, and the schedules of a home."""

    def __init__(self, home):
        self.home, self.now, self.asked, self.letters = home, unix("2026-11-29T18:30:15"), [], []
        self.refusal = self.queue_refusal = None
        self.open()

    def open(self):
        """A service on the home, such as the one after a kill."""
        self.store = Store(self.home.database)
        self.firing = Firing(self.store, lambda _: self, lambda: self.now)
        self.operations = ScheduleService(self.home, self.store, self.firing)._operations

    def again(self):
        self.store.close()
        self.open()

    def create(self, expression, name="weekly", target=(), **more):
        pipeline = {"Arn": PIPELINE, "SageMakerPipelineParameters": {"PipelineParameterList": EPOCHS}}
        request = {
            "Name": name, "ScheduleExpression": expression, "ClientToken": "t",
            "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
            "Target": {**pipeline, "RoleArn": "arn:aws:iam::123456789012:role/r", **dict(target)}, **more,
        }  # fmt: skip
        self.operations["CreateSchedule"](request)
        return request

    def at(self, text):
        """Check the schedules at this time; return the times of all calls so far."""
        self.now = unix(text)
        self.firing.fire()
        return [moment for moment, _ in self.asked]

    def names(self):
        return [record["Name"] for record in self.store.list(SCHEDULES)]

    # The calls to the clients of SageMaker and SQS.

    def start_pipeline_execution(self, **request):
        self.asked.append((self.now, request))
        if self.refusal is not None:
            raise self.refusal
        return {}

    def get_queue_url(self, QueueName):
        return {"QueueUrl": f"http://queues/{QueueName}"}

    def send_message(self, **message):
        if self.queue_refusal is not None:
            raise self.queue_refusal
        self.letters.append(message)

    def tokens(self):
        return [request["ClientRequestToken"] for _, request in self.asked]


@pytest.fixture
def world(home):
    world = World(home)
    yield world
    world.store.close()


def refused(code="ValidationException", message="no such parameter"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "StartPipelineExecution")


def times(*texts):
    return [unix(text) for text in texts]


def test_it_starts_the_pipeline_with_its_parameters_once_for_each_time(world):
    world.create("cron(0 3 ? * MON *)", ScheduleExpressionTimezone="Europe/Berlin")
    assert world.at("2026-11-30T01:59:59") == []
    for _ in range(3):
        assert world.at("2026-11-30T02:00:00") == times("2026-11-30T02:00:00")
    _, request = world.asked[0]
    token = {"ClientRequestToken": world.tokens()[0]}
    assert request == {"PipelineName": PIPELINE, "PipelineParameters": EPOCHS, **token}
    assert len(world.at("2026-12-07T02:00:01")) == 2
    assert len(set(world.tokens())) == 2


def test_a_rate_starts_it_at_once_and_then_regularly(world):
    world.create("rate(7 days)")
    assert world.at("2026-11-29T18:30:15") == times("2026-11-29T18:30:15")
    assert len(world.at("2026-12-06T18:30:14")) == 1
    assert len(world.at("2026-12-06T18:30:15")) == 2


def test_a_clock_that_is_set_back_starts_nothing_again(world):
    world.create("cron(0 3 * * ? *)")
    world.create("at(2026-11-30T03:00:00)", "once")
    assert len(world.at("2026-11-30T03:00:05")) == 2
    for moment in ("2026-11-30T02:30:00", "2026-11-30T03:00:00", "2026-11-30T03:30:00"):
        assert len(world.at(moment)) == 2
    assert len(world.at("2026-12-01T03:00:00")) == 3


def test_of_what_was_missed_the_latest_is_made_up_for(world, caplog):
    world.create("rate(1 hour)", StartDate=unix("2026-11-29T20:00:00"))
    world.again()
    assert world.at("2026-11-30T06:30:00") == times("2026-11-30T06:30:00")
    assert "schedule default/weekly was also due before 2026-11-30T06:00:00Z" in caplog.text
    assert len(world.at("2026-11-30T06:59:59")) == 1
    assert len(world.at("2026-11-30T07:00:00")) == 2


def test_what_was_missed_for_longer_than_the_event_s_age_is_a_dead_letter(world, caplog):
    policy = {"RetryPolicy": {"MaximumEventAgeInSeconds": 3600}, "DeadLetterConfig": {"Arn": QUEUE}}
    world.create("cron(0 3 * * ? *)", target=policy)
    world.create("at(2026-11-30T03:00:00)", "once", ActionAfterCompletion="DELETE")
    world.again()
    assert world.at("2026-11-30T04:00:01") == times("2026-11-30T04:00:01")  # "once", which has a day
    (letter,) = world.letters
    assert (
        letter["MessageAttributes"]["EXHAUSTED_RETRY_CONDITION"]["StringValue"] == "MaximumEventAgeInSeconds"
    )
    assert letter["MessageAttributes"]["RETRY_ATTEMPTS"]["StringValue"] == "0"
    assert "the local service did not run when it was due" in caplog.text
    assert world.names() == ["weekly"]
    assert len(world.at("2026-12-01T03:59:59")) == 2


def test_a_kill_between_the_call_and_its_record_starts_nothing_twice(world, monkeypatch):
    world.create("at(2026-11-30T03:00:00)")
    with monkeypatch.context() as patch:
        patch.setattr(world.firing, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.at("2026-11-30T03:00:00")
    world.again()
    world.at("2026-11-30T03:05:00")
    first, second = world.tokens()
    assert first == second  # StartPipelineExecution answers with the existing execution
    assert len(world.at("2026-11-30T04:00:00")) == 2


def test_failures_are_tried_again_and_end_in_the_queue(world, caplog):
    policy = {"MaximumRetryAttempts": 2}
    world.create(
        "at(2026-11-30T03:00:00)", target={"RetryPolicy": policy, "DeadLetterConfig": {"Arn": QUEUE}}
    )
    world.refusal = refused()
    world.at("2026-11-30T03:00:00")
    assert len(world.at("2026-11-30T03:00:59")) == 1
    world.again()
    assert len(world.at("2026-11-30T03:01:00")) == 2
    assert len(world.at("2026-11-30T03:02:59")) == 2
    assert world.letters == []
    assert len(world.at("2026-11-30T03:03:00")) == 3
    assert len(set(world.tokens())) == 1
    (letter,) = world.letters
    assert letter["QueueUrl"] == "http://queues/failures"
    assert json.loads(letter["MessageBody"])["PipelineParameters"] == EPOCHS
    attributes = {key: value["StringValue"] for key, value in letter["MessageAttributes"].items()}
    assert attributes.pop("EXECUTION_ID") == world.tokens()[0]
    assert attributes == {
        "ERROR_CODE": "ValidationException",
        "ERROR_MESSAGE": "no such parameter",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        "IS_PAYLOAD_TRUNCATED": "false",
        "RETRY_ATTEMPTS": "2",
        "SCHEDULED_TIME": "2026-11-30T03:00:00Z",
        "SCHEDULE_ARN": "arn:aws:scheduler:us-east-1:123456789012:schedule/default/weekly",
        "TARGET_ARN": PIPELINE,
    }
    assert len(world.at("2026-12-30T03:00:00")) == 3
    assert len(world.letters) == 1
    assert caplog.text.count("tries again: ValidationException: no such parameter") == 2


def test_without_a_queue_or_one_that_takes_it_the_log_has_the_failure(world, caplog):
    never = {"RetryPolicy": {"MaximumRetryAttempts": 0}}
    world.refusal, world.queue_refusal = refused(), refused("NonExistentQueue", "no such queue")
    world.create("at(2026-11-30T03:00:00)", target=never)
    world.create("at(2026-11-30T04:00:00)", "later", target={**never, "DeadLetterConfig": {"Arn": QUEUE}})
    world.at("2026-11-30T03:00:00")
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (
            logging.ERROR,
            "schedule default/weekly, due at 2026-11-30T03:00:00Z, did not start its pipeline:"
            " ValidationException: no such parameter",
        )
    ]
    world.at("2026-11-30T04:00:00")
    assert f"schedule default/later: its dead letter did not reach {QUEUE}" in caplog.text
    assert len(world.at("2026-11-30T06:00:00")) == 2


def test_retries_end_with_the_age_of_the_event(world):
    policy = {"MaximumEventAgeInSeconds": 100}
    world.create(
        "at(2026-11-30T03:00:00)", target={"RetryPolicy": policy, "DeadLetterConfig": {"Arn": QUEUE}}
    )
    world.refusal = refused()
    world.at("2026-11-30T03:00:00")
    world.at("2026-11-30T03:01:00")
    (letter,) = world.letters
    assert (
        letter["MessageAttributes"]["EXHAUSTED_RETRY_CONDITION"]["StringValue"] == "MaximumEventAgeInSeconds"
    )
    assert letter["MessageAttributes"]["RETRY_ATTEMPTS"]["StringValue"] == "1"


def test_what_is_disabled_starts_nothing_and_continues_in_its_rhythm(world):
    request = world.create("rate(1 hour)", StartDate=unix("2026-11-29T20:00:00"))
    world.refusal = refused()
    assert len(world.at("2026-11-29T20:00:00")) == 1
    world.operations["UpdateSchedule"]({**request, "State": "DISABLED"})
    world.refusal = None
    assert len(world.at("2026-11-29T22:15:00")) == 1  # neither what is due nor what was waiting for a retry
    world.operations["UpdateSchedule"](request)
    assert len(world.at("2026-11-29T22:59:59")) == 1
    assert len(world.at("2026-11-29T23:00:00")) == 2
    world.operations["UpdateSchedule"]({**request, "Description": "told"})
    assert len(world.at("2026-11-29T23:59:59")) == 2
    changed = {**request, "ScheduleExpression": "rate(2 hours)", "StartDate": unix("2026-11-30T05:00:00")}
    world.operations["UpdateSchedule"](changed)
    assert len(world.at("2026-11-30T04:59:59")) == 2
    assert len(world.at("2026-11-30T05:00:00")) == 3


def test_a_schedule_that_is_complete_is_deleted_if_it_asks_for_that(world):
    delete = {"ActionAfterCompletion": "DELETE"}
    world.create("at(2026-11-30T03:00:00)", "once", **delete)
    world.create("at(2026-11-30T03:00:00)", "kept")
    world.create("cron(0 3 * * ? *)", "twice", EndDate=unix("2026-12-02T00:00:00"), **delete)
    world.at("2026-11-30T03:00:00")
    assert sorted(world.names()) == ["kept", "twice"]
    assert len(world.at("2026-12-01T03:00:00")) == 4
    assert world.names() == ["kept"]
    assert len(world.at("2027-12-01T03:00:00")) == 4


def test_the_universal_target_and_its_context(world):
    text = json.dumps({
        "PipelineName": "flowers",
        "PipelineExecutionDescription": "<aws.scheduler.schedule-arn> at <aws.scheduler.scheduled-time>,"
        " attempt <aws.scheduler.attempt-number>",
    })  # fmt: skip
    target = {"Arn": UNIVERSAL, "RoleArn": "arn:aws:iam::123456789012:role/r", "Input": text}
    request = world.create("at(2026-11-30T03:00:00)", "other")
    world.operations["UpdateSchedule"]({**request, "Target": target})
    world.refusal = refused("ThrottlingException")
    world.at("2026-11-30T03:00:30")
    world.refusal = None
    world.at("2026-11-30T03:02:00")
    (_, first), (_, second) = world.asked
    assert first["PipelineName"] == "flowers"
    arn = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/other"
    told = f"{arn} at 2026-11-30T03:00:00Z, attempt "
    assert [first["PipelineExecutionDescription"], second["PipelineExecutionDescription"]] == [
        f"{told}1", f"{told}2",
    ]  # fmt: skip
    assert first["ClientRequestToken"] == second["ClientRequestToken"]
