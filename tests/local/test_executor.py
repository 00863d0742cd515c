import io
import json
import re
import threading
import time

import pytest

from local import calls
from local.definition import parse_definition
from local.executor import EXECUTIONS, Execution
from local.parameters import values_at_start
from tests.local.definitions import (
    FUNCTION,
    REPORT,
    SHARED,
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
from tests.local.fake_aws import FakeAws, client_error

PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/pictures"


@pytest.fixture
def aws(monkeypatch):
    monkeypatch.setattr(calls, "POLL_S", 0.001)
    return FakeAws()


@pytest.fixture
def prepare(store, aws):
    """prepare(text, ...) makes an Execution and its record, not yet run."""

    def prepare(text, given=(), execution_id="d84ewltjmxhe", parallel=None, steps=None):
        definition = parse_definition(text)
        arn = f"{PIPELINE}/execution/{execution_id}"
        record = {
            "PipelineArn": PIPELINE,
            "PipelineExecutionArn": arn,
            "PipelineExecutionStatus": "Executing",
            "CreationTime": time.time(),
            "_pipeline": "pictures",
            "_parameters": values_at_start(definition.parameters, given),
            "_steps": steps or {},
        }
        if parallel:
            record["ParallelismConfiguration"] = {"MaxParallelExecutionSteps": parallel}
        store.create(EXECUTIONS, arn, record)
        return Execution(arn, definition, store, aws)

    return prepare


@pytest.fixture
def run(prepare, store):
    """run(text, ...) runs a definition to its end and returns the record."""

    def run(text, given=(), execution_id="d84ewltjmxhe", **more):
        prepare(text, given, execution_id, **more).run()
        return store.get(EXECUTIONS, f"{PIPELINE}/execution/{execution_id}")

    return run


def statuses(record):
    return {name: step["StepStatus"] for name, step in record["_steps"].items()}


def until(predicate):
    deadline = time.monotonic() + 5
    while not predicate():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        time.sleep(0.002)


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


def test_tuning_properties_merge_the_description_and_the_ranked_trials(run, aws):
    aws.extra["Tune"] = {
        "BestTrainingJob": {"TrainingJobName": "best", "TunedHyperParameters": {"learning_rate": "0.01"}}
    }
    aws.trials = [{"TrainingJobName": "best"}, {"TrainingJobName": "second"}]
    train = training(
        "Train",
        {
            "learning_rate": get("Steps.Tune.BestTrainingJob.TunedHyperParameters['learning_rate']"),
            "from": get("Steps.Tune.TrainingJobSummaries[1].TrainingJobName"),
        },
    )
    record = run(document(tuning("Tune"), train))
    assert statuses(record) == {"Tune": "Succeeded", "Train": "Succeeded"}
    hyperparameters = aws.created("CreateTrainingJob")[0]["HyperParameters"]
    assert (hyperparameters["learning_rate"], hyperparameters["from"]) == ("0.01", "second")
    ranking = aws.created("ListTrainingJobsForHyperParameterTuningJob")[0]
    assert (ranking["SortBy"], ranking["SortOrder"]) == ("FinalObjectiveMetricValue", "Descending")
    assert list(record["_steps"]["Tune"]["Metadata"]) == ["TuningJob"]


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


def test_a_refused_call_fails_the_step(run, aws):
    aws.refusals["CreateTrainingJob"] = client_error(
        "CreateTrainingJob", "ValidationException", "no such role"
    )
    record = run(document(training("Train")))
    assert record["_steps"]["Train"]["FailureReason"] == (
        "ClientError: Failed to invoke sagemaker:CreateTrainingJob. Error Details: no such role"
    )
    assert "Metadata" not in record["_steps"]["Train"]


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


def test_parallel_steps_are_bounded(run, aws):
    steps = [processing(f"P{index}") for index in range(5)]
    assert run(document(*steps), parallel=2)["PipelineExecutionStatus"] == "Succeeded"
    assert aws.most_running == 2
    assert len(aws.created("CreateProcessingJob")) == 5


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
    execution.stop("enough")
    thread.join(5)
    (record,) = store.list(EXECUTIONS)
    assert aws.stopped == [aws.created("CreateTrainingJob")[0]["TrainingJobName"]]
    assert (record["PipelineExecutionStatus"], record["FailureReason"]) == ("Stopped", "enough")
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


def lambda_record(run, aws, answer, outputs, **response):
    aws.functions[FUNCTION] = lambda _: {"Payload": io.BytesIO(json.dumps(answer).encode()), **response}
    return run(document(function("F", {"a": 1, "b": [True, None]}, outputs)))["_steps"]["F"]


def test_lambda_outputs_are_typed(run, aws):
    answer = {"text": "x", "code": 200, "nested": {"a": [1]}, "flag": False, "n": 3, "rate": 1, "other": 1}
    outputs = {
        "text": "String", "nested": "String", "code": "String", "flag": "Boolean", "n": "Integer",
        "rate": "Float", "absent": "String",
    }  # fmt: skip
    step = lambda_record(run, aws, answer, outputs)
    assert json.loads(aws.created("Invoke")[0]["Payload"]) == {"a": 1, "b": [True, None]}
    assert step["_properties"]["OutputParameters"] == {
        "text": "x", "nested": '{"a": [1]}', "code": "200.0", "flag": False, "n": 3, "rate": 1.0,
    }  # fmt: skip
    assert step["Metadata"]["Lambda"]["OutputParameters"] == [
        {"Name": "code", "Value": "200.0"},
        {"Name": "flag", "Value": "false"},
        {"Name": "n", "Value": "3"},
        {"Name": "nested", "Value": '{"a": [1]}'},
        {"Name": "rate", "Value": "1.0"},
        {"Name": "text", "Value": "x"},
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ({"o": "3"}, "Integer", "'o' is \"3\", which is not of type Integer"),
        ({"o": 1.5}, "Integer", "not of type Integer"),
        ({"o": True}, "Float", "not of type Float"),
        ({"o": 1}, "Boolean", "not of type Boolean"),
        ({"o": "x" * 1025}, "String", "over 1024 characters"),
    ],
)
def test_a_lambda_output_of_another_type_fails_the_step(run, aws, answer, kind, message):
    step = lambda_record(run, aws, answer, {"o": kind})
    assert step["StepStatus"] == "Failed"
    assert message in step["FailureReason"]


def test_an_error_in_the_function_fails_the_step(run, aws):
    step = lambda_record(run, aws, {"errorMessage": "no endpoint"}, {}, FunctionError="Unhandled")
    assert step["StepStatus"] == "Failed"
    assert step["FailureReason"] == f"ClientError: the function {FUNCTION} failed: no endpoint"


def retrying(*exception_types):
    return [{"ExceptionType": list(exception_types), "IntervalSeconds": 0, "MaxAttempts": 2}]


def test_an_internal_error_is_retried_under_a_new_name(run, aws):
    aws.endings["Train"] = [("Failed", "InternalServerError: x")] * 2 + [("Completed", "")]
    record = run(document(training("Train", RetryPolicies=retrying("SageMaker.JOB_INTERNAL_ERROR"))))
    assert statuses(record) == {"Train": "Succeeded"}
    assert record["_steps"]["Train"]["AttemptCount"] == 2
    assert len({request["TrainingJobName"] for request in aws.created("CreateTrainingJob")}) == 3


def test_a_script_error_is_not_retried(run, aws):
    aws.endings["Train"] = [("Failed", "AlgorithmError: x"), ("Completed", "")]
    policies = retrying("SageMaker.JOB_INTERNAL_ERROR", "Step.SERVICE_FAULT", "SageMaker.CAPACITY_ERROR")
    assert statuses(run(document(training("Train", RetryPolicies=policies)))) == {"Train": "Failed"}
    assert len(aws.created("CreateTrainingJob")) == 1


@pytest.mark.parametrize(
    ("code", "status", "exception_type"),
    [
        ("ThrottlingException", 400, "Step.THROTTLING"),
        ("ResourceLimitExceeded", 400, "SageMaker.RESOURCE_LIMIT"),
        ("InternalFailure", 500, "Step.SERVICE_FAULT"),
    ],
)
def test_a_refusal_is_retried_by_its_kind(run, aws, code, status, exception_type):
    aws.refusals["CreateTrainingJob"] = client_error("CreateTrainingJob", code, "later", status)
    record = run(document(training("Train", RetryPolicies=retrying(exception_type))))
    assert statuses(record) == {"Train": "Failed"}
    assert len(aws.created("CreateTrainingJob")) == 3


CACHED = {"CacheConfig": {"Enabled": True, "ExpireAfter": "PT1H"}}


def test_a_cached_step_takes_over_the_earlier_run(run, aws):
    text = document(
        processing("Split", get("Parameters.P"), **CACHED),
        processing("Use", get("Steps.Split.ProcessingJobName")),
        parameters=[{"Name": "P", "DefaultValue": "a"}],
    )
    first = run(text, execution_id="first")
    run(text, execution_id="second")
    third = run(text, execution_id="third")
    split = third["_steps"]["Split"]
    assert split["CacheHitResult"] == {"SourcePipelineExecutionArn": first["PipelineExecutionArn"]}
    assert split["Metadata"] == first["_steps"]["Split"]["Metadata"]
    jobs = [request["ProcessingJobName"] for request in aws.created("CreateProcessingJob")]
    assert [name.split("-")[2] for name in jobs] == ["Split", "Use", "Use", "Use"]
    assert aws.created("CreateProcessingJob")[-1]["AppSpecification"]["ContainerArguments"] == [jobs[0]]
    fourth = run(text, [{"Name": "P", "Value": "b"}], execution_id="fourth")
    assert "CacheHitResult" not in fourth["_steps"]["Split"]


def test_neither_a_failed_nor_an_old_run_is_taken_over(run, aws, store):
    text = document(processing("Split", **CACHED))
    aws.endings["Split"] = [("Failed", "AlgorithmError: x"), ("Completed", "")]
    run(text, execution_id="failed")
    second = run(text, execution_id="second")
    assert "CacheHitResult" not in second["_steps"]["Split"]
    store.update(
        EXECUTIONS,
        second["PipelineExecutionArn"],
        lambda record: record["_steps"]["Split"].update(EndTime=time.time() - 3601),
    )
    assert "CacheHitResult" not in run(text, execution_id="third")["_steps"]["Split"]


def recorded(name):
    """A recorded run, and its definition without the Transform step, which does not run here."""
    if not SHARED.is_dir():
        pytest.skip("the sibling folder shared/definitions is absent")
    definition = json.loads((SHARED / f"{name.partition('__')[0]}.json").read_text())
    for step in definition["Steps"]:
        if step["Type"] == "Condition":
            branch = step["Arguments"]["IfSteps"]
            step["Arguments"]["IfSteps"] = [child for child in branch if child["Type"] != "Transform"]
    steps = json.loads((SHARED / "recorded" / f"{name}.json").read_text())["PipelineExecutionSteps"]
    return definition, [step for step in steps if "TransformJob" not in step["Metadata"]]


def shape(value):
    """Metadata with ARNs reduced to their kind of resource."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return value.split(":")[5].partition("/")[0] if value.startswith("arn:") else value


@pytest.mark.parametrize(
    ("name", "report", "given"),
    [
        ("04_abalone_fail_transform_register__run1", {"regression_metrics": {"mse": {"value": 4.9}}}, {}),
        (
            "04_abalone_fail_transform_register__run3",
            {"regression_metrics": {"mse": {"value": 4.9}}},
            {"MseThreshold": "3.0"},
        ),
        (
            "13_keras_lambda_deploy_dependson__run1",
            {"classification_metrics": {"accuracy": {"value": 0.85}}},
            {},
        ),
    ],
)
def test_recorded_runs_are_reproduced(run, aws, monkeypatch, name, report, given):
    definition, expected = recorded(name)
    body = json.dumps(report).encode()
    monkeypatch.setattr(aws, "get_object", lambda **_: {"Body": io.BytesIO(body)})
    answer = json.dumps({"statusCode": 200, "body": '"Endpoint Created Successfully"'}).encode()
    for step in branch_steps(definition):
        if step["Type"] == "Lambda":
            aws.functions[step["FunctionArn"]] = lambda _: {"Payload": io.BytesIO(answer)}
            # The recorded run declared these outputs, the published definition does not.
            step["OutputParameters"] = [
                {"OutputName": output, "OutputType": "String"} for output in ("statusCode", "body")
            ]
    record = run(json.dumps(definition), [{"Name": key, "Value": value} for key, value in given.items()])
    listed = sorted(record["_steps"].values(), key=lambda step: step["StartTime"], reverse=True)
    keys = ("StepName", "StepStatus", "AttemptCount", "FailureReason")
    assert [[step.get(key) for key in keys] for step in listed] == [
        [step.get(key) for key in keys] for step in expected
    ]
    assert [shape(step["Metadata"]) for step in listed] == [shape(step["Metadata"]) for step in expected]


def branch_steps(definition):
    return [child for step in definition["Steps"] for child in step["Arguments"].get("IfSteps", [])]


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
