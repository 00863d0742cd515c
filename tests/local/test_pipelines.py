import json
import threading
import time
import uuid

import pytest

from local import calls
from local.control import ControlPlane, ServiceError
from local.pipelines import PipelineService
from tests.local.definitions import REPORT, ROLE, condition, document, fail, get, processing, report, training
from tests.local.fake_aws import FakeAws

PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/pictures"
PARAMETERS = [
    {"Name": "Epochs", "Type": "Integer", "DefaultValue": 3},
    {"Name": "Data", "Type": "String"},
]
SIMPLE = document(processing("Split"))


@pytest.fixture
def aws(monkeypatch):
    monkeypatch.setattr(calls, "POLL_S", 0.001)
    return FakeAws()


@pytest.fixture
def service(home, store, aws):
    service = PipelineService(home, store, aws)
    yield service
    service.stop()


@pytest.fixture
def call(service):
    """call("DescribePipeline", PipelineName=...) goes through the control plane's own checks."""
    plane = ControlPlane(service.operations())

    def call(operation, **request):
        if operation in (
            "CreatePipeline",
            "DeletePipeline",
            "StartPipelineExecution",
            "StopPipelineExecution",
        ):
            request.setdefault("ClientRequestToken", uuid.uuid4().hex)
        return plane.call(operation, request)

    return call


def create(call, definition=SIMPLE, name="pictures", **more):
    return call("CreatePipeline", PipelineName=name, PipelineDefinition=definition, RoleArn=ROLE, **more)


def start(call, name="pictures", **request):
    return call("StartPipelineExecution", PipelineName=name, **request)["PipelineExecutionArn"]


def finished(call, arn):
    deadline = time.monotonic() + 5
    while True:
        answer = call("DescribePipelineExecution", PipelineExecutionArn=arn)
        if answer["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.002)


def run(call, **request):
    arn = start(call, **request)
    return arn, finished(call, arn)["PipelineExecutionStatus"]


def steps(call, arn, **request):
    return call("ListPipelineExecutionSteps", PipelineExecutionArn=arn, **request)["PipelineExecutionSteps"]


def refusal(call, operation, **request):
    with pytest.raises(ServiceError) as error:
        call(operation, **request)
    return error.value.code, error.value.message


def test_a_pipeline_is_created_described_updated_and_deleted(call):
    assert create(call, PipelineDescription="d") == {"PipelineArn": PIPELINE}
    described = call("DescribePipeline", PipelineName="pictures")
    assert described["PipelineDefinition"] == SIMPLE
    assert described["PipelineStatus"] == "Active"
    assert "LastRunTime" not in described
    other = document(processing("Other"))
    changes = {"PipelineDefinition": other, "ParallelismConfiguration": {"MaxParallelExecutionSteps": 2}}
    assert call("UpdatePipeline", PipelineName="pictures", **changes) == {"PipelineArn": PIPELINE}
    described = call("DescribePipeline", PipelineName=PIPELINE)
    assert described["PipelineDefinition"] == other
    assert described["PipelineDescription"] == "d"
    assert described["ParallelismConfiguration"] == {"MaxParallelExecutionSteps": 2}
    assert call("DeletePipeline", PipelineName="pictures") == {"PipelineArn": PIPELINE}
    code, message = refusal(call, "DescribePipeline", PipelineName="pictures")
    assert (code, message) == ("ResourceNotFound", f"Pipeline '{PIPELINE}' does not exist.")


def test_creating_twice_is_refused_but_for_a_repeated_request(call):
    token = "t" * 32
    assert create(call, ClientRequestToken=token) == create(call, ClientRequestToken=token)
    with pytest.raises(
        ServiceError, match=r"must be unique .* Pipeline with name \(pictures\) already exists"
    ):
        create(call)


def test_a_definition_may_lie_in_s3(call, aws):
    location = {"Bucket": "bucket", "ObjectKey": "definition.json"}
    request = {"PipelineName": "pictures", "RoleArn": ROLE}
    code, message = refusal(call, "CreatePipeline", **request, PipelineDefinitionS3Location=location)
    assert code == "ValidationException"
    assert "s3://bucket/definition.json cannot be read" in message
    aws.files["s3://bucket/definition.json"] = SIMPLE
    call("CreatePipeline", **request, PipelineDefinitionS3Location=location)
    assert call("DescribePipeline", PipelineName="pictures")["PipelineDefinition"] == SIMPLE
    assert "Exactly one of" in refusal(call, "CreatePipeline", **request)[1]


def test_a_malformed_definition_is_neither_created_nor_put_over_a_good_one(call):
    bad = document(processing("Split", get("Parameters.Missing")))
    message = "step 'Split': Get Parameters.Missing: there is no parameter 'Missing'"
    with pytest.raises(ServiceError, match=message):
        create(call, bad)
    create(call)
    with pytest.raises(ServiceError, match=message):
        call("UpdatePipeline", PipelineName="pictures", PipelineDefinition=bad)
    assert call("DescribePipeline", PipelineName="pictures")["PipelineDefinition"] == SIMPLE


def test_what_cannot_run_here_is_stored_but_not_started(call, aws):
    callback = {"Name": "Ask", "Type": "Callback", "SqsQueueUrl": "https://q", "Arguments": {}}
    create(call, document(processing("Split"), callback))
    code, message = refusal(call, "StartPipelineExecution", PipelineName="pictures")
    assert code == "ValidationException"
    assert "step 'Ask': the local service does not run steps of type Callback" in message
    assert aws.requests == []
    assert call("ListPipelineExecutions", PipelineName="pictures")["PipelineExecutionSummaries"] == []


def test_pipelines_are_listed_newest_first(call):
    for name in ("beta", "alpha", "other"):
        create(call, name=name)

    def names(**request):
        return [item["PipelineName"] for item in call("ListPipelines", **request)["PipelineSummaries"]]

    assert names() == ["other", "alpha", "beta"]
    assert names(SortBy="Name", SortOrder="Ascending") == ["alpha", "beta", "other"]
    assert names(PipelineNamePrefix="al") == ["alpha"]
    assert names(CreatedBefore=0.0) == []
    page = call("ListPipelines", MaxResults=2)
    assert names(NextToken=page["NextToken"]) == ["beta"]


def test_an_execution_runs_and_is_described(call):
    create(call, document(processing("Split", get("Parameters.Data")), parameters=PARAMETERS))
    arn = start(
        call,
        PipelineExecutionDisplayName="first",
        PipelineParameters=[{"Name": "Data", "Value": "s3://bucket/in"}],
    )
    assert arn.startswith(f"{PIPELINE}/execution/")
    assert len(arn.rpartition("/")[2]) == 12
    answer = finished(call, arn)
    assert answer["PipelineExecutionStatus"] == "Succeeded"
    assert answer["PipelineExecutionDisplayName"] == "first"
    parameters = call("ListPipelineParametersForExecution", PipelineExecutionArn=arn)["PipelineParameters"]
    assert parameters == [{"Name": "Data", "Value": "s3://bucket/in"}, {"Name": "Epochs", "Value": "3"}]
    definition = call("DescribePipelineDefinitionForExecution", PipelineExecutionArn=arn)
    assert "Split" in definition["PipelineDefinition"]
    (step,) = steps(call, arn)
    assert set(step) == {"StepName", "StartTime", "EndTime", "StepStatus", "AttemptCount", "Metadata"}
    summaries = call("ListPipelineExecutions", PipelineName="pictures")["PipelineExecutionSummaries"]
    assert [summary["PipelineExecutionArn"] for summary in summaries] == [arn]
    assert call("DescribePipeline", PipelineName="pictures")["LastRunTime"] == summaries[0]["StartTime"]
    assert call("ListPipelines")["PipelineSummaries"][0]["LastExecutionTime"] == summaries[0]["StartTime"]


def test_steps_are_listed_newest_first_or_oldest_first(call):
    create(
        call, document(processing("A"), processing("B", DependsOn=["A"]), processing("C", DependsOn=["A"]))
    )
    arn, _ = run(call)
    assert [step["StepName"] for step in steps(call, arn)] == ["B", "C", "A"]
    assert [step["StepName"] for step in steps(call, arn, SortOrder="Ascending")] == ["A", "B", "C"]
    assert [step["StepName"] for step in steps(call, arn, MaxResults=1, NextToken="2")] == ["A"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Parameter 'Data' is undefined."),
        ([{"Name": "Data", "Value": "x"}, {"Name": "Epoch", "Value": "1"}], "Unknown parameter 'Epoch'"),
        ([{"Name": "Data", "Value": "x"}, {"Name": "Epochs", "Value": "1.5"}], "'Epochs' is of type Integer"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(call, aws, given, message):
    create(call, document(processing("Split", get("Parameters.Data")), parameters=PARAMETERS))
    with pytest.raises(ServiceError, match=message):
        start(call, PipelineParameters=given)
    assert aws.requests == []


def test_a_repeated_start_is_one_execution(call):
    create(call)
    token = "t" * 32
    assert start(call, ClientRequestToken=token) == start(call, ClientRequestToken=token)
    assert start(call) != start(call)


def test_an_execution_keeps_the_definition_that_it_started_with(call):
    create(call)
    arn, _ = run(call)
    call("UpdatePipeline", PipelineName="pictures", PipelineDefinition=document(processing("Other")))
    answer = call("DescribePipelineDefinitionForExecution", PipelineExecutionArn=arn)
    assert answer["PipelineDefinition"] == SIMPLE


def test_a_running_execution_is_stopped_and_protects_its_pipeline(call, aws):
    aws.held["Split"] = threading.Event()
    create(call)
    arn = start(call)
    assert refusal(call, "DeletePipeline", PipelineName="pictures")[0] == "ConflictException"
    update = {
        "ParallelismConfiguration": {"MaxParallelExecutionSteps": 1},
        "PipelineExecutionDisplayName": "n",
    }
    assert call("UpdatePipelineExecution", PipelineExecutionArn=arn, **update) == {
        "PipelineExecutionArn": arn
    }
    assert call("StopPipelineExecution", PipelineExecutionArn=arn) == {"PipelineExecutionArn": arn}
    answer = finished(call, arn)
    assert answer["PipelineExecutionStatus"] == "Stopped"
    assert answer["PipelineExecutionDisplayName"] == "n"
    assert refusal(call, "StopPipelineExecution", PipelineExecutionArn=arn)[0] == "ConflictException"
    call("DeletePipeline", PipelineName="pictures")


def test_what_is_not_there_is_not_found(call):
    arn = f"{PIPELINE}/execution/absent"
    for operation in (
        "DescribePipelineExecution",
        "ListPipelineExecutionSteps",
        "ListPipelineParametersForExecution",
        "DescribePipelineDefinitionForExecution",
        "StopPipelineExecution",
        "UpdatePipelineExecution",
    ):
        code, message = refusal(call, operation, PipelineExecutionArn=arn)
        assert (code, message) == ("ResourceNotFound", f"Pipeline execution '{arn}' does not exist.")
    for operation in ("StartPipelineExecution", "ListPipelineExecutions", "DeletePipeline", "UpdatePipeline"):
        assert refusal(call, operation, PipelineName="absent")[0] == "ResourceNotFound"


def test_versions_and_retries_are_refused_clearly(call):
    create(call)
    assert (
        "PipelineVersionId"
        in refusal(call, "DescribePipeline", PipelineName="pictures", PipelineVersionId=1)[1]
    )
    arn, _ = run(call)
    request = {"PipelineExecutionArn": arn, "ClientRequestToken": "t" * 32}
    assert "SelectiveExecutionConfig" in refusal(call, "RetryPipelineExecution", **request)[1]


def test_the_services_end_stops_its_executions(call, service, aws):
    aws.held["Split"] = threading.Event()
    create(call)
    arn = start(call)
    service.stop()
    answer = call("DescribePipelineExecution", PipelineExecutionArn=arn)
    assert answer["PipelineExecutionStatus"] == "Stopped"
    assert "local service ended" in answer["FailureReason"]
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith(("execution-", "pipeline-"))
    ]


def test_what_a_killed_service_left_running_is_closed(home, store, call, aws):
    create(call)
    arn, _ = run(call)

    def unfinish(record):
        record["PipelineExecutionStatus"] = "Executing"
        record["_steps"]["Split"].update(StepStatus="Executing")
        del record["_steps"]["Split"]["EndTime"]

    store.update("pipeline-executions", arn, unfinish)
    PipelineService(home, store, aws).recover()
    answer = call("DescribePipelineExecution", PipelineExecutionArn=arn)
    assert answer["PipelineExecutionStatus"] == "Failed"
    assert answer["FailureReason"] == "The local service ended while the execution was running."
    (step,) = steps(call, arn)
    assert step["StepStatus"] == "Failed"
    assert step["EndTime"] >= step["StartTime"]


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
        (["Train", "Gate"], "not connected: 'Evaluate' lies between"),
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
