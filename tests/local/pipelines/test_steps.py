"""Steps by their types."""

from local.definition.step_types import STEP_TYPES, StepType
from tests.local.definitions import document, get, processing
from tests.local.executions import statuses

TRANSFORM = {
    "Name": "Score",
    "Type": "Transform",
    "Arguments": {
        "ModelName": "flowers",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}
        },
        "TransformOutput": {"S3OutputPath": "s3://bucket/out/"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
}


def test_another_kind_of_job_needs_one_row(run, aws, monkeypatch):
    row = StepType(resource="TransformJob", metadata="TransformJob", is_job=True)
    monkeypatch.setitem(STEP_TYPES, "Transform", row)
    after = processing("After", get("Steps.Score.TransformOutput.S3OutputPath"))
    record = run(document(TRANSFORM, after))
    assert statuses(record) == {"Score": "Succeeded", "After": "Succeeded"}
    [request] = aws.created("CreateTransformJob")
    assert request["TransformJobName"].startswith("pipelines-d84ewltjmxhe-Score-")
    assert request["Tags"] == [
        {"Key": "sagemaker:pipeline-execution-arn", "Value": record["PipelineExecutionArn"]}
    ]
    arn = record["_steps"]["Score"]["Metadata"]["TransformJob"]["Arn"]
    assert arn.endswith(f"transform-job/{request['TransformJobName'].lower()}")
    [request] = aws.created("CreateProcessingJob")
    assert request["AppSpecification"]["ContainerArguments"] == ["s3://bucket/out/"]
