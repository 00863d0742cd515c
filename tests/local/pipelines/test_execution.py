import io
import json
import re
import threading

import pytest

from local.pipelines.record import EXECUTIONS
from tests.local.definitions import (
    FUNCTION,
    PIPELINE,
    REPORT,
    condition,
    document,
    fail,
    function,
    get,
    join,
    model,
    processing,
    register,
    report,
    training,
    tuning,
)
from tests.local.executions import statuses, until
from tests.local.fake_aws import client_error
from tests.local.full_disk import MESSAGE, fill


def test_arguments_are_resolved_and_jobs_get_the_services_names(run, aws):
    parameters = [
        {"Name": "Count", "Type": "Integer", "DefaultValue": 1},
        {"Name": "Rate", "Type": "Float", "DefaultValue": 3},
    ]
    first = processing("Split_Data", get("Execution.ProcessingJobName"), get("Execution.PipelineName"))
    cluster = first["Arguments"]["ProcessingResources"]["ClusterConfig"]
    cluster["InstanceCount"] = get("Parameters.Count")
    output = "Steps.Split_Data.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri"
    second = training(
        "Train", {"rate": join("", get("Parameters.Rate")), "data": join("/", get(output), "train")}
    )
    record = run(document(first, second, parameters=parameters), [{"Name": "Count", "Value": "2"}])
    assert record["PipelineExecutionStatus"] == "Succeeded"
    split, train = aws.created("CreateProcessingJob")[0], aws.created("CreateTrainingJob")[0]
    assert re.fullmatch(r"pipelines-d84ewltjmxhe-Split-Data-[a-z0-9]{10}", split["ProcessingJobName"])
    assert split["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 2
    assert split["AppSpecification"]["ContainerArguments"] == [split["ProcessingJobName"], "pictures"]
    assert train["HyperParameters"]["rate"] == "3.0"
    assert train["HyperParameters"]["data"] == "s3://bucket/Split_Data/train"
    assert record["_steps"]["Train"]["Metadata"]["TrainingJob"]["Arn"].endswith(
        train["TrainingJobName"].lower()
    )


def test_execution_variables(run, aws):
    names = ("PipelineName", "PipelineArn", "PipelineExecutionId", "PipelineExecutionArn", "StartDateTime")
    run(document(processing("A", *(get(f"Execution.{name}") for name in names))))
    *values, started = aws.created("CreateProcessingJob")[0]["AppSpecification"]["ContainerArguments"]
    assert values == ["pictures", PIPELINE, "d84ewltjmxhe", f"{PIPELINE}/execution/d84ewltjmxhe"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", started)


def test_a_long_step_name_is_cut_as_the_service_does(run, aws):
    run(document(processing("KTCWorkflowEvaluationStep"), tuning("HPTuning_All")))
    job = aws.created("CreateProcessingJob")[0]["ProcessingJobName"]
    assert job.startswith("pipelines-d84ewltjmxhe-KTCWorkflowEvaluatio-")
    assert len(aws.created("CreateHyperParameterTuningJob")[0]["HyperParameterTuningJobName"]) <= 32


def test_a_missing_tuned_hyperparameter_fails_the_step_that_wants_it(run):
    best = get("Steps.Tune.BestTrainingJob.TunedHyperParameters['momentum']")
    record = run(document(tuning("Tune"), training("Train", {"momentum": best})))
    assert statuses(record) == {"Tune": "Succeeded", "Train": "Failed"}
    assert (
        "TunedHyperParameters['momentum']: the step has no such value"
        in record["_steps"]["Train"]["FailureReason"]
    )


GATE = document(
    processing("Evaluate", PropertyFiles=[REPORT]),
    condition(
        "Gate",
        [
            {
                "Type": "GreaterThanOrEqualTo",
                "LeftValue": report("Evaluate", "metrics.accuracy.value"),
                "RightValue": get("Parameters.Threshold"),
            }
        ],
        [
            register("Register", "s3://bucket/model.tar.gz"),
            model("Create", "s3://bucket/model.tar.gz"),
            function("Deploy", {"package": get("Steps.Register.ModelPackageArn")}, {"name": "String"}),
        ],
        [
            fail(
                "Refuse",
                join(
                    " ",
                    "accuracy",
                    report("Evaluate", "metrics.accuracy.value"),
                    "<",
                    get("Parameters.Threshold"),
                ),
            )
        ],
    ),
    parameters=[{"Name": "Threshold", "Type": "Float", "DefaultValue": 0.9}],
)


def test_a_gate_that_says_yes(run, aws):
    aws.files["s3://bucket/Evaluate/evaluation.json"] = '{"metrics": {"accuracy": {"value": 0.95}}}'
    answer = {"name": "pictures", "ignored": 1}
    aws.functions[FUNCTION] = lambda _: {"Payload": io.BytesIO(json.dumps(answer).encode())}
    record = run(GATE)
    assert record["PipelineExecutionStatus"] == "Succeeded"
    assert "Refuse" not in record["_steps"]
    metadata = {name: step["Metadata"] for name, step in record["_steps"].items()}
    package = metadata["Register"]["RegisterModel"]["Arn"]
    assert metadata["Gate"] == {"Condition": {"Outcome": "True"}}
    assert metadata["Create"]["Model"]["Arn"].startswith(
        "arn:aws:sagemaker:us-east-1:123456789012:model/pipelines-"
    )
    assert metadata["Deploy"] == {
        "Lambda": {"Arn": FUNCTION, "OutputParameters": [{"Name": "name", "Value": "pictures"}]}
    }
    assert json.loads(aws.created("Invoke")[0]["Payload"]) == {"package": package}


def test_a_gate_that_says_no(run, aws):
    aws.files["s3://bucket/Evaluate/evaluation.json"] = '{"metrics": {"accuracy": {"value": 0.5}}}'
    record = run(GATE)
    assert statuses(record) == {"Evaluate": "Succeeded", "Gate": "Succeeded", "Refuse": "Failed"}
    assert record["_steps"]["Gate"]["Metadata"] == {"Condition": {"Outcome": "False"}}
    assert record["_steps"]["Refuse"]["FailureReason"] == "accuracy 0.5 < 0.9"
    assert record["_steps"]["Refuse"]["Metadata"] == {"Fail": {"ErrorMessage": "accuracy 0.5 < 0.9"}}
    assert record["PipelineExecutionStatus"] == "Failed"
    assert record["FailureReason"] == (
        "Step failure: One or multiple steps failed. Refuse: accuracy 0.5 < 0.9"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read s3://bucket/Evaluate/evaluation.json: The specified key does not exist."),
        ("{", "s3://bucket/Evaluate/evaluation.json is not valid JSON"),
        ("{}", "has no value at metrics.accuracy.value"),
        ('{"metrics": {"accuracy": {"value": "0.9"}}}', "cannot compare '0.9' with 0.9"),
        ('"' + " " * 2**21 + '"', "is larger than 2097152 bytes"),
    ],
)
def test_a_report_that_says_nothing_fails_the_condition(run, aws, content, message):
    if content is not None:
        aws.files["s3://bucket/Evaluate/evaluation.json"] = content
    record = run(GATE)
    assert statuses(record) == {"Evaluate": "Succeeded", "Gate": "Failed"}
    assert message in record["_steps"]["Gate"]["FailureReason"]
    assert record["PipelineExecutionStatus"] == "Failed"


def test_a_failed_job_ends_the_execution_with_its_reason(run, aws):
    aws.endings["Train"] = [("Failed", "AlgorithmError: no pictures" + "!" * 2000)]
    record = run(document(training("Train"), processing("Evaluate", DependsOn=["Train"])))
    assert statuses(record) == {"Train": "Failed"}
    reason = record["_steps"]["Train"]["FailureReason"]
    assert reason.startswith("ClientError: AlgorithmError: no pictures!")
    assert len(reason) == 1024
    assert record["FailureReason"].startswith(
        "Step failure: One or multiple steps failed. Train: ClientError: Alg"
    )
    assert len(record["FailureReason"]) <= 1300


def test_running_steps_end_and_nothing_new_starts_after_a_failure(prepare, store, aws):
    aws.endings["Bad"] = [("Failed", "AlgorithmError: x")]
    aws.held["Slow"] = threading.Event()
    execution = prepare(
        document(
            processing("Bad"),
            processing("Slow"),
            processing("Next", DependsOn=["Slow"]),
            processing("Alarm", DependsOn=[{"Step": "Slow", "Trigger": "Failed"}]),
        )
    )
    thread = threading.Thread(target=execution.run)
    thread.start()
    until(lambda: statuses(store.list(EXECUTIONS)[0]).get("Bad") == "Failed")
    aws.held["Slow"].set()
    thread.join(5)
    (record,) = store.list(EXECUTIONS)
    assert statuses(record) == {"Bad": "Failed", "Slow": "Succeeded"}
    assert record["PipelineExecutionStatus"] == "Failed"


def test_a_step_that_runs_upon_a_failure_completes_the_execution_with_failures(run, aws):
    aws.endings["Train"] = [("Failed", "AlgorithmError: x")]
    record = run(
        document(training("Train"), processing("Notify", DependsOn=[{"Step": "Train", "Trigger": "Failed"}]))
    )
    assert statuses(record) == {"Train": "Failed", "Notify": "Succeeded"}
    assert record["PipelineExecutionStatus"] == "CompletedWithFailures"


def test_parallel_steps_are_bounded(prepare, store, aws):
    names = [f"P{index}" for index in range(5)]
    aws.held = {name: threading.Event() for name in names}
    execution = prepare(document(*map(processing, names)), parallel=2)
    thread = threading.Thread(target=execution.run)
    thread.start()
    for count, name in enumerate(names, 2):
        until(lambda count=count: len(aws.created("CreateProcessingJob")) == min(count, 5))
        aws.held[name].set()
    thread.join(10)
    assert store.list(EXECUTIONS)[0]["PipelineExecutionStatus"] == "Succeeded"
    assert aws.most_running == 2


def test_steps_run_at_once_and_start_together(prepare, store, aws):
    for name in ("A", "B"):
        aws.held[name] = threading.Event()
    execution = prepare(document(processing("A"), processing("B")))
    thread = threading.Thread(target=execution.run)
    thread.start()
    until(lambda: len(aws.created("CreateProcessingJob")) == 2)
    (record,) = store.list(EXECUTIONS)
    assert record["_steps"]["A"]["StartTime"] == record["_steps"]["B"]["StartTime"]
    until(lambda: set(statuses(store.list(EXECUTIONS)[0]).values()) == {"Executing"})
    for event in aws.held.values():
        event.set()
    thread.join(5)
    assert store.list(EXECUTIONS)[0]["PipelineExecutionStatus"] == "Succeeded"


def test_stop_stops_the_jobs_and_starts_nothing_more(prepare, store, aws):
    aws.held["Train"] = threading.Event()
    execution = prepare(document(training("Train"), processing("Evaluate", DependsOn=["Train"])))
    thread = threading.Thread(target=execution.run)
    thread.start()
    until(lambda: aws.created("CreateTrainingJob"))
    execution.stop()
    thread.join(5)
    (record,) = store.list(EXECUTIONS)
    assert aws.stopped == [aws.created("CreateTrainingJob")[0]["TrainingJobName"]]
    assert (record["PipelineExecutionStatus"], record["FailureReason"]) == ("Stopped", None)
    assert statuses(record) == {"Train": "Stopped"}


def test_stop_waits_for_a_lambda_function(prepare, store, aws):
    answering = threading.Event()

    def answer(_):
        answering.wait(5)
        return {"Payload": io.BytesIO(b"{}")}

    aws.functions[FUNCTION] = answer
    execution = prepare(document(function("Deploy", {}, {}), processing("Next", DependsOn=["Deploy"])))
    thread = threading.Thread(target=execution.run)
    thread.start()
    until(lambda: aws.created("Invoke"))
    execution.stop()
    assert store.list(EXECUTIONS)[0]["PipelineExecutionStatus"] == "Stopping"
    answering.set()
    thread.join(5)
    (record,) = store.list(EXECUTIONS)
    assert record["PipelineExecutionStatus"] == "Stopped"
    assert statuses(record) == {"Deploy": "Succeeded"}


def test_an_unforeseen_error_is_recorded_and_raised(prepare, store, aws, monkeypatch):
    execution = prepare(document(processing("A")))
    monkeypatch.setattr(aws, "_create", lambda *_: {})
    with pytest.raises(KeyError, match="ProcessingJobArn"):
        execution.run()
    (record,) = store.list(EXECUTIONS)
    assert record["PipelineExecutionStatus"] == "Failed"
    assert record["FailureReason"].startswith("InternalServerError: KeyError")
    (step,) = record["_steps"].values()
    assert step["StepStatus"] == "Failed" and "EndTime" in step


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("local.pipelines.record.PATIENCE_S", 0.1)


@pytest.mark.usefixtures("impatient")
def test_an_execution_whose_record_cannot_be_written_fails_and_says_so(prepare, store, aws):
    """It is not waited for forever; the jobs of its other steps are stopped."""
    aws.held["Train"], aws.held["Slow"] = threading.Event(), threading.Event()
    execution = prepare(
        document(training("Train"), training("Slow"), processing("Evaluate", DependsOn=["Train"]))
    )
    thread = threading.Thread(target=execution.run)
    thread.start()
    until(lambda: len(aws.created("CreateTrainingJob")) == 2)
    fill(store)
    aws.held["Train"].set()
    thread.join(10)
    assert not thread.is_alive()
    (record,) = store.list(EXECUTIONS)
    assert record["PipelineExecutionStatus"] == "Failed"
    assert re.fullmatch(f"InternalServerError: {MESSAGE}", record["FailureReason"])
    assert statuses(record) == {"Train": "Failed", "Slow": "Failed"}
    for step in record["_steps"].values():
        assert re.fullmatch(f"InternalServerError: {MESSAGE}", step["FailureReason"]) and "EndTime" in step
    assert [name for name in aws.stopped if "Slow" in name]


@pytest.mark.usefixtures("impatient")
def test_an_execution_can_be_stopped_while_no_record_can_be_written(prepare, store, aws):
    aws.held["Train"] = threading.Event()
    execution = prepare(document(training("Train")))
    thread = threading.Thread(target=execution.run)
    thread.start()
    until(lambda: aws.created("CreateTrainingJob"))
    fill(store)
    store._connection.execute("PRAGMA query_only=1")
    execution.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert aws.stopped == [aws.created("CreateTrainingJob")[0]["TrainingJobName"]]
    assert store.list(EXECUTIONS)[0]["PipelineExecutionStatus"] == "Failed"


FULL = "the disk that holds /home/x is full (No space left on device); make room and start again"
RETRIES = [
    {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR", "Step.SERVICE_FAULT"],
        "IntervalSeconds": 60,
        "MaxAttempts": 3,
    }
]


def test_a_step_that_a_full_disk_fails_is_not_tried_again(run, aws):
    """The news would come minutes later, and the disk would still be full."""
    aws.endings["Train"] = [("Failed", f"InternalServerError: {FULL}")]
    record = run(document(training("Train", RetryPolicies=RETRIES)))
    assert record["_steps"]["Train"]["FailureReason"] == f"ClientError: InternalServerError: {FULL}"
    assert len(aws.created("CreateTrainingJob")) == 1


def test_a_step_whose_job_a_full_disk_refuses_is_not_tried_again(run, aws):
    aws.refusals["CreateTrainingJob"] = client_error("CreateTrainingJob", "InternalFailure", FULL, 500)
    record = run(document(training("Train", RetryPolicies=RETRIES)))
    assert FULL in record["_steps"]["Train"]["FailureReason"]
    assert record["PipelineExecutionStatus"] == "Failed"
