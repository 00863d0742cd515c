import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import FILE, load
from tests.infra.template import BUCKET, EVERYTHING, Stack
from tests.infra.template import FILE as TEMPLATE

LINT = Path(__file__).with_name("lint.py")
# CloudFormation's quota of a template that is sent with the request, as docs/aws.md does.
MAX_BYTES = 51_200
# The Service Authorization Reference gives these no resource: its page "Actions, resources, and condition
# keys for ..." of this service.
WITHOUT_RESOURCE = {
    "ecr:GetAuthorizationToken": "Amazon Elastic Container Registry",
    "cloudwatch:PutMetricData": "Amazon CloudWatch",
    "ec2:DescribeDhcpOptions": "Amazon EC2",
    "ec2:DescribeNetworkInterfaces": "Amazon EC2",
    "ec2:DescribeSecurityGroups": "Amazon EC2",
    "ec2:DescribeSubnets": "Amazon EC2",
    "ec2:DescribeVpcs": "Amazon EC2",
}


@pytest.fixture(scope="module")
def everything():
    return Stack(**EVERYTHING)


def as_list(value):
    return value if isinstance(value, list) else [value]


def statements(stack, role):
    return [statement for document in stack.policies(role) for statement in document["Statement"]]


def run(*command):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_cfn_lint_has_nothing_to_say():
    completed = run(Path(sys.executable).with_name("cfn-lint"), TEMPLATE)
    assert (completed.returncode, completed.stdout) == (0, "")


def test_parliament_has_nothing_to_say_and_would_say_it(tmp_path):
    completed = run(LINT)
    assert (completed.returncode, completed.stdout) == (0, "stack.yaml: parliament has nothing to say\n")
    spoilt = TEMPLATE.read_text().replace("s3:GetBucketLocation", "s3:GetBucketPlace")
    spoilt = spoilt.replace("aws:RequestTag/deployment", "sagemaker:RequestTag/deployment")
    (tmp_path / "spoilt.yaml").write_text(spoilt)
    completed = run(LINT, tmp_path / "spoilt.yaml")
    assert completed.returncode == 1
    assert "JobPolicy: UNKNOWN_ACTION" in completed.stdout
    assert "ExecutionRole: UNKNOWN_CONDITION_FOR_ACTION" in completed.stdout


def test_the_template_can_be_sent_with_the_request():
    assert len(TEMPLATE.read_bytes()) < MAX_BYTES
    # CloudFormation's user guide, "Template format": YAML's aliases and merges are not supported.
    assert "&" not in TEMPLATE.read_text()


def test_a_role_trusts_one_service(everything):
    services = {
        "LambdaRole": "lambda",
        "SchedulerRole": "scheduler",
        **dict.fromkeys(("ExecutionRole", "ProcessingRole", "TrainingRole"), "sagemaker"),
        **dict.fromkeys(("VerificationRole", "EndpointRole", "ScoringRole"), "sagemaker"),
    }
    assert {*services, "GitHubRole"} == set(everything.roles())
    for role, service in services.items():
        (statement,) = everything.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Effect"] == "Allow"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
        assert statement["Action"] == "sts:AssumeRole"


def test_github_is_trusted_in_one_environment_of_one_repository(everything):
    (statement,) = everything.resources["GitHubRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Principal"] == {"Federated": everything.arn("GitHubProviderOfAccount")}
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": "repo:octo/flowers:environment:production",
        }
    }
    known = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    stack = Stack(**EVERYTHING, GitHubProvider=known)
    assert "GitHubProviderOfAccount" not in stack.resources
    (statement,) = stack.resources["GitHubRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Federated": known}


def test_no_role_has_an_action_with_a_star(everything):
    actions = [
        action
        for role in everything.roles()
        for statement in statements(everything, role)
        for action in as_list(statement["Action"])
    ]
    assert len(actions) > 100
    assert [action for action in actions if "*" in action] == []


def test_a_bare_star_stands_only_where_iam_knows_no_resource_and_under_a_condition(everything):
    seen = set()
    for role in everything.roles():
        for statement in statements(everything, role):
            assert statement["Effect"] == "Allow"
            resources = as_list(statement["Resource"])
            if "*" in resources:
                assert statement["Condition"]
                seen |= set(as_list(statement["Action"]))
            assert all(resource.startswith("arn:") or resource == "*" for resource in resources)
    assert seen == WITHOUT_RESOURCE.keys()


def test_parliaments_reference_knows_no_resource_for_these_actions_either():
    folder = Path(importlib.util.find_spec("parliament").origin).parent
    services = {entry["prefix"]: entry for entry in json.loads((folder / "iam_definition.json").read_text())}
    for action in WITHOUT_RESOURCE:
        service, _, name = action.partition(":")
        (entry,) = [item for item in services[service]["privileges"] if item["privilege"] == name]
        assert [item["resource_type"] for item in entry["resource_types"]] == [""]


def test_roles_are_handed_to_the_service_that_uses_them(everything):
    passing = [
        (role, statement)
        for role in everything.roles()
        for statement in statements(everything, role)
        if "iam:PassRole" in as_list(statement["Action"])
    ]
    assert [role for role, _ in passing] == ["ExecutionRole", "LambdaRole", "GitHubRole", "GitHubRole"]
    for _, statement in passing:
        assert statement["Condition"]["StringEquals"].keys() == {"iam:PassedToService"}
        assert all(resource.startswith("arn:aws:iam::") for resource in as_list(statement["Resource"]))


def test_the_outputs_fill_the_settings(everything):
    settings = {
        entry["Description"].removesuffix(" in pipeline.toml") for entry in everything.outputs.values()
    }
    roles = {key for key in load(FILE, {}).placeholders() if key.endswith("_role")}
    assert len(roles) == 8
    assert settings == {
        *roles,
        "bucket",
        "schedule.dead_letter_queue",
        "deployment.alarms",
        "AWS_ROLE among the variables of the repository's environment",
    }


def test_without_a_choice_there_are_roles_only():
    stack = Stack(BucketName=BUCKET)
    assert {entry["Type"] for entry in stack.resources.values()} == {
        "AWS::IAM::Role",
        "AWS::IAM::ManagedPolicy",
    }
    assert "GitHubRole" not in stack.resources
    actions = {a for r in stack.roles() for s in statements(stack, r) for a in as_list(s["Action"])}
    assert not [action for action in actions if action.startswith(("kms:", "ec2:"))]


def test_the_bucket_is_private_encrypted_versioned_and_asked_by_tls_only(everything):
    bucket = everything.resources["Bucket"]
    properties = bucket["Properties"]
    assert bucket["DeletionPolicy"] == "Retain"
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": everything.arn("Key"),
    }
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert [
        entry["NoncurrentVersionExpiration"] for entry in rules if "NoncurrentVersionExpiration" in entry
    ] == [{"NoncurrentDays": 90}]
    (refusal,) = everything.resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (refusal["Effect"], refusal["Principal"]) == ("Deny", "*")
    assert refusal["Resource"] == [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("key", ["", "arn:aws:kms:us-east-1:123456789012:key/mine"])
def test_the_buckets_key_is_s3s_or_yours(key):
    stack = Stack(BucketName=BUCKET, CreateBucket="true", KmsKey=key)
    assert "Key" not in stack.resources
    (rule,) = stack.resources["Bucket"]["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    default = rule["ServerSideEncryptionByDefault"]
    assert default == (
        {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
    )


def test_alarms_watch_the_variant_that_the_function_makes(everything):
    from entrypoints.deploy import VARIANT

    other = Stack(
        **EVERYTHING, EndpointName="flowers-blue", AlarmTopic="arn:aws:sns:us-east-1:123456789012:t"
    )
    for name in ("ErrorAlarm", "LatencyAlarm"):
        for stack, endpoint in ((everything, "flowers"), (other, "flowers-blue")):
            properties = stack.resources[name]["Properties"]
            assert properties["Dimensions"] == [
                {"Name": "EndpointName", "Value": endpoint},
                {"Name": "VariantName", "Value": VARIANT},
            ]
            assert properties["AlarmName"].startswith("flowers-")
        assert "AlarmActions" not in everything.resources[name]["Properties"]
        assert other.resources[name]["Properties"]["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:t"]


def test_the_accounts_of_awss_images_are_those_of_the_sdk():
    from tests.infra.template import parse

    folder = (
        Path(importlib.util.find_spec("sagemaker").submodule_search_locations[0]) / "core/image_uri_config"
    )

    def registries(name):
        found = {}

        def collect(value):
            for key, item in value.items():
                if key == "registries":
                    found.update(item)
                elif isinstance(item, dict):
                    collect(item)

        collect(json.loads((folder / f"{name}.json").read_text()))
        return found

    training, serving, rules = (registries(name) for name in ("pytorch-amzn2023", "ray-serve", "debugger"))
    mapping = parse()["Mappings"]["Images"]
    assert {region: row["Containers"] for region, row in mapping.items()} == serving
    assert {region: row["Rules"] for region, row in mapping.items()} == serving | rules
    # The other versions of the training image may lie elsewhere.
    version = json.loads((folder / "pytorch-amzn2023.json").read_text())["training"]["versions"]["2.13"]
    assert version["registries"] == {region: row["Containers"] for region, row in mapping.items()}
    assert training.keys() >= version["registries"].keys()
