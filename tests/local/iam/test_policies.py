import pytest

from local.iam.policies import decide

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
