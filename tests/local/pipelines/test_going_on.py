"""How a later service continues an earlier one's executions, and RetryPipelineExecution."""

import io
import json
import threading

import pytest

from local.home.interruption import INTERRUPTED
from local.pipelines.pipelines import PipelineService
from local.pipelines.record import EXECUTIONS
from tests.local.definitions import FUNCTION, document, fail, function, get, processing, register, training
from tests.local.executions import statuses, until
from tests.local.fake_aws import FakeAws, client_error
from tests.local.pipeline_requests import caller, create, finished, refusal, run, start, steps

TOKEN = "t" * 32
OUTPUT = get("Steps.Split.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri")
TWO = document(processing("Split"), training("Train", {"data": OUTPUT}))


class Killed(BaseException):
    """Simulates SIGKILL: nothing more is written of an execution that raises it."""


@pytest.fixture
def services(home, store, aws):
    """services() is a service on this home, after the previous one is gone."""
    started = []

    def services():
        for service in started:
            service.stop()
        started.append(PipelineService(home, store, aws))
        return started[-1]

    yield services
    for service in started:
        service.stop()


@pytest.fixture
def killing(monkeypatch):
    """killing(service) waits until Killed has ended its executions, with nothing in the records."""
    monkeypatch.setattr("local.pipelines.record.ExecutionRecord.fail", lambda *_: None)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    return lambda service: until(lambda: not service._executions._running)


def left(services, aws, definition, step):
    """An execution left by its service while the job of `step` was running; the calls of a new service."""
    aws.held[step] = threading.Event()
    service = services()
    call = caller(service)
    create(call, definition)
    arn = start(call)
    until(lambda: any(f"-{step}-" in str(request) for _, request in aws.requests))
    until(lambda: steps(call, arn)[0]["StepStatus"] == "Executing")
    service.stop()
    assert (
        call("DescribePipelineExecution", PipelineExecutionArn=arn)["PipelineExecutionStatus"] == "Executing"
    )
    return arn


def go_on(service):
    service.recover(resume=True)
    service.resume()


def names(aws, operation, key):
    return [request[key] for request in aws.created(operation)]


def test_the_end_of_a_service_leaves_no_thread_and_stops_no_job(services, aws):
    left(services, aws, TWO, "Train")
    assert aws.stopped == []
    assert not [t for t in threading.enumerate() if t.name.startswith(("execution-", "pipeline-"))]


def test_a_job_that_ended_meanwhile_is_read_and_nothing_runs_twice(services, aws):
    arn = left(services, aws, TWO, "Train")
    aws.held["Train"].set()
    service = services()
    go_on(service)
    call = caller(service)
    assert finished(call, arn)["PipelineExecutionStatus"] == "Succeeded"
    assert len(aws.created("CreateProcessingJob")) == len(aws.created("CreateTrainingJob")) == 1
    assert aws.created("CreateTrainingJob")[0]["HyperParameters"]["data"] == "s3://bucket/Split"
    assert {step["StepName"]: step["AttemptCount"] for step in steps(call, arn)} == {"Split": 0, "Train": 0}


def test_a_job_that_ended_with_its_service_runs_again_as_the_next_attempt(services, aws):
    arn = left(services, aws, TWO, "Train")
    # The second interruption is of the attempt after the first.
    aws.endings["Train"] = [
        ("Failed", f"InternalServerError: {INTERRUPTED}"),
        ("Stopped", INTERRUPTED),
        ("Completed", ""),
    ]
    aws.held["Train"].set()
    service = services()
    go_on(service)
    call = caller(service)
    assert finished(call, arn)["PipelineExecutionStatus"] == "Succeeded"
    assert len(aws.created("CreateProcessingJob")) == 1
    assert len(set(names(aws, "CreateTrainingJob", "TrainingJobName"))) == 3
    assert {step["StepName"]: step["AttemptCount"] for step in steps(call, arn)} == {"Split": 0, "Train": 2}


def test_interruptions_are_no_attempts_of_a_retry_policy(services, aws, monkeypatch):
    monkeypatch.setattr(
        "local.definition.retry.delay_s", lambda _policies, kind, failures, _: told.append((kind, failures))
    )
    told = []
    arn = left(services, aws, document(training("Train")), "Train")
    aws.endings["Train"] = [("Stopped", INTERRUPTED), ("Failed", "InternalServerError: other")]
    aws.held["Train"].set()
    service = services()
    go_on(service)
    assert finished(caller(service), arn)["PipelineExecutionStatus"] == "Failed"
    assert told == [("SageMaker.JOB_INTERNAL_ERROR", 1)]


@pytest.mark.parametrize("asked", [True, False])
def test_a_job_is_created_once_wherever_the_service_was_killed(services, aws, monkeypatch, killing, asked):
    """Before the request reached SageMaker, and afterwards, but before the answer was recorded."""
    create_once = FakeAws._create

    def killed(self, resource, request):
        if asked:
            create_once(self, resource, request)
        raise Killed

    service = services()
    call = caller(service)
    create(
        call,
        document(
            training("Train"), {**register("Register", "s3://bucket/model.tar.gz"), "DependsOn": ["Train"]}
        ),
    )
    with monkeypatch.context() as patch:
        patch.setattr(FakeAws, "_create", killed)
        arn = start(call)
        killing(service)
    wanted = names(aws, "CreateTrainingJob", "TrainingJobName")
    service = services()
    with monkeypatch.context() as patch:
        patch.setattr(
            FakeAws,
            "_create",
            lambda *given: killed(*given) if given[1] == "ModelPackage" else create_once(*given),
        )
        go_on(service)
        killing(service)
    service = services()
    go_on(service)
    assert finished(caller(service), arn)["PipelineExecutionStatus"] == "Succeeded"
    assert set(names(aws, "CreateTrainingJob", "TrainingJobName")) == set(wanted)
    assert len(set(names(aws, "CreateModelPackage", "ClientToken"))) == 1
    assert sum("ModelPackageGroupName" in made for made in aws._resources.values()) == 1


def test_a_function_is_invoked_again(services, aws, killing):
    invoked = []

    def answer(payload):
        invoked.append(payload)
        if len(invoked) == 1:
            raise Killed
        return {"Payload": io.BytesIO(json.dumps({"url": "u"}).encode())}

    aws.functions[FUNCTION] = answer
    service = services()
    call = caller(service)
    create(call, document(function("Deploy", {"a": 1}, {"url": "String"})))
    arn = start(call)
    killing(service)
    service = services()
    go_on(service)
    assert finished(caller(service), arn)["PipelineExecutionStatus"] == "Succeeded"
    assert invoked == [b'{"a": 1}'] * 2


def test_an_execution_that_was_being_stopped_is_stopped(services, aws):
    arn = left(services, aws, TWO, "Train")
    service = services()
    service._store.update(EXECUTIONS, arn, lambda record: record.update(PipelineExecutionStatus="Stopping"))
    aws.endings["Train"] = [("Failed", f"InternalServerError: {INTERRUPTED}")]
    aws.held["Train"].set()
    go_on(service)
    record = finished(caller(service), arn)
    assert record["PipelineExecutionStatus"] == "Stopped"
    assert statuses(service._store.get(EXECUTIONS, arn)) == {"Split": "Succeeded", "Train": "Stopped"}
    assert len(aws.created("CreateTrainingJob")) == 1


def test_what_cannot_continue_is_closed_with_its_reason_and_the_others_continue(services, aws):
    broken = left(services, aws, TWO, "Train")
    other = left_again(services, aws)
    service = services()
    service._store.update(EXECUTIONS, broken, lambda record: record.update(_definition="{}"))
    aws.held["Train"].set()
    go_on(service)
    call = caller(service)
    record = finished(call, broken)
    assert record["PipelineExecutionStatus"] == "Stopped"
    assert "cannot continue it" in record["FailureReason"] and "Unable to parse" in record["FailureReason"]
    kept = {step["StepName"]: step["StepStatus"] for step in steps(call, broken)}
    assert kept == {"Split": "Succeeded", "Train": "Stopped"}
    assert finished(call, other)["PipelineExecutionStatus"] == "Succeeded"


def left_again(services, aws):
    service = services()
    call = caller(service)
    before = len(aws.created("CreateTrainingJob"))
    arn = start(call)
    until(lambda: len(aws.created("CreateTrainingJob")) > before)
    service.stop()
    return arn


def test_a_service_that_does_not_resume_closes_what_was_left(services, aws):
    arn = left(services, aws, TWO, "Train")
    service = services()
    service.recover(resume=False)
    call = caller(service)
    answer = call("DescribePipelineExecution", PipelineExecutionArn=arn)
    assert answer["PipelineExecutionStatus"] == "Stopped"
    assert "RetryPipelineExecution" in answer["FailureReason"]
    assert {step["StepName"]: step["StepStatus"] for step in steps(call, arn)} == {
        "Split": "Succeeded", "Train": "Stopped"
    }  # fmt: skip


def test_the_time_that_a_step_has_used_is_kept(services, aws, monkeypatch):
    arn = left(services, aws, document(training("Train")), "Train")
    service = services()
    used = service._store.get(EXECUTIONS, arn)["_steps"]["Train"]["_used_s"]
    assert 0 < used < 5
    elapsed = []
    monkeypatch.setattr("local.definition.retry.delay_s", lambda *given: elapsed.append(given[3]))
    service._store.update(
        EXECUTIONS, arn, lambda record: record["_steps"]["Train"].update(_used_s=1000.0, StartTime=0.0)
    )
    aws.endings["Train"] = [("Failed", "AlgorithmError: x")]
    aws.held["Train"].set()
    go_on(service)
    finished(caller(service), arn)
    assert 1000 <= elapsed[0] < 1010  # and not the time since 1970


def test_a_retry_repeats_what_came_after_a_failure_and_keeps_the_rest(services, aws):
    call = caller(services())
    upon = {"DependsOn": [{"Step": "Train", "Trigger": "Failed"}]}
    create(
        call,
        document(
            processing("Split"),
            training("Train"),
            processing("Mourn", **upon),
            {**fail("End", "failed"), "DependsOn": ["Mourn"]},
        ),
    )
    aws.endings["Train"] = [("Failed", "AlgorithmError: x")]
    arn, status = run(call)
    assert status == "Failed"
    aws.endings["Train"] = [("Completed", "")]
    call("RetryPipelineExecution", PipelineExecutionArn=arn, ClientRequestToken=TOKEN)
    assert finished(call, arn)["PipelineExecutionStatus"] == "Succeeded"
    ended = {step["StepName"]: step["StepStatus"] for step in steps(call, arn)}
    assert ended == {"Split": "Succeeded", "Train": "Succeeded"}
    assert len(aws.created("CreateProcessingJob")) == 2


def test_a_retry(services, aws):
    call = caller(services())
    create(call, TWO)
    aws.endings["Train"] = [("Failed", "AlgorithmError: x"), ("Completed", "")]
    arn, status = run(call)
    assert status == "Failed"
    request = {"PipelineExecutionArn": arn, "ClientRequestToken": TOKEN}
    assert call("RetryPipelineExecution", **request) == {"PipelineExecutionArn": arn}
    assert call("RetryPipelineExecution", **request) == {"PipelineExecutionArn": arn}  # the same request
    answer = finished(call, arn)
    assert answer["PipelineExecutionStatus"] == "Succeeded" and "FailureReason" not in answer
    assert len(aws.created("CreateProcessingJob")) == 1
    assert len(aws.created("CreateTrainingJob")) == 2
    assert {step["StepName"]: step["StepStatus"] for step in steps(call, arn)} == {
        "Split": "Succeeded", "Train": "Succeeded"
    }  # fmt: skip
    assert len(call("ListPipelineExecutions", PipelineName="pictures")["PipelineExecutionSummaries"]) == 1


def test_a_retry_takes_the_definition_and_the_parallelism_of_then(services, aws):
    call = caller(services())
    create(call, TWO, ParallelismConfiguration={"MaxParallelExecutionSteps": 3})
    aws.endings["Train"] = [("Failed", "AlgorithmError: x"), ("Completed", "")]
    arn, _ = run(call)
    call("UpdatePipeline", PipelineName="pictures", PipelineDefinition=document(processing("Other")))
    fewer = {"MaxParallelExecutionSteps": 1}
    call(
        "RetryPipelineExecution",
        PipelineExecutionArn=arn,
        ClientRequestToken=TOKEN,
        ParallelismConfiguration=fewer,
    )
    assert finished(call, arn)["ParallelismConfiguration"] == fewer
    assert {step["StepName"] for step in steps(call, arn)} == {"Split", "Train"}


def test_only_what_failed_or_was_stopped_is_retried(services, aws):
    call = caller(services())
    create(call, TWO)
    arn, status = run(call)
    assert status == "Succeeded"
    request = {"ClientRequestToken": TOKEN}
    code, message = refusal(call, "RetryPipelineExecution", PipelineExecutionArn=arn, **request)
    assert code == "ConflictException" and "is Succeeded" in message
    missing = arn[:-1] + "_"
    assert (
        refusal(call, "RetryPipelineExecution", PipelineExecutionArn=missing, **request)[0]
        == "ResourceNotFound"
    )
    aws.held["Train"] = threading.Event()
    arn = start(call)
    assert (
        refusal(call, "RetryPipelineExecution", PipelineExecutionArn=arn, **request)[0] == "ConflictException"
    )
    call("StopPipelineExecution", PipelineExecutionArn=arn)
    assert finished(call, arn)["PipelineExecutionStatus"] == "Stopped"
    aws.held["Train"].set()
    call("RetryPipelineExecution", PipelineExecutionArn=arn, **request)
    assert finished(call, arn)["PipelineExecutionStatus"] == "Succeeded"


def test_a_service_that_cannot_tell_whether_a_job_exists_does_not_create_it(services, aws):
    arn = left(services, aws, document(training("Train")), "Train")
    aws.refusals["DescribeTrainingJob"] = client_error("DescribeTrainingJob", "InternalFailure", "no", 500)
    service = services()
    go_on(service)
    assert finished(caller(service), arn)["PipelineExecutionStatus"] == "Failed"
    assert len(aws.created("CreateTrainingJob")) == 1
