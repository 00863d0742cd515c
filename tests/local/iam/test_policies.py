import pytest

from local.iam.policies import UnknownOperatorError, decide

RESOURCE = "arn:aws:s3:::flowers/a.png"


def statement(effect="Allow", **more):
    return {"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": "*", "Resource": "*", **more}}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (statement(), "allowed"),
        (statement(Action=["s3:List*", "S3:putobject"]), "allowed"),
        (statement(Action="s3:Put?bject"), "allowed"),
        (statement(Action="s3:Put"), "implicitDeny"),
        (statement(Resource="arn:aws:s3:::flowers/*"), "allowed"),
        (statement(Resource="arn:aws:s3:::flowers"), "implicitDeny"),
        (statement(Resource="arn:aws:s3:::Flowers/*"), "implicitDeny"),
        (statement("Deny"), "explicitDeny"),
        (statement("Deny", Action="s3:Get*"), "implicitDeny"),
        ({"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]}, "allowed"),
        ({"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}, "implicitDeny"),
        ({"Statement": [{"Effect": "Allow", "Action": "*", "NotResource": RESOURCE}]}, "implicitDeny"),
        (statement(Condition={"StringEquals": {"aws:SourceAccount": "1"}}), "implicitDeny"),
        (statement("Deny", Condition={"Bool": {"aws:SecureTransport": "false"}}), "implicitDeny"),
        (statement(Condition={"StringNotEquals": {"aws:SourceAccount": "1"}}), "allowed"),
        (statement(Condition={"StringEqualsIfExists": {"aws:SourceAccount": "1"}}), "allowed"),
        (statement(Condition={"Null": {"aws:SourceAccount": "true"}}), "allowed"),
        (statement(Condition={"Null": {"aws:SourceAccount": "false"}}), "implicitDeny"),
        (statement(Condition={"ForAnyValue:StringNotLike": {"aws:TagKeys": "a"}}), "implicitDeny"),
        (statement(Condition={"ForAllValues:StringLike": {"aws:TagKeys": "a"}}), "allowed"),
    ],
)
def test_a_policy_decides(policy, expected):
    assert decide([policy], "s3:PutObject", RESOURCE) == expected


def test_a_denial_outweighs_all_that_allow():
    assert decide([statement(), statement("Deny", Action="s3:Put*"), statement()], "s3:PutObject", "*") == (
        "explicitDeny"
    )
    assert decide([], "s3:PutObject", "*") == "implicitDeny"


@pytest.mark.parametrize(
    ("condition", "values", "met"),
    [
        ({"StringEquals": {"aws:RequestTag/Team": ["a", "b"]}}, ["b"], True),
        ({"StringEquals": {"aws:requesttag/team": "a"}}, ["A"], False),
        ({"StringEqualsIgnoreCase": {"aws:RequestTag/team": "a"}}, ["A"], True),
        ({"StringEquals": {"aws:RequestTag/team": "a"}}, ["a", "a2"], False),
        ({"StringNotEquals": {"aws:RequestTag/team": ["a", "b"]}}, ["b"], False),
        ({"StringNotEqualsIfExists": {"aws:RequestTag/team": "a"}}, ["b"], True),
        ({"StringLike": {"aws:RequestTag/team": "a*c"}}, ["abc"], True),
        ({"StringNotLike": {"aws:RequestTag/team": "a*"}}, ["abc"], False),
        ({"Null": {"aws:RequestTag/team": "false"}}, ["a"], True),
        ({"Null": {"aws:RequestTag/team": True}}, ["a"], False),
        ({"Bool": {"aws:RequestTag/team": False}}, ["false"], True),
        ({"NumericLessThanEquals": {"aws:RequestTag/team": "3"}}, ["3"], True),
        ({"NumericGreaterThan": {"aws:RequestTag/team": "3"}}, ["3"], False),
        ({"ArnLike": {"aws:RequestTag/team": "arn:aws:s3:::b*"}}, ["arn:aws:s3:::bucket"], True),
        ({"ArnEquals": {"aws:RequestTag/team": "arn:aws:*:b"}}, ["arn:aws:s3:::b"], False),
        ({"ForAllValues:StringEquals": {"aws:RequestTag/team": ["a", "b"]}}, ["a", "b"], True),
        ({"ForAllValues:StringEquals": {"aws:RequestTag/team": "a"}}, ["a", "b"], False),
        ({"ForAnyValue:StringEquals": {"aws:RequestTag/team": "b"}}, ["a", "b"], True),
        ({"ForAllValues:StringNotLike": {"aws:RequestTag/team": "b*"}}, ["a", "b"], False),
    ],
)
def test_a_condition_compares_what_is_known_of_the_request(condition, values, met):
    decision = decide(
        [statement(Condition=condition)], "s3:PutObject", RESOURCE, {"aws:requesttag/team": values}
    )
    assert (decision == "allowed") is met


def test_a_comparison_that_is_not_known_is_no_guess():
    policy = statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    assert decide([policy], "s3:PutObject", RESOURCE) == "implicitDeny"
    with pytest.raises(UnknownOperatorError, match="IpAddress"):
        decide([policy], "s3:PutObject", RESOURCE, {"aws:sourceip": ["10.1.1.1"]})
