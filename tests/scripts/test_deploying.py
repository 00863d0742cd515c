"""Putting versions behind endpoints, against a local service with models of a few lines."""

import io
import tarfile
import time
from datetime import UTC, datetime

import psutil
import pytest

from entrypoints.deploy import deploy
from local.service import LocalService
from scripts import deploying, upsert_pipeline
from scripts.command import Failure
from scripts.served import Hosting, Served
from scripts.versions import Version, to_go_back_to
from steps import code

ROLL_BACK = ("endpoints.py", "rollback")
DEPLOY = ("endpoints.py", "deploy")
GROUP = ENDPOINT = "image-classification"
ROLE = "arn:aws:iam::123456789012:role/ImageClassificationExecution"

# Healthy, and its answer to everything is the version.
APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"VERSION"})
"""


@pytest.fixture(scope="module")
def archive():
    return code.bundles()["deploy"].archive()


@pytest.fixture
def service(tmp_path, archive):
    """A local service with the deploying function, as upsert_pipeline.py makes it."""
    with LocalService(tmp_path / "home") as service:
        service.client("lambda").create_function(
            FunctionName=f"{GROUP}-deploy",
            Runtime=upsert_pipeline.RUNTIME,
            Role=ROLE,
            Handler=code.FUNCTION_HANDLER,
            Timeout=upsert_pipeline.TIMEOUT_S,
            Code={"ZipFile": archive},
        )
        yield service


@pytest.fixture
def sagemaker(service):
    return service.client("sagemaker")


def register(service, version, status="Approved"):
    app = APP.replace("VERSION", str(version)).encode()
    path = service.home.object_path(f"s3://bucket/{version}/model.tar.gz")
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("app.py")
        member.size = len(app)
        tar.addfile(member, io.BytesIO(app))
    container = {"Image": "image", "ModelDataUrl": f"s3://bucket/{version}/model.tar.gz"}
    specification = {"Containers": [container], "SupportedContentTypes": ["image/jpeg"]}
    answer = service.client("sagemaker").create_model_package(
        ModelPackageGroupName=GROUP,
        ModelApprovalStatus=status,
        CustomerMetadataProperties={"test_accuracy": f"0.9{version} from 0.8 to 0.99 on 50 pictures"},
        InferenceSpecification={**specification, "SupportedResponseMIMETypes": ["application/json"]},
    )
    return answer["ModelPackageArn"]


def settled(sagemaker):
    deadline = time.monotonic() + 30
    while (answer := sagemaker.describe_endpoint(EndpointName=ENDPOINT))["EndpointStatus"] != "InService":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def put_behind(sagemaker, package):
    """What the step DeployEndpoint does; the endpoint config that it leaves."""
    event = {
        "model_package_arn": package,
        "endpoint_name": ENDPOINT,
        "endpoint_instance_type": "ml.m5.large",
        "endpoint_instance_count": 1,
        "execution_role": ROLE,
    }
    answer = deploy(sagemaker, event)
    settled(sagemaker)
    return answer["endpoint_config_name"]


def test_the_version_before_comes_back_under_its_own_names_and_the_bad_one_is_rejected(
    run, service, sagemaker
):
    first, refused_, bad = (register(service, 1), register(service, 2, "Rejected"), register(service, 3))
    before = put_behind(sagemaker, first)
    put_behind(sagemaker, bad)
    role = ("--set", f"endpoint_role={ROLE}")
    done = run(*ROLL_BACK, "--local", service.url, "--yes", "--reject", "--wait", *role)
    assert done.returncode == 0, done.stderr
    assert f"serves version 3 of {GROUP} on 1 ml.m5.large; version 1 takes its place\n" in done.stderr
    ask = f"python scripts/predict.py --endpoint={ENDPOINT} PICTURE --local={service.url}"
    assert done.stderr.splitlines()[-1] == f"ask it with {ask}"
    assert done.stdout == f"endpoint {ENDPOINT} serves version 1 of {GROUP}\n"
    assert settled(sagemaker)["EndpointConfigName"] == before
    runtime = service.client("sagemaker-runtime")
    assert runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=b"x")["Body"].read() == b"1"
    status = {
        package: sagemaker.describe_model_package(ModelPackageName=package)["ModelApprovalStatus"]
        for package in (first, refused_, bad)
    }
    assert status == {first: "Approved", refused_: "Rejected", bad: "Rejected"}


def test_a_version_that_did_not_pass_verification_is_passed_over(run, service, sagemaker):
    first, unfit, third = (register(service, version) for version in (1, 2, 3))
    before = put_behind(sagemaker, first)
    put_behind(sagemaker, unfit)
    # As VerifyEndpoint does; the package stays approved.
    sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=before)
    settled(sagemaker)
    put_behind(sagemaker, third)
    done = run(*ROLL_BACK, "--local", service.url, "--yes", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"endpoint {ENDPOINT} serves version 1 of {GROUP}\n"


def test_an_endpoint_whose_server_was_killed_is_made_anew(run, service, sagemaker):
    put_behind(sagemaker, register(service, 1))
    put_behind(sagemaker, register(service, 2))
    for process in psutil.Process().children():
        if "uvicorn_server" in " ".join(process.cmdline()):
            process.kill()
    deadline = time.monotonic() + 30
    while sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] != "Failed":
        assert time.monotonic() < deadline
    done = run(*ROLL_BACK, "--local", service.url, "--yes", "--wait")
    assert done.stdout == f"endpoint {ENDPOINT} serves version 1 of {GROUP}\n", done.stderr


def test_what_was_served_before_may_be_cleaned_up(run, service, sagemaker):
    register(service, 1)
    before = put_behind(sagemaker, register(service, 2))
    put_behind(sagemaker, register(service, 3))
    sagemaker.delete_endpoint_config(EndpointConfigName=before)
    done = run("rollback.py", "--local", service.url, "--yes", "--wait")  # its former name
    assert done.stdout == f"endpoint {ENDPOINT} serves version 2 of {GROUP}\n", done.stderr


def test_any_approved_version_can_be_named(run, service, sagemaker):
    first, second = register(service, 1), register(service, 2)
    put_behind(sagemaker, first)
    done = run(*ROLL_BACK, "--endpoint", ENDPOINT, "--local", service.url, "--yes", "--to", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"endpoint {ENDPOINT} is on its way to version 2 of {GROUP}\n"
    settled(sagemaker)
    described = sagemaker.describe_model_package(ModelPackageName=second)
    assert described["ModelApprovalStatus"] == "Approved"


def test_bad_input_and_no_answer_change_nothing(run, refused, service, sagemaker):
    refused(
        run(*ROLL_BACK, "--local", service.url, "--yes"),
        "there is no endpoint image-classification in us-east-1, and there is nothing to roll back; "
        "no endpoint serves image-classification",
    )
    register(service, 1)
    config = put_behind(sagemaker, register(service, 2))
    refused(run(*ROLL_BACK, "--local", service.url, "--yes", "--to", "9"), "no approved version 9", "1, 2")
    done = run(*ROLL_BACK, "--local", service.url)
    assert done.returncode == 2
    assert "add --yes" in done.stderr.splitlines()[-1]
    assert settled(sagemaker)["EndpointConfigName"] == config


def test_a_model_of_no_package_is_told(run, refused, service, sagemaker):
    register(service, 1)
    container = {"Image": "image", "ModelDataUrl": "s3://bucket/1/model.tar.gz"}
    sagemaker.create_model(ModelName="mine", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": "mine", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="mine", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="mine")
    refused(
        run(*ROLL_BACK, "--local", service.url, "--yes"),
        "serves model mine, of no version",
        "is not a version of a model package group",
    )


def test_a_deleted_endpoint_comes_back(run, service, sagemaker):
    first = register(service, 1)
    register(service, 2)
    put_behind(sagemaker, first)
    assert run("endpoints.py", "delete", "--local", service.url, "--yes").returncode == 0
    done = run(*DEPLOY, "--version", 1, "--instance-count", 2, "--local", service.url, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"endpoint {ENDPOINT} is new: version 1 of {GROUP} on 2 ml.m5.2xlarge" in done.stderr
    assert done.stdout == f"endpoint {ENDPOINT} serves version 1 of {GROUP}\n"
    runtime = service.client("sagemaker-runtime")
    assert runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=b"x")["Body"].read() == b"1"

    newest = run(*DEPLOY, "--local", service.url, "--yes")  # on its own instances
    assert newest.stdout == f"endpoint {ENDPOINT} serves version 2 of {GROUP}\n", newest.stderr
    listed = run("endpoints.py", "list", "--local", service.url).stdout
    row = [cell.strip() for cell in listed.splitlines()[3].strip("│").split("│")]
    assert row[:5] == [
        ENDPOINT, "InService", "2", "0.92 from 0.8 to 0.99 on 50 pictures", "2 ml.m5.2xlarge"
    ]  # fmt: skip
    shown = run("endpoints.py", "show", "--local", service.url).stdout
    assert f"serves: version 2 of {GROUP}\nbefore: version 1\non: 2 ml.m5.2xlarge\n" in shown
    assert "2 (serves)" in shown


def test_a_version_is_approved_only_where_that_is_asked_for(run, refused, service, sagemaker):
    register(service, 1)
    pending = register(service, 2, "PendingManualApproval")
    named = ("--endpoint", "a--b", "--version", 2, "--local", service.url, "--yes")
    approve = (
        "python scripts/endpoints.py deploy --endpoint=a--b --version=2 --approve "
        f"--local={service.url} --set=execution_role={ROLE}"
    )
    refused(
        run(*DEPLOY, *named, "--set", f"execution_role={ROLE}"),
        f"version 2 of {GROUP} is PendingManualApproval, and only Approved ones are deployed; "
        f"approve and deploy it with {approve}",
    )
    assert sagemaker.list_endpoints()["Endpoints"] == []
    done = run(*DEPLOY, *named, "--approve")
    assert done.returncode == 0, done.stderr
    assert "version 2 is PendingManualApproval and becomes Approved" in done.stderr
    assert done.stdout == f"endpoint a--b serves version 2 of {GROUP}\n"
    assert sagemaker.describe_model_package(ModelPackageName=pending)["ModelApprovalStatus"] == "Approved"


def test_what_cannot_be_deployed_changes_nothing(run, refused, service, sagemaker):
    options = ("--local", service.url, "--yes")
    nothing = run("endpoints.py", "list", "--local", service.url)
    assert nothing.stdout.startswith(f"No endpoint serves {GROUP} in us-east-1"), nothing.stderr
    refused(run(*DEPLOY, *options), f"{GROUP} has no Approved version; run the pipeline first")
    register(service, 1, "Rejected")
    refused(
        run(*DEPLOY, *options), "has no Approved version; there are 1 (Rejected): name one with --version"
    )
    register(service, 2)
    refused(run(*DEPLOY, "--version", 7, *options), "no version 7; there are 1 (Rejected), 2 (Approved)")
    refused(run(*DEPLOY, "--endpoint", "a_b", *options), "no endpoint is called 'a_b'")
    serverless = ("--set", "deployment.kind=serverless")
    refused(run(*DEPLOY, "--instance-count", 2, *serverless, *options), "which has no instances")
    service.client("lambda").delete_function(FunctionName=f"{GROUP}-deploy")
    done = run(*DEPLOY, *options)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("create it with python scripts/upsert_pipeline.py")
    assert sagemaker.list_endpoints()["Endpoints"] == []


def test_what_the_function_refuses_is_told_in_its_words(run, service, sagemaker):
    put_behind(sagemaker, register(service, 1))
    done = run(*DEPLOY, "--set", "deployment.kind=serverless", "--local", service.url, "--yes")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"endpoints.py: endpoint {ENDPOINT} runs on instances, and SageMaker makes no such endpoint "
        "serverless; delete it with python scripts/endpoints.py delete, or use another EndpointName"
    )


def test_the_command_waits_longer_than_the_function_may_take():
    assert deploying.ANSWER_TIMEOUT_S > upsert_pipeline.TIMEOUT_S


CURRENT = Served(
    endpoint="e",
    endpoint_arn="arn:aws:sagemaker:us-east-1:1:endpoint/e",
    status="InService",
    reason="",
    since=datetime(2026, 11, 30, tzinfo=UTC),
    config="c",
    model="m",
    package=f"arn:aws:sagemaker:us-east-1:1:model-package/{GROUP}/5",
    hosting=Hosting("ml.m5.large", 1),
)


def approved(*numbers):
    """Approved versions of these numbers, and 4, which is not."""
    found = {number: Version(number, f"arn {number}", "Approved") for number in numbers}
    return {**found, 4: Version(4, "arn 4", "Rejected")}


def test_the_newest_approved_version_before_the_current_is_chosen():
    assert to_go_back_to(approved(1, 3, 5, 6), CURRENT, None).number == 3
    assert to_go_back_to(approved(1, 3, 6), CURRENT, 6).number == 6


@pytest.mark.parametrize(("before", "chosen"), [("arn 1", 1), ("arn 6", 3), ("", 3), ("arn 4", 3)])
def test_what_was_served_before_comes_first_if_it_is_an_earlier_approved_version(before, chosen):
    assert to_go_back_to(approved(1, 3, 5, 6), CURRENT, None, before).number == chosen


@pytest.mark.parametrize(
    ("numbers", "wanted", "complaint"),
    [
        ((5, 6), None, "no approved version before 5, .* approved are 5, 6"),
        ((), 4, "no approved version 4; approved are none"),
        ((5,), 5, "version 5 of image-classification is what the endpoint serves"),
    ],
)
def test_what_cannot_be_gone_back_to(numbers, wanted, complaint):
    with pytest.raises(Failure, match=complaint):
        to_go_back_to(approved(*numbers), CURRENT, wanted)
