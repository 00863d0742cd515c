"""This project's artifact in a pipeline's Transform step, built with the SDK and started with boto3."""

import json
import time

from local.service import LocalService
from steps.sdk import OfflineSession, Properties
from tests.entrypoints.serving.servers import encoded
from tests.local.definitions import ROLE, document, model


def transform_step():
    """As the SDK writes it."""
    from sagemaker.core.transformer import Transformer  # after steps.sdk, which keeps the SDK from AWS
    from sagemaker.mlops.workflow.steps import TransformStep

    transformer = Transformer(
        model_name=Properties("Create", shape_name="DescribeModelOutput").ModelName,
        instance_count=1,
        instance_type="ml.m5.xlarge",
        output_path="s3://pictures/answers/",
        accept="application/json",
        max_concurrent_transforms=2,
        env={"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
        sagemaker_session=OfflineSession("us-east-1", "pictures"),
    )
    step = TransformStep("Score", transformer.transform("s3://pictures/new/", content_type="image/jpeg"))
    return json.loads(json.dumps(step.to_request(), default=lambda value: value.expr))


def test_a_pipeline_transforms_pictures_with_this_artifact(archive, tmp_path):
    definition = document(model("Create", "s3://pictures/model.tar.gz"), transform_step())
    with LocalService(tmp_path / "home") as service:
        s3, sagemaker = service.client("s3"), service.client("sagemaker")
        s3.create_bucket(Bucket="pictures")
        s3.upload_file(archive / "model.tar.gz", "pictures", "model.tar.gz")
        for color in ("ants", "bees"):
            s3.put_object(Bucket="pictures", Key=f"new/{color}/1.jpg", Body=encoded(color))
        sagemaker.create_pipeline(PipelineName="p", PipelineDefinition=definition, RoleArn=ROLE)
        execution = sagemaker.start_pipeline_execution(PipelineName="p")["PipelineExecutionArn"]
        name = until_created(sagemaker)
        waiter = sagemaker.get_waiter("transform_job_completed_or_stopped")
        waiter.wait(TransformJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 90})
        job = sagemaker.describe_transform_job(TransformJobName=name)
        answers = [
            json.load(s3.get_object(Bucket="pictures", Key=f"answers/{color}/1.jpg.out")["Body"])
            for color in ("ants", "bees")
        ]
        steps = until_ended(sagemaker, execution)
    assert job["TransformJobStatus"] == "Completed", job
    assert [answer["label"] for answer in answers] == ["ants", "bees"]
    assert steps["Score"]["StepStatus"] == "Succeeded"
    assert steps["Score"]["Metadata"] == {"TransformJob": {"Arn": job["TransformJobArn"]}}


def until_created(sagemaker):
    deadline = time.monotonic() + 60
    while not (jobs := sagemaker.list_transform_jobs()["TransformJobSummaries"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return jobs[0]["TransformJobName"]


def until_ended(sagemaker, execution):
    deadline = time.monotonic() + 60
    described = {"PipelineExecutionStatus": "Executing"}
    while described["PipelineExecutionStatus"] == "Executing":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
    listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=execution)
    return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}
