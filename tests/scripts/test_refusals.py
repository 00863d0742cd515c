"""The command that goes on after the gate's no."""

import pytest

from config.settings import load
from scripts import refusals

ARN = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/p/execution/abcdefghijkl"
LOW = (
    "Test accuracy 0.68 on 60 pictures of 3 classes is below AccuracyThreshold 0.7;"
    " --parameter AccuracyThreshold=0.68 would let it pass"
)
GUESSING = "it is not above 0.95; --set gate.better_than_guessing=false would let it pass"


@pytest.fixture(scope="module")
def settings():
    return load(environ={})


def test_the_tail_runs_again_with_what_was_given(settings):
    given = {"AccuracyThreshold": "0.7", "EndpointName": "other", "EndpointInstanceCount": "1", "Epochs": "3"}
    assert refusals.rerun_command(LOW, ARN, given, settings, ["--local=http://127.0.0.1:9"]) == (
        f"python scripts/start_execution.py --local=http://127.0.0.1:9 --from CheckAccuracy --source {ARN}"
        " --parameter AccuracyThreshold=0.68 --parameter EndpointName=other --wait"
    )


def test_a_setting_is_upserted_first(settings):
    command = refusals.rerun_command(GUESSING, ARN, {"AccuracyThreshold": "0.7"}, settings)
    upsert, start = command.split(" && ")
    assert upsert == "python scripts/upsert_pipeline.py --set gate.better_than_guessing=false"
    assert start.endswith(f"--source {ARN} --parameter AccuracyThreshold=0.7 --wait")


def test_the_same_command_with_one_option_more():
    typed = ["python", "scripts/run_local.py", "--data", "my pictures"]
    assert refusals.retry_command(LOW, typed) == (
        "python scripts/run_local.py --data 'my pictures' --parameter AccuracyThreshold=0.68"
    )
    assert refusals.retry_command(GUESSING, typed).endswith(" --set gate.better_than_guessing=false")


@pytest.mark.parametrize("refusal", ["", "The loss is nan"])
def test_nothing_to_type(settings, refusal):
    assert (
        refusals.retry_command(refusal, ["python"])
        == refusals.rerun_command(refusal, ARN, {}, settings)
        == ""
    )
