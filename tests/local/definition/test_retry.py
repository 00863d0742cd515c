import pytest

from local.definition.retry import delay_s, parse_retry_policy
from tests.local.definitions import document, training
from tests.local.executions import statuses
from tests.local.fake_aws import client_error

THROTTLED = "Step.THROTTLING"


def policy(**entry):
    return parse_retry_policy({"ExceptionType": [THROTTLED], **entry})


def test_the_delay_grows_until_the_attempts_are_spent():
    policies = [policy(IntervalSeconds=2, BackoffRate=3, MaxAttempts=3)]
    delays = [delay_s(policies, THROTTLED, attempt, 0) for attempt in (1, 2, 3, 4)]
    assert delays == [2, 6, 18, None]


def test_the_time_may_be_bounded_instead():
    policies = [policy(IntervalSeconds=30, BackoffRate=1, ExpireAfterMin=1)]
    assert delay_s(policies, THROTTLED, 99, 30) == 30
    assert delay_s(policies, THROTTLED, 2, 31) is None


def test_only_the_named_exceptions_are_retried_and_zero_means_never():
    assert delay_s([policy()], "SageMaker.CAPACITY_ERROR", 1, 0) is None
    assert delay_s([policy()], None, 1, 0) is None
    assert delay_s([policy(MaxAttempts=0)], THROTTLED, 1, 0) is None
    assert policy().max_attempts == 5


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"ExceptionType": []}, r"unknown ExceptionType \[\]"),
        ({"Attempts": 3}, "expected an object with BackoffRate, ExceptionType"),
        ({"ExceptionType": ["Other"]}, "unknown ExceptionType Other"),
        ({"MaxAttempts": 1, "ExpireAfterMin": 1}, "not both"),
        ({"MaxAttempts": 21}, "MaxAttempts 21; expected 0 to 20"),
        ({"IntervalSeconds": -1}, "IntervalSeconds -1"),
        ({"BackoffRate": "2"}, "BackoffRate '2'"),
    ],
)
def test_malformed_policies_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        policy(**entry)


def retrying(*exception_types):
    return [{"ExceptionType": list(exception_types), "IntervalSeconds": 0, "MaxAttempts": 2}]


def test_an_internal_error_is_retried_under_a_new_name(run, aws):
    aws.endings["Train"] = [("Failed", "InternalServerError: x")] * 2 + [("Completed", "")]
    record = run(document(training("Train", RetryPolicies=retrying("SageMaker.JOB_INTERNAL_ERROR"))))
    assert statuses(record) == {"Train": "Succeeded"}
    assert record["_steps"]["Train"]["AttemptCount"] == 2
    assert len({request["TrainingJobName"] for request in aws.created("CreateTrainingJob")}) == 3


def test_a_script_error_is_not_retried(run, aws):
    aws.endings["Train"] = [("Failed", "AlgorithmError: x"), ("Completed", "")]
    policies = retrying("SageMaker.JOB_INTERNAL_ERROR", "Step.SERVICE_FAULT", "SageMaker.CAPACITY_ERROR")
    assert statuses(run(document(training("Train", RetryPolicies=policies)))) == {"Train": "Failed"}
    assert len(aws.created("CreateTrainingJob")) == 1


@pytest.mark.parametrize(
    ("code", "status", "exception_type"),
    [
        ("ThrottlingException", 400, "Step.THROTTLING"),
        ("ResourceLimitExceeded", 400, "SageMaker.RESOURCE_LIMIT"),
        ("InternalFailure", 500, "Step.SERVICE_FAULT"),
    ],
)
def test_a_refusal_is_retried_by_its_kind(run, aws, code, status, exception_type):
    aws.refusals["CreateTrainingJob"] = client_error("CreateTrainingJob", code, "later", status)
    record = run(document(training("Train", RetryPolicies=retrying(exception_type))))
    assert statuses(record) == {"Train": "Failed"}
    assert len(aws.created("CreateTrainingJob")) == 3
