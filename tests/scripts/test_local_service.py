"""The same commands with the local service: a real S3 on disk, a real endpoint process."""

import io
import json
import tarfile
import time

import numpy as np
import pytest
import requests

from entrypoints import deploy
from local.service import LocalService

BUCKET = "image-classification-123456789012"
NAME = "image-classification"
ROLE = "arn:aws:iam::123456789012:role/ImageClassificationExecution"
CARD = {
    "classes": ["ants", "bees"],
    "preprocessing": {"image_size": 16, "resize": 16, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
# A model server without a model: undecided on pictures, certain of bees for tensors of the right shape.
APP = """
import io
import numpy as np
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

async def ping(request):
    return Response()

async def invocations(request):
    body = await request.body()
    if request.headers["content-type"] != "application/x-npy":
        return JSONResponse({"label": "ants", "probabilities": {"ants": 0.5, "bees": 0.5}})
    assert np.load(io.BytesIO(body)).shape == (1, 3, 16, 16)
    file = io.BytesIO()
    np.save(file, np.array([[0, 9]], np.float32))
    return Response(file.getvalue(), media_type="application/x-npy")

async def page(request):
    return Response("<p>drop pictures", media_type="text/html")

routes = [Route("/ping", ping), Route("/invocations", invocations, methods=["POST"]), Route("/", page)]
app = Starlette(routes=routes)
"""


@pytest.fixture
def service(tmp_path, url):
    """A local service; `url` empties moto, whose state belongs to the process."""
    assert url
    with LocalService(tmp_path / "home") as service:
        service.client("s3").create_bucket(Bucket=BUCKET)
        yield service


def artifact():
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in (("app.py", APP), ("model.json", json.dumps(CARD))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return archive.getvalue()


def deployed(service):
    """Register a model package and deploy it the way the pipeline's Lambda function does."""
    key = f"{NAME}/model.tar.gz"
    service.client("s3").put_object(Bucket=BUCKET, Key=key, Body=artifact())
    sagemaker = service.client("sagemaker")
    if not sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]:
        sagemaker.create_model_package_group(ModelPackageGroupName=NAME)
    package = sagemaker.create_model_package(
        ModelPackageGroupName=NAME,
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/{key}"}],
            "SupportedContentTypes": ["image/png"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    event = {
        "model_package_arn": package,
        "endpoint_name": NAME,
        "endpoint_instance_type": "ml.m5.2xlarge",
        "endpoint_instance_count": "1",
        "execution_role": ROLE,
    }
    assert deploy.deploy(sagemaker, event)["deployed"]
    deadline = time.monotonic() + 60
    while (status := sagemaker.describe_endpoint(EndpointName=NAME)["EndpointStatus"]) != "InService":
        assert status in {"Creating", "Updating"}
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_upload_continues_where_it_stopped(run, service, pictures):
    first = run("upload_dataset.py", pictures, "--local", service.url)
    assert first.returncode == 0, first.stderr
    there = service.home.s3 / BUCKET / NAME / "data" / "default" / "große Bienen" / "2.png"
    assert there.read_bytes() == (pictures / "große Bienen" / "2.png").read_bytes()
    there.unlink()
    again = run("upload_dataset.py", pictures, "--local", service.url)
    assert "1 sent, 7 already there" in again.stdout

    (pictures / "ants" / "0.png").unlink()
    deleted = run("upload_dataset.py", pictures, "--local", service.url, "--delete", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert not (service.home.s3 / BUCKET / NAME / "data" / "default" / "ants" / "0.png").exists()


def test_predict_and_delete_an_endpoint(run, refused, service, pictures):
    picture = pictures / "ants" / "1.png"
    deployed(service)
    deployed(service)
    plain = run("predict.py", picture, "--format", "json", "--local", service.url)
    assert plain.returncode == 0, plain.stderr
    assert json.loads(plain.stdout)[0]["label"] == "ants"
    tensor = run("predict.py", picture, "--format", "json", "--tensor", "--local", service.url)
    assert tensor.returncode == 0, tensor.stderr
    (prediction,) = json.loads(tensor.stdout)
    assert prediction["label"] == "bees"
    assert prediction["probabilities"]["bees"] == pytest.approx(1 / (1 + np.exp(-9)))

    completed = run("delete_endpoint.py", "--yes", "--local", service.url)
    assert completed.returncode == 0, completed.stderr
    assert "2 endpoint configs, 2 models" in completed.stdout
    sagemaker = service.client("sagemaker")
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []
    refused(run("predict.py", picture, "--local", service.url), f"there is no endpoint {NAME}")


def test_a_browser_finds_the_endpoint_where_it_was_after_an_update(service, pictures):
    assert service.pages() == []
    for _ in range(2):
        deployed(service)
        (page,) = service.pages()
        assert page == f"{service.url}/endpoints/{NAME}/"
        shown = requests.get(page.rstrip("/"), timeout=10)
        assert (shown.url, shown.text) == (page, "<p>drop pictures")
        picture = (pictures / "ants" / "1.png").read_bytes()
        headers = {"content-type": "image/png", "origin": service.url}
        answer = requests.post(f"{page}invocations", picture, headers=headers, timeout=10)
        assert answer.json()["label"] == "ants"


def test_a_schedule_starts_the_pipeline(run, refused, service):
    refused(run("schedule_retraining.py", "--rate", "1 day", "--local", service.url), "there is no pipeline")
    step = {"Name": "No", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}
    service.client("sagemaker").create_pipeline(
        PipelineName=NAME,
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": [step]}),
        ClientRequestToken="a" * 32,
        RoleArn=ROLE,
    )
    created = run("schedule_retraining.py", "--rate", "1 day", "--local", service.url)
    assert created.returncode == 0, created.stderr
    assert "`python -m local`, while it runs, starts it" in created.stderr
    shown = run("schedule_retraining.py", "--local", service.url)
    assert "rate(1 day)" in shown.stdout
    deadline = time.monotonic() + 60
    while not service.client("sagemaker").list_pipeline_executions(PipelineName=NAME)[
        "PipelineExecutionSummaries"
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
