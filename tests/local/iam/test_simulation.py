"""SimulatePrincipalPolicy as boto3 sends it, about roles that moto keeps."""

import json

import pytest
from botocore.exceptions import ClientError

from local.application import application
from local.home.home import Home
from local.iam import simulation
from local.s3.operations import S3
from local.server import Server
from local.wire.operations import ControlPlane
from tests.local.conftest import clients, refuse

ROLE = "arn:aws:iam::123456789012:role/jobs"


def policy(*actions, effect="Allow", resource="*"):
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def iam(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    others = {"iam": simulation.answer}
    s3 = S3(Home(home)).handle
    server = Server(application(s3, ControlPlane({}), refuse, refuse, refuse, others=others))
    server.start()
    yield clients(server.url)("iam")
    server.stop()


def decisions(iam, *actions, role=ROLE, **more):
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=role, ActionNames=list(actions), **more
    )
    return [result["EvalDecision"] for page in pages for result in page["EvaluationResults"]]


def test_a_role_may_what_its_policies_say(iam):
    iam.create_role(RoleName="jobs", AssumeRolePolicyDocument="{}")
    assert decisions(iam, "s3:PutObject") == ["implicitDeny"]
    document = policy("s3:*", resource="arn:aws:s3:::b/*")
    iam.put_role_policy(RoleName="jobs", PolicyName="own", PolicyDocument=document)
    assert decisions(iam, "s3:PutObject") == ["implicitDeny"]  # without a resource it is "*"
    resources = ["arn:aws:s3:::b/a", "arn:aws:s3:::c/a"]
    assert decisions(iam, "s3:PutObject", ResourceArns=resources) == ["allowed", "implicitDeny"]
    iam.attach_role_policy(RoleName="jobs", PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
    asked = ["sagemaker:CreateTrainingJob", "cloudwatch:PutMetricData", "iam:CreateUser"]
    assert decisions(iam, *asked, PaginationConfig={"PageSize": 2}) == ["allowed", "allowed", "implicitDeny"]
    own = iam.create_policy(PolicyName="no", PolicyDocument=policy("sagemaker:Create*", effect="Deny"))
    iam.attach_role_policy(RoleName="jobs", PolicyArn=own["Policy"]["Arn"])
    assert decisions(iam, *asked) == ["explicitDeny", "allowed", "implicitDeny"]
    iam.put_role_permissions_boundary(RoleName="jobs", PermissionsBoundary=own["Policy"]["Arn"])
    (result,) = iam.simulate_principal_policy(PolicySourceArn=ROLE, ActionNames=asked[1:2])[
        "EvaluationResults"
    ]
    assert result["EvalDecision"] == "implicitDeny"
    assert result["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}


def test_what_is_known_of_the_request_decides_with_it(iam):
    iam.create_role(RoleName="tagged", AssumeRolePolicyDocument="{}")
    role = ROLE.replace("jobs", "tagged")
    condition = {
        "StringEquals": {"aws:RequestTag/team": "a"},
        "DateLessThan": {"aws:CurrentTime": "2026-01-01"},
    }
    for name, tested in condition.items():
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": f"arn:aws:s3:::{name.lower()}"}
        document = {"Version": "2012-10-17", "Statement": {**statement, "Condition": {name: tested}}}
        iam.put_role_policy(RoleName="tagged", PolicyName=name, PolicyDocument=json.dumps(document))
    asked = {
        "PolicySourceArn": role,
        "ActionNames": ["s3:PutObject"],
        "ResourceArns": ["arn:aws:s3:::stringequals"],
    }
    (result,) = iam.simulate_principal_policy(**asked)["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"
    assert result["MissingContextValues"] == ["aws:CurrentTime", "aws:RequestTag/team"]
    entry = {"ContextKeyName": "aws:RequestTag/Team", "ContextKeyType": "string", "ContextKeyValues": ["a"]}
    (result,) = iam.simulate_principal_policy(**asked, ContextEntries=[entry])["EvaluationResults"]
    assert result["EvalDecision"] == "allowed"
    assert result["MissingContextValues"] == ["aws:CurrentTime"]
    entry = {
        "ContextKeyName": "aws:CurrentTime",
        "ContextKeyType": "date",
        "ContextKeyValues": ["2026-01-01"],
    }
    asked["ResourceArns"] = ["arn:aws:s3:::datelessthan"]
    with pytest.raises(ClientError, match=r"DateLessThan: the local service does not simulate it"):
        iam.simulate_principal_policy(**asked, ContextEntries=[entry])


def test_what_cannot_be_simulated_is_refused(iam):
    with pytest.raises(iam.exceptions.NoSuchEntityException, match="aws iam create-role --role-name other"):
        decisions(iam, "s3:PutObject", role="arn:aws:iam::123456789012:role/other")
    with pytest.raises(ClientError, match=r"PolicyInputList.member.1: the local service sim"):
        decisions(iam, "s3:PutObject", PolicyInputList=[policy("*")])
