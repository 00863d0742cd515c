import json

import pytest

from scripts.command import Failure
from scripts.schedule_retraining import cron_expression, main, rate_expression

SCRIPT = "schedule_retraining.py"
NAME = "image-classification-retraining"


@pytest.fixture
def pipeline(client):
    answer = client("sagemaker").create_pipeline(
        PipelineName="image-classification",
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": []}),
        ClientRequestToken="a" * 32,
        RoleArn="arn:aws:iam::123456789012:role/ImageClassificationExecution",
    )
    return answer["PipelineArn"]


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("7 days", "rate(7 days)"),
        ("1 day", "rate(1 day)"),
        ("1 hours", "rate(1 hour)"),
        ("90minute", "rate(90 minutes)"),
    ],
)
def test_rate(text, expression):
    assert rate_expression(text) == expression


@pytest.mark.parametrize(
    "text", ["", "7", "days", "0 days", "-1 days", "1.5 hours", "1 week", "7 days 2 hours"]
)
def test_a_malformed_rate_is_refused(text):
    with pytest.raises(Failure, match=r"--rate .*7 days"):
        rate_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "0 3 ? * MON *",
        "0/15 * * * ? *",
        "0 8,20 L JAN-MAR ? 2026-2030",
        "0 3 ? * 6L *",
        "0 3 15W * ? *",
        "0 3 ? * 2#1 *",
    ],
)
def test_cron(text):
    assert cron_expression(text) == f"cron({text})"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("0 3 * * *", "5 fields"),
        ("60 3 ? * MON *", "minutes"),
        ("0 24 ? * MON *", "hours"),
        ("0 3 32 * ? *", "day of month"),
        ("0 3 32W * ? *", "day of month"),
        ("0 3 ? 13 MON *", "month"),
        ("0 3 ? * FUN *", "day of week"),
        ("0 3 ? * MON 1969", "year"),
        ("0/0 3 ? * MON *", "minutes"),
        ("1-2-3 3 ? * MON *", "minutes"),
        ("0 3 ? * ? *", "exactly one"),
        ("0 3 1 * MON *", "exactly one"),
    ],
)
def test_a_malformed_cron_is_refused(text, word):
    with pytest.raises(Failure, match=word):
        cron_expression(text)


def test_create_show_change_and_delete(run, refused, url, client, pipeline):
    scheduler = client("scheduler")
    refused(run(SCRIPT, "--local", url), "there is no schedule", "--rate")

    created = run(SCRIPT, "--local", url, "--rate", "7 days", "--parameter", "Epochs=3")
    assert created.returncode == 0, created.stderr
    assert "`python -m local`, while it runs, starts it" in created.stderr
    schedule = scheduler.get_schedule(Name=NAME)
    assert schedule["ScheduleExpression"] == "rate(7 days)"
    assert schedule["State"] == "ENABLED"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    assert schedule["Target"]["Arn"] == pipeline
    assert schedule["Target"]["RoleArn"] == "arn:aws:iam::123456789012:role/ImageClassificationScheduler"
    assert schedule["Target"]["SageMakerPipelineParameters"] == {
        "PipelineParameterList": [{"Name": "Epochs", "Value": "3"}]
    }

    shown = run(SCRIPT, "--local", url)
    assert shown.returncode == 0
    assert "rate(7 days)" in shown.stdout
    assert "Epochs=3" in shown.stdout

    deleted = run(SCRIPT, "--local", url, "--delete")
    assert deleted.returncode == 0
    assert scheduler.list_schedules()["Schedules"] == []
    refused(run(SCRIPT, "--local", url, "--delete"), "nothing to delete")


@pytest.mark.usefixtures("pipeline")
def test_what_is_not_named_stays(url, client):
    scheduler = client("scheduler")
    main(
        ["--local", url, "--cron", "0 3 ? * MON *", "--timezone", "Europe/Berlin", "--parameter", "Epochs=3"]
    )
    before = scheduler.get_schedule(Name=NAME)

    main(["--local", url, "--disable"])
    disabled = scheduler.get_schedule(Name=NAME)
    assert disabled["State"] == "DISABLED"
    for key in ("ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target"):
        assert disabled[key] == before[key]

    main(["--local", url, "--parameter", "ImageSize=64"])
    changed = scheduler.get_schedule(Name=NAME)
    assert changed["State"] == "DISABLED"
    assert changed["ScheduleExpression"] == "cron(0 3 ? * MON *)"
    assert changed["Target"]["SageMakerPipelineParameters"]["PipelineParameterList"] == [
        {"Name": "Epochs", "Value": "3"},
        {"Name": "ImageSize", "Value": "64"},
    ]

    main(["--local", url, "--enable"])
    enabled = scheduler.get_schedule(Name=NAME)
    assert enabled["State"] == "ENABLED"
    assert enabled["Target"] == changed["Target"]


@pytest.mark.usefixtures("pipeline")
def test_what_cannot_be_started_goes_to_a_queue(url, client, capsys):
    scheduler = client("scheduler")
    queue = "arn:aws:sqs:us-east-1:123456789012:image-classification-failures"
    main(["--local", url, "--rate", "7 days"])
    assert "DeadLetterConfig" not in scheduler.get_schedule(Name=NAME)["Target"]
    main(["--local", url, "--set", f"schedule.dead_letter_queue={queue}", "--set", "schedule.max_retries=3"])
    assert queue in capsys.readouterr().out
    target = scheduler.get_schedule(Name=NAME)["Target"]
    assert target["DeadLetterConfig"] == {"Arn": queue}
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 3
    main(["--local", url, "--parameter", "Epochs=3"])
    assert scheduler.get_schedule(Name=NAME)["Target"] == {
        **target,
        "SageMakerPipelineParameters": {"PipelineParameterList": [{"Name": "Epochs", "Value": "3"}]},
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--set", "schedule.dead_letter_queue=failures.fifo"],
            ["schedule.dead_letter_queue", "standard SQS"],
        ),
        (["--set", "schedule.max_retries=186"], ["schedule.max_retries", "from 0 to 185"]),
        (["--rate", "1 week"], ["--rate", "1 week"]),
        (["--cron", "* * * * *"], ["--cron", "5 fields"]),
        (["--rate", "1 day", "--cron", "0 3 ? * MON *"], ["not allowed with"]),
        (["--rate", "1 day", "--timezone", "Middle/Earth"], ["--timezone", "Europe/Berlin"]),
        (["--rate", "1 day", "--parameter", "Epoch=3"], ["Epoch", "Epochs"]),
        (["--rate", "1 day", "--parameter", "Epochs=few"], ["Epochs", "few"]),
        (["--rate", "1 day", "--parameter", "AccuracyThreshold=1.5"], ["AccuracyThreshold", "1.5"]),
        (["--rate", "1 day", "--parameter", "Epochs"], ["--parameter", "Name=value"]),
        (["--disable"], ["there is no schedule", "--rate"]),
        (["--delete", "--rate", "1 day"], ["--delete goes with no other option"]),
        (["--rate", "1 day"], ["there is no pipeline", "upsert_pipeline.py"]),
    ],
)
def test_bad_input_is_one_line(run, refused, url, arguments, words):
    refused(run(SCRIPT, "--local", url, *arguments), *words)


def test_the_example_account_is_not_sent_to_aws(run, refused, url):
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    endpoints = {f"AWS_ENDPOINT_URL_{service}": url for service in ("SCHEDULER", "SAGEMAKER")}
    refused(run(SCRIPT, "--rate", "1 day", **keys, **endpoints), "scheduler_role", "infra/stack.yaml")
