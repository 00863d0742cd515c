"""The Transform step: for the execution, this kind of job is only a row."""

import copy

import pytest

from local.definition.definition import parse_definition
from local.definition.expressions import parse
from local.definition.unsupported import unsupported
from local.pipelines.record import ExecutionRecord
from local.pipelines.values import Values
from tests.local.definitions import PIPELINE, document, get, model, processing
from tests.local.executions import statuses

CACHED = {"CacheConfig": {"Enabled": True, "ExpireAfter": "PT1H"}}
RETRIED = {"RetryPolicies": [{"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "MaxAttempts": 1}]}


def transform(name="Score", model_name="flowers", **more):
    return {
        "Name": name,
        "Type": "Transform",
        "Arguments": {
            "ModelName": model_name,
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}
            },
            "TransformOutput": {"S3OutputPath": "s3://bucket/out/"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
        **more,
    }


def test_the_references_of_a_request_read_the_record_once(prepare, store, monkeypatch):
    prepare(document(processing("Split")))
    arn = f"{PIPELINE}/execution/d84ewltjmxhe"
    reads = []
    get_record = store.get
    monkeypatch.setattr(store, "get", lambda *name: reads.append(name) or get_record(*name))
    values = Values(ExecutionRecord(store, arn), parse_definition(document(processing("Split"))), None)
    tree = parse([get("Execution.PipelineExecutionArn"), get("Execution.PipelineName")] * 10)
    assert values.evaluate(tree) == [arn, "pictures"] * 10
    assert len(reads) == 1


def test_a_model_is_scored_and_others_read_the_results(run, aws):
    after = processing("After", get("Steps.Score.TransformOutput.S3OutputPath"))
    score = transform(model_name=get("Steps.Create.ModelName"))
    record = run(document(model("Create", "s3://bucket/model.tar.gz"), score, after))
    assert statuses(record) == {"Create": "Succeeded", "Score": "Succeeded", "After": "Succeeded"}
    [request] = aws.created("CreateTransformJob")
    assert request["TransformJobName"].startswith("pipelines-d84ewltjmxhe-Score-")
    assert request["ModelName"].startswith("pipelines-d84ewltjmxhe-Create-")
    assert request["Tags"] == [
        {"Key": "sagemaker:pipeline-execution-arn", "Value": record["PipelineExecutionArn"]}
    ]
    arn = record["_steps"]["Score"]["Metadata"]["TransformJob"]["Arn"]
    assert arn.endswith(f"transform-job/{request['TransformJobName'].lower()}")
    [request] = aws.created("CreateProcessingJob")
    assert request["AppSpecification"]["ContainerArguments"] == ["s3://bucket/out/"]


@pytest.mark.parametrize(
    ("path", "value", "hit"),
    [
        (("TransformOutput", "S3OutputPath"), "s3://bucket/elsewhere/", True),
        (("TransformResources", "InstanceType"), "ml.m5.xlarge", True),
        (("BatchStrategy",), "SingleRecord", True),
        (("ModelName",), "trees", False),
        (("Environment",), {"A": "b"}, False),
        (("DataProcessing",), {"JoinSource": "Input"}, False),
        (("TransformInput", "ContentType"), "text/csv", False),
    ],
)
def test_an_earlier_run_is_taken_over_if_what_counts_is_the_same(run, aws, path, value, hit):
    first, second = transform(**CACHED), copy.deepcopy(transform(**CACHED))
    place = second["Arguments"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    run(document(first), execution_id="first")
    step = run(document(second), execution_id="second")["_steps"]["Score"]
    assert ("CacheHitResult" in step, len(aws.created("CreateTransformJob"))) == (hit, 1 if hit else 2)


def test_an_internal_error_is_retried_and_a_refusal_of_the_model_not(run, aws):
    aws.endings["Score"] = [("Failed", "InternalServerError: x"), ("Completed", "")]
    assert statuses(run(document(transform(**RETRIED)))) == {"Score": "Succeeded"}
    assert len(aws.created("CreateTransformJob")) == 2
    aws.endings["Score"] = [("Failed", "ClientError: See job logs for more information")]
    step = run(document(transform(**RETRIED)), execution_id="again")["_steps"]["Score"]
    assert step["FailureReason"] == "ClientError: ClientError: See job logs for more information"
    assert len(aws.created("CreateTransformJob")) == 3


def test_what_does_not_run_here_is_refused_with_the_pipeline():
    step = transform()
    step["Arguments"]["TransformInput"]["SplitType"] = "RecordIO"
    step["Arguments"]["TransformInput"]["DataSource"]["S3DataSource"]["S3DataType"] = "AugmentedManifestFile"
    step["Arguments"]["TransformResources"]["InstanceCount"] = 2
    assert unsupported(parse_definition(document(step))) == [
        "step 'Score': S3DataType AugmentedManifestFile does not run here, only S3Prefix and ManifestFile",
        "step 'Score': SplitType RecordIO does not run here, only None and Line",
        "step 'Score': InstanceCount is 2; the local service has one machine",
    ]
    step = transform()
    step["Arguments"]["TransformResources"]["InstanceCount"] = get("Parameters.Count")
    counted = document(step, parameters=[{"Name": "Count", "Type": "Integer", "DefaultValue": 1}])
    assert unsupported(parse_definition(counted)) == []
