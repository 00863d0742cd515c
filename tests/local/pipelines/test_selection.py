import json
import threading

import pytest

from local.pipelines.pipelines import PipelineService
from local.wire.errors import ServiceError
from tests.local.definitions import REPORT, condition, document, fail, get, processing, report, training
from tests.local.pipeline_requests import caller, create, run, start, steps

SELECTIVE = document(
    processing("Split"),
    training("Train", {"data": get("Steps.Split.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri")}),
    processing("Evaluate", get("Steps.Train.ModelArtifacts.S3ModelArtifacts"), PropertyFiles=[REPORT]),
    condition(
        "Gate",
        [{"Type": "GreaterThan", "LeftValue": report("Evaluate", "accuracy"), "RightValue": 0.9}],
        [processing("Publish", get("Steps.Evaluate.ProcessingJobName"))],
        [fail("Refuse", "too low")],
    ),
)


@pytest.fixture
def call(home, store, aws):
    service = PipelineService(home, store, aws)
    yield caller(service)
    service.stop()


def selective(source, *names):
    config = {"SelectedSteps": [{"StepName": name} for name in names]}
    return {
        "SelectiveExecutionConfig": {**config, **({"SourcePipelineExecutionArn": source} if source else {})}
    }


@pytest.fixture
def source(call, aws):
    """The ARN of an execution whose gate said no."""
    create(call, SELECTIVE)
    aws.files["s3://bucket/Evaluate/evaluation.json"] = json.dumps({"accuracy": 0.5})
    arn, status = run(call)
    assert status == "Failed"
    aws.requests.clear()
    return arn


def test_selected_steps_take_what_they_need_from_the_source(call, aws, source):
    arn, status = run(call, **selective(source, "Evaluate"))
    assert status == "Succeeded"
    assert [name for name, _ in aws.requests] == ["CreateProcessingJob"]
    model = aws.created("CreateProcessingJob")[0]["AppSpecification"]["ContainerArguments"][0]
    assert model.startswith("s3://bucket/models/pipelines-")
    listed = {step["StepName"]: step for step in steps(call, arn)}
    assert set(listed) == {"Train", "Evaluate"}
    assert listed["Train"]["SelectiveExecutionResult"] == {"SourcePipelineExecutionArn": source}
    described = call("DescribePipelineExecution", PipelineExecutionArn=arn)
    assert described["SelectiveExecutionConfig"]["SourcePipelineExecutionArn"] == source


def test_the_tail_of_an_execution_runs_again(call, aws, source):
    aws.files["s3://bucket/Evaluate/evaluation.json"] = json.dumps({"accuracy": 0.95})
    arn, status = run(call, **selective(source, "Evaluate", "Gate", "Publish", "Refuse"))
    assert status == "Succeeded"
    assert [step["StepName"] for step in steps(call, arn)] == ["Publish", "Gate", "Evaluate", "Train"]
    again, status = run(call, **selective(arn, "Gate", "Publish", "Refuse"))
    assert status == "Succeeded"
    assert [step["StepName"] for step in steps(call, again)] == ["Publish", "Gate", "Evaluate"]


def test_a_first_step_needs_no_source(call, source):
    assert source
    arn, status = run(call, **selective(None, "Split"))
    assert status == "Succeeded"
    assert [step["StepName"] for step in steps(call, arn)] == ["Split"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Train", "Gate"], "not connected: 'Evaluate' is between"),
        (["Nothing"], "names 'Nothing', which is not a step"),
        (["Publish"], "'Publish' is in the branch that 'Gate' did not take"),
    ],
)
def test_a_wrong_selection_is_refused(call, source, names, message):
    with pytest.raises(ServiceError, match=message):
        start(call, **selective(source, *names))


def test_a_wrong_source_is_refused(call, aws, source):
    message = (
        r"Invalid SourcePipelineExecutionArn: null."
        r" The selected steps \['Train'\] have dependencies on \['Split'\]"
    )
    with pytest.raises(ServiceError, match=message):
        start(call, **selective(None, "Train"))
    create(call, name="other")
    with pytest.raises(ServiceError, match="an execution of another pipeline"):
        start(call, "other", **selective(source, "Split"))
    aws.endings["Train"] = [("Failed", "AlgorithmError: x")]
    failed, _ = run(call)
    with pytest.raises(ServiceError, match="need 'Train', which did not succeed"):
        start(call, **selective(failed, "Evaluate"))
    aws.held["Split"] = threading.Event()
    with pytest.raises(ServiceError, match="is still running"):
        start(call, **selective(start(call), "Train"))


def test_only_selected_steps_must_run_here(call):
    callback = {"Name": "Ask", "Type": "Callback", "SqsQueueUrl": "https://q", "Arguments": {}}
    create(call, document(processing("Split"), callback))
    arn, status = run(call, **selective(None, "Split"))
    assert status == "Succeeded"
    assert [step["StepName"] for step in steps(call, arn)] == ["Split"]
