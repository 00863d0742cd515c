import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import botocore.session
import cfnlint
import pytest
import yaml
from botocore import xform_name

from entrypoints import champion, deploy, verify

TEMPLATE = Path(__file__).resolve().parents[2] / "infra" / "roles.yaml"
# IAM has no resource types for these: docs.aws.amazon.com/service-authorization, "Resource types" empty.
WITHOUT_RESOURCE = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}


CALL = re.compile(r"\b(?:sagemaker|runtime)\.([a-z_]+)\(")
OPERATIONS = {
    xform_name(operation): operation
    for service in ("sagemaker", "sagemaker-runtime")
    for operation in botocore.session.get_session().get_service_model(service).operation_names
}


class Loader(yaml.SafeLoader):
    """Reads !Sub, !Ref and similar tags as their arguments."""


def _argument(loader, _suffix, node):
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node)
    return loader.construct_scalar(node)


Loader.add_multi_constructor("!", _argument)


@pytest.fixture(scope="module")
def resources():
    return yaml.load(TEMPLATE.read_text(), Loader)["Resources"]


def as_list(value):
    return value if isinstance(value, list) else [value]


def statements(resources):
    for resource in resources.values():
        properties = resource["Properties"]
        documents = [entry["PolicyDocument"] for entry in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            yield from document["Statement"]


def test_cfn_lint_has_nothing_to_say():
    completed = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stdout) == (0, "")


@pytest.mark.parametrize(
    ("role", "service"),
    [("ExecutionRole", "sagemaker"), ("LambdaRole", "lambda"), ("SchedulerRole", "scheduler")],
)
def test_a_role_trusts_one_service(resources, role, service):
    (statement,) = resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    assert statement["Action"] == "sts:AssumeRole"


def test_no_action_has_a_star(resources):
    actions = [action for statement in statements(resources) for action in as_list(statement["Action"])]
    assert actions
    assert [action for action in actions if "*" in action] == []


def test_a_bare_star_stands_only_where_iam_knows_no_resource_and_under_a_condition(resources):
    for statement in statements(resources):
        if "*" in as_list(statement["Resource"]):
            assert set(as_list(statement["Action"])) <= WITHOUT_RESOURCE
            assert statement["Condition"]


def test_every_action_is_allowed_on_a_resource_of_a_type_that_it_takes(resources):
    """The Service Authorization Reference that cfn-lint contains."""
    file = Path(cfnlint.__file__).parent / "data" / "AdditionalSpecs" / "Policies.json"
    reference = json.loads(file.read_text())
    checked = set()
    for statement in statements(resources):
        types = {kind for arn in as_list(statement["Resource"]) for kind in re.findall(":([a-z-]+)/", arn)}
        for action in as_list(statement["Action"]):
            service, _, name = action.partition(":")
            if service == "sagemaker":
                assert types & set(reference[service]["Actions"][name.lower()]["Resources"]), action
                checked.add(action)
    assert "sagemaker:ListModelPackages" in checked


def test_the_execution_role_creates_what_the_steps_create_and_no_more(resources):
    # Of the steps in tests/golden/definition.json; a group is there from the first upsert on. VerifyEndpoint
    # creates a failed endpoint again.
    jobs = {"CreateProcessingJob", "CreateHyperParameterTuningJob", "CreateTrainingJob"}
    expected = {*jobs, "CreateModelPackage", "CreateModelPackageGroup", "CreateEndpoint"}
    actions = [
        action
        for statement in resources["ExecutionPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
    ]
    created = {action.removeprefix("sagemaker:") for action in actions if ":Create" in action}
    assert created - {"logs:CreateLogGroup", "logs:CreateLogStream"} == expected


def called(*programs):
    """The operations of SageMaker in the source of modules and functions, in IAM's words."""
    methods = {name for program in programs for name in CALL.findall(inspect.getsource(program))}
    return {f"sagemaker:{OPERATIONS[name]}" for name in methods}


def allowed(resources, policy, *sids):
    """The actions of a policy on SageMaker, in all its statements or in these."""
    return {
        action
        for statement in resources[policy]["Properties"]["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
        if action.startswith("sagemaker:") and (not sids or statement["Sid"] in sids)
    }


def test_the_lambda_role_may_do_what_the_function_calls_and_no_more(resources):
    calls = called(deploy, champion)
    assert "sagemaker:UpdateEndpoint" in calls
    assert allowed(resources, "LambdaPolicy") == calls


def test_the_function_tags_endpoints_only(resources):
    tagged = [
        resource.rpartition(":")[2]
        for statement in resources["LambdaPolicy"]["Properties"]["PolicyDocument"]["Statement"]
        if "sagemaker:AddTags" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    ]
    assert tagged == ["endpoint/${Name}*"]


def test_the_execution_role_may_do_to_endpoints_what_verify_calls_and_no_more(resources):
    # verify.py imports these from deploy.py; they call only each other.
    of_deploy = [deploy.bring_up, deploy.describe_endpoint, deploy.wait_until_deleted]
    assert allowed(resources, "ExecutionPolicy", "VerifyEndpoint") == called(verify, *of_deploy)


def test_roles_are_passed_to_sagemaker_only(resources):
    passing = [s for s in statements(resources) if "iam:PassRole" in as_list(s["Action"])]
    assert len(passing) == 2
    for statement in passing:
        assert statement["Resource"] == "ExecutionRole.Arn"
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_the_scheduler_may_only_start_the_pipeline_and_leave_dead_letters(resources):
    (policy,) = resources["SchedulerRole"]["Properties"]["Policies"]
    start, letters = policy["PolicyDocument"]["Statement"]
    assert start["Action"] == "sagemaker:StartPipelineExecution"
    assert start["Resource"].endswith(":pipeline/${Name}")
    assert letters["Action"] == "sqs:SendMessage"
    assert letters["Resource"].endswith(":sqs:${AWS::Region}:${AWS::AccountId}:${Name}*")


def test_the_outputs_fill_the_settings():
    outputs = yaml.load(TEMPLATE.read_text(), Loader)["Outputs"]
    keys = {entry["Description"].split()[0] for entry in outputs.values()}
    assert keys == {"execution_role", "lambda_role", "scheduler_role", "bucket"}


def test_only_endpoints_of_the_deployments_name_are_touched(resources):
    for statement in statements(resources):
        actions = as_list(statement["Action"])
        if any("Endpoint" in action for action in actions):
            assert all("/${Name}*" in resource for resource in as_list(statement["Resource"]))
        if "cloudwatch:DescribeAlarms" in actions:
            assert statement["Resource"].endswith(":alarm:${Name}*")
