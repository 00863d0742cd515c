import json
import threading

import pytest

from local.pipelines.pipelines import PipelineService
from local.pipelines.record import EXECUTIONS
from local.wire.errors import ServiceError
from tests.local.definitions import PIPELINE, ROLE, document, get, processing
from tests.local.pipeline_requests import SIMPLE, caller, create, finished, refusal, run, start, steps

PARAMETERS = [
    {"Name": "Epochs", "Type": "Integer", "DefaultValue": 3},
    {"Name": "Data", "Type": "String"},
]


@pytest.fixture
def service(home, store, aws):
    service = PipelineService(home, store, aws)
    yield service
    service.stop()


@pytest.fixture
def call(service):
    return caller(service)


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


def test_lists_read_no_record_as_a_whole(call, store, monkeypatch):
    create(call)
    arns = []
    for _ in range(3):
        arns.insert(0, start(call))
        finished(call, arns[0])
    call("DescribePipeline", PipelineName="pictures")
    whole = []
    read = json.loads
    monkeypatch.setattr("local.home.store.json.loads", lambda text: whole.append(read(text)) or whole[-1])

    def listed(**request):
        answer = call("ListPipelineExecutions", PipelineName="pictures", **request)
        found = [each["PipelineExecutionArn"] for each in answer["PipelineExecutionSummaries"]]
        return found, answer.get("NextToken")

    assert listed() == (arns, None)
    assert listed(MaxResults=2) == (arns[:2], "2")
    assert listed(MaxResults=2, NextToken="2") == (arns[2:], None)
    assert listed(SortOrder="Ascending")[0] == arns[::-1]
    assert listed(SortBy="PipelineExecutionArn")[0] == sorted(arns, reverse=True)
    assert listed(CreatedAfter=store.get(EXECUTIONS, arns[1])["CreationTime"])[0] == arns[:2]
    assert call("ListPipelines")["PipelineSummaries"][0]["PipelineName"] == "pictures"
    executions = [record for record in whole if "PipelineExecutionArn" in record]
    assert len(executions) > 15
    assert sum("_definition" in record for record in executions) == 1  # the one that the test itself reads
    assert refusal(call, "ListPipelines", NextToken="9" * 19)[0] == "ValidationException"


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


def test_an_execution_says_who_began_it_and_in_which_experiment(call):
    experiment = {
        "ExperimentName": get("Execution.PipelineName"),
        "TrialName": {"Std:Join": {"On": "-", "Values": ["run", get("Parameters.Epochs")]}},
    }
    definition = document(processing("A"), parameters=PARAMETERS[:1], PipelineExperimentConfig=experiment)
    create(call, definition)
    answer = call("DescribePipelineExecution", PipelineExecutionArn=start(call))
    assert answer["PipelineExperimentConfig"] == {"ExperimentName": "pictures", "TrialName": "run-3"}
    assert answer["CreatedBy"] == answer["LastModifiedBy"] == {}  # no user profile of Studio
    call("UpdatePipeline", PipelineName="pictures", PipelineDefinition=SIMPLE)
    described = call("DescribePipelineExecution", PipelineExecutionArn=start(call))
    assert "PipelineExperimentConfig" not in described
    pipeline = call("DescribePipeline", PipelineName="pictures")
    assert pipeline["CreatedBy"] == pipeline["LastModifiedBy"] == {}


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        (document(processing("A"), Version="2018-12-01"), "Version '2018-12-01'; expected '2020-12-01'"),
        (document(processing("A"), Version=None), "Version null; expected '2020-12-01'"),
        (document({"Name": "A", "Type": "Procesing", "Arguments": {}}), "step 'A': the Type 'Procesing'"),
    ],
)
def test_what_is_of_no_version_or_type_is_refused_at_once(call, definition, told):
    create(call)
    for operation in ("CreatePipeline", "UpdatePipeline"):
        request = {"PipelineName": "pictures", "PipelineDefinition": definition, "RoleArn": ROLE}
        code, message = refusal(call, operation, **request)
        assert code == "ValidationException"
        assert message.startswith("Unable to parse pipeline definition. ") and told in message


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


def test_versions_are_refused_clearly(call):
    create(call)
    assert (
        "PipelineVersionId"
        in refusal(call, "DescribePipeline", PipelineName="pictures", PipelineVersionId=1)[1]
    )


def test_an_execution_that_gets_no_thread_has_ended(call, monkeypatch):
    def start_no_thread(_):
        raise RuntimeError("can't start new thread")

    create(call)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_no_thread)
        arn = start(call)
    answer = finished(call, arn)
    assert answer["PipelineExecutionStatus"] == "Failed"
    assert answer["FailureReason"] == "InternalServerError: can't start new thread"
