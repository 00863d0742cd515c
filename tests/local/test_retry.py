import pytest

from local.retry import delay_s, parse_retry_policy

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
