import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.exceptions import NoCredentialsError

from config.parameters import execution_parameters
from config.settings import load
from scripts import doctor, upsert_pipeline
from scripts.checks import check, quotas
from scripts.checks.roles import TRUSTED
from tests.scripts.answers import Answers

SCRIPT = "doctor.py"
ACCOUNT = "444455556666"
ROLES = {key: f"arn:aws:iam::{ACCOUNT}:role/{key}" for key in TRUSTED}
SETTINGS = load(environ={}, overrides=["bucket=my-flowers", *(f"{key}={arn}" for key, arn in ROLES.items())])
PIPELINE = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:pipeline/image-classification"
PACKAGE = PIPELINE.replace("pipeline/", "model-package/") + "/1"
DEFINITION = json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": []})
TYPES = ("ml.m5.2xlarge", "ml.m5.xlarge", "ml.t3.medium")
USES = ("training job", "spot training job", "processing job", "endpoint")
QUOTAS = [
    {"QuotaName": f"{kind} for {use} usage", "QuotaCode": f"L-{place}{number}", "Value": 8.0}
    for place, kind in enumerate(TYPES)
    for number, use in enumerate(USES)
]
THEN = datetime(2026, 11, 1, tzinfo=UTC)


def role(request):
    name = request["RoleName"]
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": TRUSTED[name]},
        "Action": "sts:AssumeRole",
    }
    return {
        "Role": {
            "RoleName": name,
            "Arn": ROLES[name],
            "AssumeRolePolicyDocument": json.dumps({"Statement": [trust]}),
        }
    }


def simulated(request, denied=()):
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": "implicitDeny" if action in denied else "allowed",
        }
        for action in request["ActionNames"]
        for resource in request["ResourceArns"]
    ]
    return {"EvaluationResults": results, "IsTruncated": False}


# An account in which the pipeline can work.
GOOD = {
    "GetCallerIdentity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/ada"},
    "HeadBucket": {"BucketRegion": "us-east-1"},
    "GetBucketVersioning": {"Status": "Enabled"},
    "GetBucketEncryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        }
    },
    "GetPublicAccessBlock": {
        "PublicAccessBlockConfiguration": dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
    },
    "ListObjectsV2": {"KeyCount": 1},
    "GetRole": role,
    "SimulatePrincipalPolicy": simulated,
    "DescribeImages": {"imageDetails": [{}]},
    "ListServiceQuotas": {"Quotas": QUOTAS},
    "ListAWSDefaultServiceQuotas": {"Quotas": []},
    "ListTrainingJobs": {"TrainingJobSummaries": [{"TrainingJobName": "t"}]},
    "DescribeTrainingJob": {
        "ResourceConfig": {"InstanceType": "ml.m5.2xlarge", "InstanceCount": 1},
        "DebugHookConfig": {},
        "TrainingStartTime": THEN,
    },
    "ListProcessingJobs": {"ProcessingJobSummaries": [{"ProcessingJobName": "p"}]},
    "DescribeProcessingJob": {
        "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2}}
    },
    "ListEndpoints": {"Endpoints": [{"EndpointName": "image-classification"}]},
    "DescribeEndpoint": {
        "EndpointName": "image-classification",
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/image-classification",
        "EndpointConfigName": "c",
        "EndpointStatus": "InService",
        "LastModifiedTime": THEN,
        "ProductionVariants": [{"VariantName": "v", "CurrentInstanceCount": 1}],
    },
    "DescribeEndpointConfig": {
        "ProductionVariants": [
            {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.2xlarge", "InitialInstanceCount": 1}
        ]
    },
    "DescribeModel": {"Containers": [{"ModelPackageName": PACKAGE}]},
    "DescribePipeline": {
        "PipelineArn": PIPELINE,
        "PipelineDefinition": DEFINITION,
        "RoleArn": ROLES["execution_role"],
    },
    "ListTags": {"Tags": []},
    "ListSchedules": {"Schedules": [{"Name": "weekly", "GroupName": "default", "Target": {"Arn": PIPELINE}}]},
    "GetSchedule": {"Target": {"Arn": PIPELINE}},
    "GetProducts": ("AccessDeniedException", "not authorized to perform pricing:GetProducts"),
}


@pytest.fixture(scope="module")
def answers():
    return Answers()


@pytest.fixture
def aws(answers, monkeypatch):
    monkeypatch.setattr(upsert_pipeline, "definition", lambda _settings: DEFINITION)
    answers.reset(GOOD)
    return answers


def subject(aws, settings=SETTINGS, **parameters):
    defaults = {item.name: str(item.default) for item in execution_parameters(settings, "")}
    return check.Subject(settings, aws.session, defaults | parameters)


def examined(aws, **more):
    return list(doctor.examine(subject(aws, **more)))


def the(results, state):
    return {result.check: result for result in results if result.state == state}


def test_an_account_in_which_the_pipeline_can_work(aws):
    results = examined(aws)
    assert [result for result in results if result.state != "ok"] == []
    assert {"credentials", "bucket", "lambda_role: permissions", "serving image"} <= {
        r.check for r in results
    }
    found = "\n".join(result.found for result in results)
    assert (
        "ml.m5.2xlarge for training job usage: 8, of which 1 are in use; TuneHyperparameters takes 2" in found
    )
    assert "ml.m5.xlarge for processing job usage: 8, of which 2 are in use" in found
    assert "image-classification is InService on 1 ml.m5.2xlarge: 0.46 USD an hour, 337 a month" in found


def test_nothing_but_reading(aws):
    examined(aws)
    asked = {operation for operation, _ in aws.asked} - {"GetProducts"}
    assert asked == set(check.READS) - {"ListAWSDefaultServiceQuotas"}
    assert all(name.startswith(("Get", "List", "Describe", "Head", "Simulate")) for name in check.READS)


@pytest.mark.parametrize("operation", sorted(set(check.READS) - {"ListAWSDefaultServiceQuotas", "ListTags"}))
def test_what_aws_denies_is_a_warning_with_its_permission_and_stops_no_other_check(aws, operation):
    names = {result.check for result in examined(aws)}
    aws.deny(operation)
    if operation == "HeadBucket":  # S3 answers a HEAD without a body
        aws.table[operation] = ("403", "Forbidden")
    results = examined(aws)
    told = [result.found for result in results if result.state != "ok"]
    if operation == "HeadBucket":
        assert told == ["bucket my-flowers belongs to someone else or these credentials may not use it"]
    elif operation == "GetCallerIdentity":
        assert told[0] == "not known: these credentials may not sts:GetCallerIdentity"
    else:
        permission = check.READS[operation]
        assert any(permission in line or f"refused {operation}: " in line for line in told), told
        assert not the(results, "failure")
        missing = names - {result.check for result in results}
        assert all(name.endswith("_role: permissions") for name in missing), missing


def test_without_credentials_there_is_one_failure(aws):
    def fail(_request):
        raise NoCredentialsError

    aws.table["GetCallerIdentity"] = fail
    failed, rest = examined(aws)
    assert (failed.state, rest.state) == ("failure", "warning")
    assert "no usable AWS credentials" in failed.found
    assert "quotas" in rest.found


NO_BUCKET = ("NoSuchBucket", "The specified bucket does not exist")


@pytest.mark.parametrize(
    ("operation", "answer", "name", "state", "words"),
    [
        ("GetCallerIdentity", {"Account": "1" * 12, "Arn": "arn"}, "account", "failure", "execution_role"),
        ("HeadBucket", ("404", "Not Found"), "bucket", "failure", "does not exist"),
        ("HeadBucket", {"BucketRegion": "eu-central-1"}, "bucket", "failure", "is in eu-central-1"),
        (
            "HeadBucket",
            lambda request: ("403", "Forbidden") if "ExpectedBucketOwner" in request else {},
            "bucket owner",
            "failure",
            f"is not of account {ACCOUNT}",
        ),
        ("GetBucketVersioning", {}, "versioning", "warning", "is lost"),
        (
            "GetPublicAccessBlock",
            ("NoSuchPublicAccessBlockConfiguration", "none"),
            "public access",
            "warning",
            "would publish the pictures",
        ),
        (
            "ListObjectsV2",
            {"KeyCount": 0},
            "pictures",
            "warning",
            "s3://my-flowers/image-classification/data/",
        ),
        (
            "GetRole",
            ("NoSuchEntity", "none"),
            "execution_role",
            "failure",
            f"there is no role {ROLES['execution_role']}",
        ),
        ("GetRole", ("NoSuchEntity", "none"), "scheduler_role", "warning", "there is no role"),
        (
            "GetRole",
            lambda request: (
                role({"RoleName": "lambda_role"})
                if request["RoleName"] == "execution_role"
                else role(request)
            ),
            "execution_role",
            "failure",
            f"execution_role says {ROLES['execution_role']}",
        ),
        (
            "SimulatePrincipalPolicy",
            lambda request: simulated(request, ["sagemaker:CreateTrainingJob"]),
            "execution_role: permissions",
            "failure",
            "sagemaker:CreateTrainingJob on arn:aws:sagemaker:us-east-1:",
        ),
        ("DescribeImages", ("ImageNotFoundException", "none"), "serving image", "failure", "does not have"),
        ("DescribeTrainingJob", {"ResourceConfig": {}}, "Debugger", "warning", "none ran with Debugger"),
        ("DescribePipeline", ("ResourceNotFound", "none"), "pipeline", "warning", "there is no pipeline"),
        (
            "GetSchedule",
            {
                "Target": {
                    "Arn": PIPELINE,
                    "SageMakerPipelineParameters": {
                        "PipelineParameterList": [{"Name": "Size", "Value": "1"}]
                    },
                }
            },
            "schedules",
            "failure",
            "schedule weekly names Size, which the live definition lacks",
        ),
    ],
)
def test_what_is_wrong_is_found_with_what_to_do(aws, operation, answer, name, state, words):
    aws.table[operation] = answer
    result = the(examined(aws), state)[name]
    assert words in result.found
    assert result.remedy


def test_a_role_that_trusts_another_service(aws):
    aws.table["GetRole"] = lambda request: {
        "Role": role({"RoleName": "scheduler_role"})["Role"] | {"Arn": ROLES[request["RoleName"]]}
    }
    results = examined(aws)
    assert "does not trust sagemaker.amazonaws.com" in the(results, "failure")["execution_role"].found
    assert not {"execution_role: permissions"} & {result.check for result in results}


def test_a_changed_definition_and_another_role(aws, monkeypatch):
    monkeypatch.setattr(upsert_pipeline, "definition", lambda _settings: DEFINITION.replace("[]", '["x"]', 1))
    settings = replace(SETTINGS, execution_role=ROLES["lambda_role"])
    found = the(examined(aws, settings=settings), "warning")
    assert "differs from this checkout in" in found["pipeline"].found
    assert ROLES["execution_role"] in found["pipeline role"].found


def with_quota(value, kind="ml.m5.2xlarge", use="endpoint"):
    name = f"{kind} for {use} usage"
    return {"Quotas": [quota | ({"Value": value} if quota["QuotaName"] == name else {}) for quota in QUOTAS]}


@pytest.mark.parametrize(
    ("value", "state", "words", "wanted"),
    [
        (0.0, "failure", "the quota 'ml.m5.2xlarge for endpoint usage' is 0, and the endpoint takes 1", 1),
        (1.0, "warning", "1, of which 1 are in use; the endpoint takes 1", 2),
        (2.0, "warning", "and an update of it as many again", 3),
        (3.0, "ok", "3, of which 1 are in use", None),
    ],
)
def test_a_quota_beside_what_runs(aws, value, state, words, wanted):
    aws.table["ListServiceQuotas"] = with_quota(value)
    found = [result for result in examined(aws) if "ml.m5.2xlarge for endpoint usage" in result.found]
    (result,) = [result for result in found if result.check == "quotas"]
    assert result.state == state and words in result.found
    assert f"--quota-code=L-03 --desired-value={wanted} " in result.remedy if wanted else not result.remedy


def test_spot_instances_have_quotas_of_their_own(aws):
    aws.table["ListServiceQuotas"] = with_quota(1.0, use="spot training job")
    failures = the(examined(aws, settings=replace(SETTINGS, use_spot=True)), "failure")
    assert (
        "'ml.m5.2xlarge for spot training job usage' is 1, and TuneHyperparameters takes 2"
        in failures["quotas"].found
    )
    assert not the(examined(aws), "failure")


def test_a_quota_that_was_never_applied_has_awss_default(aws):
    aws.table["ListServiceQuotas"] = {"Quotas": []}
    aws.table["ListAWSDefaultServiceQuotas"] = {"Quotas": QUOTAS}
    assert not the(examined(aws), "warning")
    aws.table["ListAWSDefaultServiceQuotas"] = {"Quotas": []}
    assert "Service Quotas has none called 'ml." in the(examined(aws), "warning")["quotas"].found


def test_a_start_needs_what_was_upserted():
    tuning = {
        "HyperParameterTuningJobConfig": {"ResourceLimits": {"MaxParallelTrainingJobs": 7}},
        "TrainingJobDefinition": {"EnableManagedSpotTraining": True},
    }
    steps = [{"Name": "Tune", "Type": "Tuning", "Arguments": tuning}]
    found = quotas.as_upserted(SETTINGS, json.dumps({"Steps": steps}))
    assert (found.use_spot, found.tuning.parallel_jobs) == (True, 7)
    assert quotas.as_upserted(SETTINGS, DEFINITION) == SETTINGS
    deploy = {"Name": "D", "Type": "Lambda", "Arguments": {"serverless_config": {"MaxConcurrency": 5}}}
    assert quotas.as_upserted(SETTINGS, json.dumps({"Steps": [deploy]})).deployment.serverless


def test_a_command_refuses_the_first_failure_and_passes_what_is_denied(aws):
    aws.table["ListServiceQuotas"] = with_quota(0.0)
    with pytest.raises(check.command.Failure, match=r"desired-value=1 .*or choose another instance type"):
        check.refuse(subject(aws), [quotas.limits])
    aws.deny("ListServiceQuotas")
    check.refuse(subject(aws), [quotas.limits])


def test_the_table_and_json_of_a_local_service_without_a_bucket(run, url):
    done = run(SCRIPT, "--local", url)
    assert done.returncode == 1, done.stderr
    assert "aws s3 mb s3://image-classification-123456789012" in done.stdout
    done = run(SCRIPT, "--local", url, "--json")
    results = json.loads(done.stdout)
    assert {"check", "state", "found", "remedy"} == results[0].keys()
    assert "credentials" in {result["check"] for result in results if result["state"] == "ok"}


def test_wrong_input_is_one_line(run, refused):
    refused(run(SCRIPT, "--parameter", "Epoch=1"), "no such parameter; did you mean Epochs?")
    refused(run(SCRIPT, "--local", "nowhere"), "is not a URL")


def test_what_an_older_definition_takes_is_counted_as_far_as_it_says(aws):
    older = check.Subject(SETTINGS, aws.session, {"TrainingInstanceType": "ml.m5.2xlarge"})
    assert [(need.quota, need.count) for need in quotas.needs(older)] == [
        ("ml.m5.2xlarge for training job usage", 2)
    ]


def test_a_serverless_endpoint_takes_no_instances(aws):
    deployment = replace(SETTINGS.deployment, kind="serverless")
    found = quotas.needs(subject(aws, replace(SETTINGS, deployment=deployment)))
    assert not [need for need in found if need.use == "endpoint usage"]
