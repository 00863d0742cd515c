"""Going back to an earlier model package, against a local service with models of a few lines."""

import io
import tarfile
import time

import psutil
import pytest

from entrypoints.deploy import deploy
from local.service import LocalService
from scripts.command import Failure
from scripts.rollback import Served, choose

SCRIPT = "rollback.py"
GROUP = ENDPOINT = "image-classification"
ROLE = "arn:aws:iam::123456789012:role/ImageClassificationExecution"

# Healthy, and its answer to everything is the version.
APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"VERSION"})
"""


@pytest.fixture
def service(tmp_path):
    with LocalService(tmp_path / "home") as service:
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
    done = run(SCRIPT, "--local", service.url, "--yes", "--reject", "--wait", *role)
    assert done.returncode == 0, done.stderr
    assert f"serves version 3 of {GROUP} on 1 ml.m5.large; version 1 takes its place" in done.stderr
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
    done = run(SCRIPT, "--local", service.url, "--yes", "--wait")
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
    done = run(SCRIPT, "--local", service.url, "--yes", "--wait")
    assert done.stdout == f"endpoint {ENDPOINT} serves version 1 of {GROUP}\n", done.stderr


def test_what_was_served_before_may_be_cleaned_up(run, service, sagemaker):
    register(service, 1)
    before = put_behind(sagemaker, register(service, 2))
    put_behind(sagemaker, register(service, 3))
    sagemaker.delete_endpoint_config(EndpointConfigName=before)
    done = run(SCRIPT, "--local", service.url, "--yes", "--wait")
    assert done.stdout == f"endpoint {ENDPOINT} serves version 2 of {GROUP}\n", done.stderr


def test_any_approved_version_can_be_named(run, service, sagemaker):
    first, second = register(service, 1), register(service, 2)
    put_behind(sagemaker, first)
    done = run(SCRIPT, "--endpoint", ENDPOINT, "--local", service.url, "--yes", "--to", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"endpoint {ENDPOINT} is on its way to version 2 of {GROUP}\n"
    settled(sagemaker)
    described = sagemaker.describe_model_package(ModelPackageName=second)
    assert described["ModelApprovalStatus"] == "Approved"


def test_bad_input_and_no_answer_change_nothing(run, refused, service, sagemaker):
    refused(run(SCRIPT, "--local", service.url, "--yes"), "there is no endpoint image-classification")
    register(service, 1)
    config = put_behind(sagemaker, register(service, 2))
    refused(run(SCRIPT, "--local", service.url, "--yes", "--to", "9"), "no approved version 9", "1, 2")
    done = run(SCRIPT, "--local", service.url)
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
        run(SCRIPT, "--local", service.url, "--yes"),
        "serves mine",
        "is not a version of a model package group",
    )


CURRENT = Served(
    endpoint_arn="arn:aws:sagemaker:us-east-1:1:endpoint/e",
    package=f"arn:aws:sagemaker:us-east-1:1:model-package/{GROUP}/5",
    instance_type="ml.m5.large",
    instance_count=1,
)


def test_the_newest_approved_version_before_the_current_is_chosen():
    assert choose({1: "one", 3: "three", 5: "five", 6: "six"}, CURRENT, None) == "three"
    assert choose({1: "one", 3: "three", 6: "six"}, CURRENT, 6) == "six"


@pytest.mark.parametrize(
    ("before", "chosen"), [("one", "one"), ("six", "three"), ("", "three"), ("two", "three")]
)
def test_what_was_served_before_comes_first_if_it_is_an_earlier_approved_version(before, chosen):
    assert choose({1: "one", 3: "three", 5: "five", 6: "six"}, CURRENT, None, before) == chosen


@pytest.mark.parametrize(
    ("packages", "wanted", "complaint"),
    [
        ({5: "five", 6: "six"}, None, "no approved version before 5, .* approved are 5, 6"),
        ({}, 4, "no approved version 4; approved are none"),
        ({5: "five"}, 5, "version 5 of image-classification is what the endpoint serves"),
    ],
)
def test_what_cannot_be_gone_back_to(packages, wanted, complaint):
    with pytest.raises(Failure, match=complaint):
        choose(packages, CURRENT, wanted)
