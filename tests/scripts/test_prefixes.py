"""prefixes.py, which checks every request of a command, finds what it should."""

import json

import pytest

from scripts import schedule_retraining, start_execution
from tests.scripts.prefixes import open_prefixes

PARAMETERS = {"Name": "InputDataUrl", "Value": "s3://b/flowers"}
SOURCE = {"S3DataType": "S3Prefix", "S3Uri": "s3://b/flowers"}


@pytest.mark.parametrize(
    ("operation", "request_", "found"),
    [
        ("ListObjectsV2", {"Bucket": "b"}, []),
        ("ListObjectsV2", {"Bucket": "b", "Prefix": ""}, []),
        ("ListObjectsV2", {"Bucket": "b", "Prefix": "flowers/"}, []),
        ("ListObjectsV2", {"Bucket": "b", "Prefix": "flowers"}, ["flowers"]),
        ("StartPipelineExecution", {"PipelineParameters": [PARAMETERS]}, ["s3://b/flowers"]),
        ("CreateSchedule", {"Target": {"Input": json.dumps({"P": [PARAMETERS]})}}, ["s3://b/flowers"]),
        ("CreatePipeline", {"PipelineDefinition": json.dumps({"S3Input": SOURCE})}, ["s3://b/flowers"]),
        ("CreateModel", {"ModelDataUrl": "s3://b/m/model.tar.gz"}, []),
        ("CreateTrainingJob", {"OutputDataConfig": {"S3OutputPath": "s3://b/out"}}, []),
        ("CreateTrainingJob", {"S3Uri": {"Std:Join": {"On": "/", "Values": ["s3://b", "x/"]}}}, []),
        ("CreateTrainingJob", {"S3Uri": {"Std:Join": {"On": "", "Values": ["s3://b/x"]}}}, ["s3://b/x"]),
    ],
)
def test_a_prefix_without_a_slash_is_found(operation, request_, found):
    assert open_prefixes(operation, request_) == found


def test_a_dataset_without_a_slash_gets_one_on_its_way(url, client):
    sagemaker = client("sagemaker")
    sagemaker.create_pipeline(
        PipelineName="image-classification",
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": []}),
        ClientRequestToken="x" * 32,
        RoleArn="arn:aws:iam::123456789012:role/execution",
    )
    given = ["--local", url, "--parameter", "InputDataUrl=s3://bucket/flowers"]
    assert schedule_retraining.main([*given, "--rate", "7 days"]) == 0
    assert start_execution.main(given) == 0
    [execution] = sagemaker.list_pipeline_executions(PipelineName="image-classification")[
        "PipelineExecutionSummaries"
    ]
    parameters = sagemaker.list_pipeline_parameters_for_execution(
        PipelineExecutionArn=execution["PipelineExecutionArn"]
    )["PipelineParameters"]
    [schedule] = client("scheduler").list_schedules()["Schedules"]
    target = client("scheduler").get_schedule(Name=schedule["Name"])["Target"]
    sent = {"Name": "InputDataUrl", "Value": "s3://bucket/flowers/"}
    assert sent in parameters
    assert sent in target["SageMakerPipelineParameters"]["PipelineParameterList"]
