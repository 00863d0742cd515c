"""What each role of the stack may do: all that the pipeline asks of it, and no way around the gate."""

import inspect
import json
import re
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from entrypoints import champion, deploy, verify
from local.iam.policies import decide
from tests.infra.template import ACCOUNT, REGION, Stack

GOLDEN = Path(__file__).parents[1] / "golden" / "definition.json"
NAME, BUCKET = "image-classification", "golden-bucket"  # of the golden definition
SAGEMAKER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
OBJECTS = f"arn:aws:s3:::{BUCKET}/{NAME}"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}-deploy"
MODEL = f"{NAME}/executions/now/train/job/output/model.tar.gz"
EARLIER = f"{NAME}/executions/earlier/train/job/output/model.tar.gz"
# What a key of the request holds.
OWN = {"aws:requesttag/deployment": [NAME]}
OWN_RESOURCE = {"aws:resourcetag/deployment": [NAME]}
OTHERS = {"aws:requesttag/deployment": ["others"], "aws:resourcetag/deployment": ["others"]}
TO_SAGEMAKER = {"iam:passedtoservice": ["sagemaker.amazonaws.com"]}
JOBS = {
    "Processing": ("ProcessingJob", "processing-job"),
    "Training": ("TrainingJob", "training-job"),
    "Tuning": ("HyperParameterTuningJob", "hyper-parameter-tuning-job"),
}
# Those whose programs open pictures or requests.
EXPOSED = ["ProcessingRole", "TrainingRole", "VerificationRole", "EndpointRole", "ScoringRole"]

CALL = re.compile(r"\b(?:sagemaker|runtime)\.([a-z_]+)\(")
OPERATIONS = {
    xform_name(operation): operation
    for service in ("sagemaker", "sagemaker-runtime")
    for operation in botocore.session.get_session().get_service_model(service).operation_names
}


@pytest.fixture(scope="module")
def stack():
    return Stack(Name=NAME, BucketName=BUCKET, GitHubRepository="octo/flowers")


@pytest.fixture(scope="module")
def may(stack):
    def may(role, action, resource="*", context=()):
        return decide(stack.policies(role), action, resource, dict(context)) == "allowed"

    return may


@pytest.fixture(scope="module")
def steps():
    """The steps of the golden definition, by name, those in branches included."""
    found = {}

    def collect(listed):
        for step in listed:
            found[step["Name"]] = step
            for branch in ("IfSteps", "ElseSteps"):
                collect(step["Arguments"].get(branch, []))

    collect(json.loads(GOLDEN.read_text())["Steps"])
    return found


def text(value, steps):
    """An S3 URI of the definition, as an execution called `now` resolves it."""
    if isinstance(value, str):
        return value
    if join := value.get("Std:Join"):
        return join["On"].join(text(item, steps) for item in join["Values"])
    reference = value["Get"]
    if reference.startswith("Parameters."):
        entries = json.loads(GOLDEN.read_text())["Parameters"]
        return next(e["DefaultValue"] for e in entries if e["Name"] == reference.partition(".")[2])
    if output := re.fullmatch(
        r"Steps\.(\w+)\.ProcessingOutputConfig\.Outputs\['(\w+)'\]\.S3Output\.S3Uri", reference
    ):
        outputs = steps[output[1]]["Arguments"]["ProcessingOutputConfig"]["Outputs"]
        return text(next(o["S3Output"]["S3Uri"] for o in outputs if o["OutputName"] == output[2]), steps)
    return {
        "Execution.PipelineExecutionId": "now",
        "Steps.TrainModel.ModelArtifacts.S3ModelArtifacts": f"s3://{BUCKET}/{MODEL}",
        "Steps.FindChampion.OutputParameters['champion_url']": f"s3://{BUCKET}/{EARLIER}",
    }[reference]


def requests(steps):
    """Of each job: its step's type, its request, and of that what describes one job."""
    for step in steps.values():
        if step["Type"] in JOBS:
            request = step["Arguments"]
            yield step["Type"], request, request.get("TrainingJobDefinition", request)


def every(value, key):
    """The values of a key, however deep."""
    if isinstance(value, list):
        for item in value:
            yield from every(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from [item] if name == key else every(item, key)


def role_of(job):
    return job["RoleArn"].rpartition("/")[2] + "Role"


def objects(uris, steps):
    """The ARN of an object at or below each S3 URI."""
    for uri in uris:
        resolved = text(uri, steps)
        yield "arn:aws:s3:::" + resolved.removeprefix("s3://") + ("a.png" if resolved.endswith("/") else "")


def test_the_pipeline_may_start_its_jobs_and_follow_and_stop_them(may, steps, stack):
    started = 0
    for kind, request, job in requests(steps):
        operation, resource = JOBS[kind]
        arn = f"{SAGEMAKER}:{resource}/pipelines-abc-{operation}-123"
        # SageMaker Pipelines adds a tag of its own.
        tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]} | {
            "sagemaker:pipeline-execution-arn": "x"
        }
        asked = {f"aws:requesttag/{key.lower()}": [value] for key, value in tags.items()}
        held = {f"aws:resourcetag/{key.lower()}": [value] for key, value in tags.items()}
        asked["aws:tagkeys"] = list(tags)
        assert may("ExecutionRole", f"sagemaker:Create{operation}", arn, asked)
        tagging = asked | {"sagemaker:taggingaction": [f"Create{operation}"]}
        assert may("ExecutionRole", "sagemaker:AddTags", arn, tagging)
        for verb in ("Describe", "Stop"):
            assert may("ExecutionRole", f"sagemaker:{verb}{operation}", arn, held)
        assert may("ExecutionRole", "iam:PassRole", stack.arn(role_of(job)), TO_SAGEMAKER)
        started += 1
    assert started == 5


def test_jobs_run_as_what_they_do(steps):
    roles = {name: step["Arguments"].get("RoleArn") for name, step in steps.items() if step["Type"] in JOBS}
    roles["TuneHyperparameters"] = steps["TuneHyperparameters"]["Arguments"]["TrainingJobDefinition"][
        "RoleArn"
    ]
    assert {name: arn.rpartition("/")[2] for name, arn in roles.items()} == {
        "SplitDataset": "Processing",
        "TuneHyperparameters": "Training",
        "TrainModel": "Training",
        "EvaluateModel": "Processing",
        "VerifyEndpoint": "Verification",
    }


def test_jobs_may_read_their_inputs_write_their_outputs_and_log(may, steps):
    for kind, _, job in requests(steps):
        role = role_of(job)
        inputs = [source["S3Uri"] for source in (*every(job, "S3Input"), *every(job, "S3DataSource"))]
        parameters = (job.get("HyperParameters", {}), job.get("StaticHyperParameters", {}))
        inputs += [p["sagemaker_submit_directory"] for p in parameters if p]
        outputs = [item["S3Uri"] for item in every(job, "S3Output")] + list(every(job, "S3OutputPath"))
        assert inputs
        for arn in objects(inputs, steps):
            assert may(role, "s3:GetObject", arn), (role, arn)
            prefix = {"s3:prefix": [arn.partition("/")[2]]}
            assert may(role, "s3:ListBucket", f"arn:aws:s3:::{BUCKET}", prefix)
        for arn in objects(outputs, steps):
            assert may(role, "s3:PutObject", f"{arn}/job/file"), (role, arn)
        group = {"Processing": "ProcessingJobs"}.get(kind, "TrainingJobs")
        stream = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/{group}:log-stream:job/algo-1"
        assert may(role, "logs:PutLogEvents", stream)
        namespace = {"cloudwatch:namespace": [f"/aws/sagemaker/{group}"]}
        assert may(role, "cloudwatch:PutMetricData", "*", namespace)


def test_every_image_may_be_pulled_by_what_runs_it(may, steps):
    pulled = [
        (role_of(job), image)
        for _, _, job in requests(steps)
        for key in ("ImageUri", "TrainingImage", "RuleEvaluatorImage")
        for image in every(job, key)
    ]
    (serving,) = every(steps["RegisterModel"], "Image")
    pulled += [(role, serving) for role in ("EndpointRole", "ScoringRole", "ExecutionRole")]
    for role, image in pulled:
        address = re.fullmatch(r"(\d+)\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/(.+):[^:]+", image)
        arn = f"arn:aws:ecr:{address[2]}:{address[1]}:repository/{address[3]}"
        assert may(role, "ecr:BatchGetImage", arn), (role, image)
        assert may(role, "ecr:GetAuthorizationToken", "*", {"aws:requestedregion": [REGION]})
        assert not may(role, "ecr:BatchGetImage", arn.replace(address[1], "999999999999"))


def test_the_pipeline_reads_the_gates_numbers_registers_and_calls_the_function(may):
    assert may("ExecutionRole", "s3:GetObject", f"{OBJECTS}/executions/now/evaluate/gate.json")
    assert may("ExecutionRole", "sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package/{NAME}/1")
    assert may("ExecutionRole", "sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package-group/{NAME}")
    assert may("ExecutionRole", "lambda:InvokeFunction", FUNCTION)


def test_the_endpoint_may_read_its_model_and_log(may):
    assert may("EndpointRole", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/{EARLIER}")
    log = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{NAME}"
    assert may("EndpointRole", "logs:CreateLogGroup", log)
    assert may("EndpointRole", "logs:PutLogEvents", f"{log}:log-stream:AllTraffic/i-1")
    assert may("EndpointRole", "logs:PutLogEvents", f"{log}-blue:log-stream:AllTraffic/i-1")
    assert not may("EndpointRole", "logs:PutLogEvents", f"{log}s:log-stream:AllTraffic/i-1")


def test_a_scoring_reads_its_model_and_pictures_and_writes_its_scores_only(may):
    for key in (
        EARLIER,
        f"{NAME}/scoring/pictures/abc",
        f"{NAME}/scoring/manifests/job.json",
        f"{NAME}/data/a/b.png",
    ):
        assert may("ScoringRole", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/{key}")
    assert may("ScoringRole", "s3:PutObject", f"{OBJECTS}/scoring/results/abc/a.png.out")
    assert not may("ScoringRole", "s3:PutObject", f"{OBJECTS}/scoring/pictures/abc")
    log = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/TransformJobs"
    assert may("ScoringRole", "logs:PutLogEvents", f"{log}:log-stream:job/i-1-abc")
    assert not may("ScoringRole", "s3:GetObject", "arn:aws:s3:::photos/a.png")
    other = Stack(Name=NAME, BucketName=BUCKET, PicturesBucket="photos").policies("ScoringRole")
    for action, arn in (
        ("s3:GetObject", "arn:aws:s3:::photos/a.png"),
        ("s3:ListBucket", "arn:aws:s3:::photos"),
    ):
        assert decide(other, action, arn, {}) == "allowed"
    assert decide(other, "s3:PutObject", "arn:aws:s3:::photos/a.png", {}) != "allowed"


def called(*programs):
    """The operations of SageMaker in the source of modules and functions, in IAM's words."""
    methods = {name for program in programs for name in CALL.findall(inspect.getsource(program))}
    return {f"sagemaker:{OPERATIONS[name]}" for name in methods}


def granted(stack, role):
    """The actions on SageMaker in all the policies of a role."""
    return {
        action
        for policy in stack.policies(role)
        for statement in policy["Statement"]
        for action in as_list(statement["Action"])
        if action.startswith("sagemaker:")
    }


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_the_function_and_the_verification_may_do_what_they_call_and_no_more(stack):
    calls = called(deploy, champion)
    assert "sagemaker:UpdateEndpoint" in calls
    assert granted(stack, "LambdaRole") == calls
    # verify.py takes these of deploy.py, and they call each other only.
    of_deploy = [deploy.bring_up, deploy.describe_endpoint, deploy.wait_until_deleted]
    assert granted(stack, "VerificationRole") == called(verify, *of_deploy)


def test_what_opens_pictures_or_requests_has_no_other_right_on_sagemaker(stack):
    for role in ("ProcessingRole", "TrainingRole", "EndpointRole", "ScoringRole"):
        assert granted(stack, role) == set()


def test_the_function_may_serve_models_as_the_endpoints_role(may, stack):
    for name in (NAME, f"{NAME}-blue"):
        for action in ("CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint", "DescribeEndpoint", "ListTags"):
            assert may("LambdaRole", f"sagemaker:{action}", f"{SAGEMAKER}:endpoint/{name}")
        tags = {"aws:tagkeys": [deploy.PREVIOUS_TAG]}
        assert may("LambdaRole", "sagemaker:AddTags", f"{SAGEMAKER}:endpoint/{name}", tags)
        for action in ("Create", "Delete", "Describe", "Invoke", "Update"):
            assert may("VerificationRole", f"sagemaker:{action}Endpoint", f"{SAGEMAKER}:endpoint/{name}")
    package = f"{SAGEMAKER}:model-package/{NAME}/12"
    model = deploy.name_for(package, package, "role")
    for role in ("LambdaRole", "VerificationRole"):
        assert may(role, "sagemaker:UpdateEndpoint", f"{SAGEMAKER}:endpoint-config/{model}")
    assert may("LambdaRole", "sagemaker:CreateModel", f"{SAGEMAKER}:model/{model}")
    assert may("LambdaRole", "iam:PassRole", stack.arn("EndpointRole"), TO_SAGEMAKER)


# Issue 18: "whoever breaks an image decoder in the endpoint can ...".
ATTACKS = {
    "register a package": ("sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package/{NAME}/9", {}),
    "register in the group": ("sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package-group/{NAME}", {}),
    "approve a package": ("sagemaker:UpdateModelPackage", f"{SAGEMAKER}:model-package/{NAME}/9", {}),
    "call the function": ("lambda:InvokeFunction", FUNCTION, {}),
    "change the function": ("lambda:UpdateFunctionCode", FUNCTION, {}),
    "start training": ("sagemaker:CreateTrainingJob", f"{SAGEMAKER}:training-job/a", OWN),
    "start processing": ("sagemaker:CreateProcessingJob", f"{SAGEMAKER}:processing-job/a", OWN),
    "start tuning": (
        "sagemaker:CreateHyperParameterTuningJob",
        f"{SAGEMAKER}:hyper-parameter-tuning-job/a",
        OWN,
    ),
    "start the pipeline": ("sagemaker:StartPipelineExecution", f"{SAGEMAKER}:pipeline/{NAME}", {}),
    "change the pipeline": ("sagemaker:UpdatePipeline", f"{SAGEMAKER}:pipeline/{NAME}", {}),
    "stop a training": ("sagemaker:StopTrainingJob", f"{SAGEMAKER}:training-job/a", OWN_RESOURCE),
    "look at others' trainings": ("sagemaker:DescribeTrainingJob", f"{SAGEMAKER}:training-job/a", OTHERS),
    "create a model": ("sagemaker:CreateModel", f"{SAGEMAKER}:model/{NAME}-1", {}),
    "change other endpoints": ("sagemaker:UpdateEndpoint", f"{SAGEMAKER}:endpoint/{NAME}s", {}),
    "delete other endpoints": ("sagemaker:DeleteEndpoint", f"{SAGEMAKER}:endpoint/others", {}),
    "overwrite code": ("s3:PutObject", f"{OBJECTS}/code/train/digest/sourcedir.tar.gz", {}),
    "overwrite pictures": ("s3:PutObject", f"{OBJECTS}/data/default/a.png", {}),
    "delete pictures": ("s3:DeleteObject", f"{OBJECTS}/data/default/a.png", {}),
    "delete a model": ("s3:DeleteObject", f"arn:aws:s3:::{BUCKET}/{EARLIER}", {}),
    "delete an earlier version": ("s3:DeleteObjectVersion", f"arn:aws:s3:::{BUCKET}/{EARLIER}", {}),
    "stop keeping versions": ("s3:PutBucketVersioning", f"arn:aws:s3:::{BUCKET}", {}),
    "read beside the name": ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/{NAME}-others/data/a.png", {}),
    "write beside the name": ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/others/executions/a/train/b", {}),
    "hand a role over": ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/ExecutionRole", TO_SAGEMAKER),
    "become another role": ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/ExecutionRole", {}),
}


@pytest.mark.parametrize("role", EXPOSED)
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_opens_pictures_or_requests_does_no_harm_elsewhere(may, role, attack):
    assert not may(role, *ATTACKS[attack])


@pytest.mark.parametrize("role", [role for role in EXPOSED if role != "TrainingRole"])
def test_only_a_training_writes_models(may, role):
    assert not may(role, "s3:PutObject", f"arn:aws:s3:::{BUCKET}/{EARLIER}")
    assert may("TrainingRole", "s3:PutObject", f"arn:aws:s3:::{BUCKET}/{EARLIER}")


def test_the_endpoint_reads_models_and_nothing_else(may):
    for key in (
        "code/deploy/a",
        "data/default/a.png",
        "executions/now/split/train/a.png",
        "executions/now/train/x",
    ):
        assert not may("EndpointRole", "s3:GetObject", f"{OBJECTS}/{key}")
    assert not may("EndpointRole", "s3:ListBucket", f"arn:aws:s3:::{BUCKET}", {"s3:prefix": [NAME]})
    assert not may("EndpointRole", "sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/{NAME}")


def test_the_pipelines_role_reaches_no_other_deployment(may):
    training = f"{SAGEMAKER}:training-job/others"
    assert not may("ExecutionRole", "sagemaker:CreateTrainingJob", training)
    assert not may("ExecutionRole", "sagemaker:CreateTrainingJob", training, OTHERS)
    for action in ("Describe", "Stop"):
        assert not may("ExecutionRole", f"sagemaker:{action}TrainingJob", training)
        assert not may("ExecutionRole", f"sagemaker:{action}TrainingJob", training, OTHERS)
    # Tagging somebody else's job into reach is a request of its own.
    assert not may("ExecutionRole", "sagemaker:AddTags", training, OWN)
    assert not may("ExecutionRole", "sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package/{NAME}s/1")
    assert not may("ExecutionRole", "lambda:InvokeFunction", FUNCTION.replace(NAME, "others"))
    for role in ("LambdaRole", "EndpointRole", "ExecutionRole", "SchedulerRole"):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        assert not may("ExecutionRole", "iam:PassRole", arn, TO_SAGEMAKER)
    assert not may("ExecutionRole", "s3:PutObject", f"{OBJECTS}/executions/now/train/a")


def test_the_function_reaches_no_other_endpoint_and_hands_over_one_role(may, stack):
    for action in ("UpdateEndpoint", "DeleteEndpoint", "CreateEndpoint"):
        assert not may("LambdaRole", f"sagemaker:{action}", f"{SAGEMAKER}:endpoint/{NAME}s")
    endpoint = f"{SAGEMAKER}:endpoint/{NAME}"
    assert not may("LambdaRole", "sagemaker:AddTags", endpoint, {"aws:tagkeys": ["deployment"]})
    assert not may("LambdaRole", "sagemaker:AddTags", f"{SAGEMAKER}:training-job/a", OWN)
    assert not may("LambdaRole", "sagemaker:UpdateModelPackage", f"{SAGEMAKER}:model-package/{NAME}/1")
    for role in stack.roles():
        passes = may("LambdaRole", "iam:PassRole", stack.arn(role), TO_SAGEMAKER)
        assert passes is (role == "EndpointRole")
        assert not may(
            "LambdaRole", "iam:PassRole", stack.arn(role), {"iam:passedtoservice": ["ec2.amazonaws.com"]}
        )


def test_the_scheduler_may_only_start_the_pipeline_and_leave_dead_letters(may, stack):
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-failures"
    assert may("SchedulerRole", "sagemaker:StartPipelineExecution", f"{SAGEMAKER}:pipeline/{NAME}")
    assert may("SchedulerRole", "sqs:SendMessage", queue)
    assert not may("SchedulerRole", "sagemaker:StartPipelineExecution", f"{SAGEMAKER}:pipeline/{NAME}s")
    assert not may("SchedulerRole", "sqs:SendMessage", queue.replace(NAME, "others"))
    assert granted(stack, "SchedulerRole") == {"sagemaker:StartPipelineExecution"}


def test_the_workflow_may_upsert_and_neither_start_nor_deploy(may, stack):
    for action in (
        "CreatePipeline",
        "UpdatePipeline",
        "DescribePipeline",
        "ListTags",
        "AddTags",
        "DeleteTags",
    ):
        assert may("GitHubRole", f"sagemaker:{action}", f"{SAGEMAKER}:pipeline/{NAME}")
    for action in ("CreateFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration", "GetFunction"):
        assert may("GitHubRole", f"lambda:{action}", FUNCTION)
    assert may("GitHubRole", "s3:ListBucket", f"arn:aws:s3:::{BUCKET}")
    assert may("GitHubRole", "s3:PutObject", f"{OBJECTS}/code/split/digest/run.sh")
    assert may("GitHubRole", "iam:PassRole", stack.arn("ExecutionRole"), TO_SAGEMAKER)
    to_lambda = {"iam:passedtoservice": ["lambda.amazonaws.com"]}
    assert may("GitHubRole", "iam:PassRole", stack.arn("LambdaRole"), to_lambda)
    assert not may("GitHubRole", "iam:PassRole", stack.arn("ExecutionRole"), to_lambda)
    assert not may("GitHubRole", "sagemaker:StartPipelineExecution", f"{SAGEMAKER}:pipeline/{NAME}")
    assert not may("GitHubRole", "lambda:InvokeFunction", FUNCTION)
    assert not may("GitHubRole", "s3:PutObject", f"{OBJECTS}/data/default/a.png")


def test_the_endpoint_and_the_jobs_use_one_vpc_if_there_is_one(stack):
    with_vpc = Stack(Name=NAME, BucketName=BUCKET, VpcId="vpc-1")
    ec2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
    subnet, interface = f"{ec2}:subnet/s", f"{ec2}:network-interface/n"
    inside, outside = ({"ec2:vpc": [f"{ec2}:vpc/vpc-{number}"]} for number in (1, 2))
    for role in EXPOSED:
        policies = with_vpc.policies(role)
        assert decide(policies, "ec2:CreateNetworkInterface", subnet, inside) == "allowed"
        assert decide(policies, "ec2:CreateNetworkInterface", subnet, outside) == "implicitDeny"
        assert decide(policies, "ec2:CreateNetworkInterface", interface) == "allowed"
        assert decide(policies, "ec2:DeleteNetworkInterface", interface, inside) == "allowed"
        assert decide(policies, "ec2:DeleteNetworkInterface", interface, outside) == "implicitDeny"
        assert decide(policies, "ec2:DescribeSubnets", "*", {"ec2:region": [REGION]}) == "allowed"
        assert decide(stack.policies(role), "ec2:CreateNetworkInterface", subnet, inside) == "implicitDeny"


def test_the_key_is_used_through_s3_only():
    with_key = Stack(
        Name=NAME, BucketName=BUCKET, KmsKey="create", CreateBucket="true", GitHubRepository="a/b"
    )
    key = with_key.arn("Key")
    through_s3 = {"kms:viaservice": [f"s3.{REGION}.amazonaws.com"]}
    for role in (*EXPOSED, "ExecutionRole", "GitHubRole"):
        policies = with_key.policies(role)
        assert decide(policies, "kms:Decrypt", key, through_s3) == "allowed"
        assert decide(policies, "kms:GenerateDataKey", key, through_s3) == "allowed"
        assert decide(policies, "kms:Decrypt", key) == "implicitDeny"
        assert decide(policies, "kms:Decrypt", f"{key}2", through_s3) == "implicitDeny"
