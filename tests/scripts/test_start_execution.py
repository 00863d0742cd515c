"""The checks before a start, with moto; executions themselves run in test_run_local.py."""

import json
from pathlib import Path

import pytest

from config.settings import load
from local.definition.definition import parse_definition
from local.pipelines.selection import select
from scripts import start_execution
from scripts.command import Failure
from scripts.execution import Execution
from scripts.start_execution import latest, needed, report, retry, steps_from, to_retry

DEFINITION = json.dumps(
    {
        "Steps": [
            {"Name": "Split", "Type": "Processing", "Arguments": {}},
            {"Name": "Train", "Type": "Training", "Arguments": {"data": {"Get": "Steps.Split.Output"}}},
            {"Name": "Other", "Type": "Processing", "Arguments": {}},
            {
                "Name": "Check",
                "Type": "Condition",
                "Arguments": {
                    "Conditions": [{"LeftValue": {"Get": "Steps.Train.Accuracy"}}],
                    "IfSteps": [{"Name": "Deploy", "Type": "Lambda", "Arguments": {}}],
                    "ElseSteps": [{"Name": "Refuse", "Type": "Fail", "Arguments": {}}],
                },
            },
            {"Name": "Mail", "Type": "Lambda", "Arguments": {}, "DependsOn": ["Check"]},
        ]
    }
)


@pytest.fixture
def pipeline(client, url):
    """A pipeline in moto, whose definition does not matter here."""
    client("sagemaker").create_pipeline(
        PipelineName="image-classification",
        PipelineDefinition=DEFINITION,
        ClientRequestToken="x" * 32,
        RoleArn="arn:aws:iam::123456789012:role/execution",
    )
    return url


def test_a_tail_is_a_step_and_all_that_need_it():
    assert steps_from(DEFINITION, "Train") == ["Train", "Check", "Deploy", "Refuse", "Mail"]
    assert steps_from(DEFINITION, "Other") == ["Other"]


def test_an_evaluation_asks_again_what_serves():
    """SageMaker would use the earlier execution's answer."""
    golden = (Path(__file__).parents[1] / "golden/definition.json").read_text(encoding="utf-8")
    selected = steps_from(golden, "EvaluateModel")
    assert selected[:3] == ["FindChampion", "EvaluateModel", "CheckAccuracy"]
    assert needed(golden, selected) == {"SplitDataset", "TrainModel"}
    assert steps_from(golden, "FindChampion") == selected
    assert steps_from(golden, "TrainModel") == ["TrainModel", *selected]
    after = steps_from(golden, "CheckAccuracy")
    assert after == selected[2:]
    assert needed(golden, after) == {"EvaluateModel", "SplitDataset", "TrainModel"}
    earlier = {name: {"StepStatus": "Succeeded"} for name in ("SplitDataset", "TrainModel")}
    source = {"PipelineExecutionStatus": "Succeeded", "PipelineExecutionArn": "arn", "_steps": earlier}
    _, reused = select(parse_definition(golden), selected, source)
    assert reused.keys() == earlier.keys()


def test_what_a_tail_needs_of_an_earlier_execution():
    assert needed(DEFINITION, steps_from(DEFINITION, "Check")) == {"Train"}
    assert needed(DEFINITION, ["Mail"]) == {"Check"}
    assert needed(DEFINITION, steps_from(DEFINITION, "Split")) == set()


class Executions:
    """SageMaker with executions, newest first, each with its status and the status of its steps."""

    def __init__(self, *executions):
        self.executions = executions
        self.looked_at = []

    def get_paginator(self, operation):
        self.operation = operation
        return self

    def paginate(self, **request):
        if self.operation == "list_pipeline_executions":
            # Explicit, since the latest execution depends on the service's default.
            assert (request["SortBy"], request["SortOrder"]) == ("CreationTime", "Descending")
            yield {
                "PipelineExecutionSummaries": [
                    {"PipelineExecutionArn": str(index), "PipelineExecutionStatus": status}
                    for index, (status, _) in enumerate(self.executions)
                ]
            }
            return
        arn = request["PipelineExecutionArn"]
        self.looked_at.append(arn)
        steps = self.executions[int(arn)][1]
        yield {
            "PipelineExecutionSteps": [
                {"StepName": name, "StepStatus": status} for name, status in steps.items()
            ]
        }


def test_the_latest_source_is_one_in_which_the_steps_needed_succeeded():
    sagemaker = Executions(
        ("Executing", {"Split": "Succeeded", "Train": "Succeeded"}),
        ("Failed", {"Split": "Failed"}),
        ("Failed", {"Split": "Succeeded", "Train": "Failed"}),
        ("Failed", {"Split": "Succeeded", "Train": "Succeeded", "Check": "Failed"}),
        ("Succeeded", {"Split": "Succeeded", "Train": "Succeeded"}),
    )
    assert latest(sagemaker, "flowers", {"Train"}) == "3"
    assert latest(sagemaker, "flowers", {"Split"}) == "2"
    assert sagemaker.looked_at == ["1", "2", "3", "1", "2"]
    with pytest.raises(Failure, match="one in which Other, Train succeeded; leave out --from once"):
        latest(sagemaker, "flowers", {"Train", "Other"})


def test_an_unknown_step_is_refused_with_the_known_ones():
    with pytest.raises(Failure, match="no such step; choose one of Split, Train, Other, Check, Mail"):
        steps_from(DEFINITION, "Trian")


def test_a_step_of_a_branch_is_refused_with_its_condition():
    with pytest.raises(Failure, match="'Deploy': it goes with Check; choose one of Split"):
        steps_from(DEFINITION, "Deploy")


def test_start_passes_the_parameters_on(run, pipeline, client):
    done = run("start_execution.py", "--local", pipeline, "--parameter", "Epochs=3")
    assert done.returncode == 0, done.stderr
    arn = done.stdout.strip()
    found = client("sagemaker").list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)
    assert found["PipelineParameters"] == [{"Name": "Epochs", "Value": "3"}]


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("Epoch=3", ("Epoch", "did you mean Epochs?")),
        ("Epochs=many", ("Epochs", "many")),
        ("Epochs=0", ("Epochs",)),
        ("AccuracyThreshold=1.5", ("AccuracyThreshold", "1.5")),
        ("AccuracyThreshold=-0.1", ("AccuracyThreshold",)),
        ("AccuracyThreshold=nan", ("AccuracyThreshold",)),
        ("ModelApprovalStatus=Maybe", ("ModelApprovalStatus", "PendingManualApproval")),
        ("InputDataUrl=bucket/data", ("InputDataUrl", "S3 URI")),
        ("TrainingInstanceType=m5.large", ("TrainingInstanceType", "ml.m5.xlarge")),
        ("EndpointName=my endpoint", ("EndpointName",)),
        ("Epochs", ("Name=value",)),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_sent(run, refused, parameter, words):
    refused(run("start_execution.py", "--local", "http://127.0.0.1:9", "--parameter", parameter), *words)


def test_a_pipeline_that_was_never_upserted_is_named(run, refused, url):
    refused(run("start_execution.py", "--local", url), "image-classification", "upsert_pipeline.py")


def test_a_tail_needs_an_earlier_execution(run, refused, pipeline):
    refused(run("start_execution.py", "--local", pipeline, "--from", "Train"), "no finished execution")


@pytest.mark.parametrize("option", ["--source", "--retry"])
def test_what_names_no_execution_is_refused_before_anything_is_asked(run, refused, option):
    tail = ("--from", "Train") if option == "--source" else ()
    nowhere = ("--local", "http://127.0.0.1:9")
    refused(run("start_execution.py", *tail, option, "4pgs2cmubnq", *nowhere), f"{option} is '4pgs2cmubnq'")


def test_source_without_from_is_refused(run, refused):
    refused(run("start_execution.py", "--source", "arn"), "--source goes with --from")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("ClientError: SageMaker Debugger is not available for this account", True),
        ("InternalServerError: SMDebugger could not start.", True),
        ("AlgorithmError: the loss is nan, exit code: 1", False),
        ("AlgorithmError: killed, exit code: 137 (log: /home/debugger/runs/log.txt)", False),
        ("AlgorithmError: killed (log: runs/debugger/log.txt)", False),
        ("AlgorithmError: warning: Debugger records nothing from here on (OSError: full)", False),
    ],
)
def test_a_training_that_failed_for_debugger_is_told_what_to_do(capsys, reason, told):
    step = {"StepName": "TrainModel", "StepStatus": "Failed", "FailureReason": reason}
    assert report(None, Execution("arn", "Failed", "Step failure: TrainModel", (step,)), 0, lambda _: "") == 1
    output = capsys.readouterr().out
    assert "Failed: Step failure: TrainModel" in output
    assert (reason in output) is told
    assert ("python scripts/upsert_pipeline.py --no-debugger" in output) is told


PIPELINE = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/flowers"
FLOWERS = load(environ={}, overrides=["name=flowers"])
FAILED = f"{PIPELINE}/execution/abcdefghijkl"


def described(stub, arn, status):
    answer = {"PipelineExecutionArn": arn, "PipelineExecutionStatus": status}
    stub.add_response("describe_pipeline_execution", answer, {"PipelineExecutionArn": arn})


def upserted(stub):
    stub.add_response("describe_pipeline", {"PipelineArn": PIPELINE}, {"PipelineName": "flowers"})


def listed(stub, *arns):
    upserted(stub)
    newest = {"PipelineName": "flowers", "SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 1}
    found = [{"PipelineExecutionArn": arn} for arn in arns]
    stub.add_response("list_pipeline_executions", {"PipelineExecutionSummaries": found}, newest)


@pytest.mark.parametrize("named", ["latest", FAILED, "abcdefghijkl"])
def test_an_execution_to_retry_is_the_latest_or_named_by_its_arn_or_id(stub, named):
    if named == "latest":
        listed(stub, FAILED)
    elif named != FAILED:
        upserted(stub)
    described(stub, FAILED, "Stopped")
    assert to_retry(stub.client, FLOWERS, named) == FAILED


def test_only_what_failed_or_was_stopped_is_retried(stub):
    described(stub, FAILED, "Succeeded")
    with pytest.raises(Failure, match="abcdefghijkl is Succeeded"):
        to_retry(stub.client, FLOWERS, FAILED)
    listed(stub)
    with pytest.raises(Failure, match="flowers has no execution yet"):
        to_retry(stub.client, FLOWERS, "latest")


def test_a_retry_is_asked_for_under_a_token_of_its_own(stub):
    tokens = []
    for _ in range(2):
        stub.add_response("retry_pipeline_execution", {"PipelineExecutionArn": FAILED})
    stub.client.meta.events.register(
        "provide-client-params.*.RetryPipelineExecution", lambda params, **_: tokens.append(params)
    )
    for _ in range(2):
        retry(stub.client, FAILED)
    assert [params["PipelineExecutionArn"] for params in tokens] == [FAILED] * 2
    assert len({params["ClientRequestToken"] for params in tokens}) == 2


@pytest.mark.parametrize("other", [("--from", "Train"), ("--parameter", "Epochs=3")])
def test_a_retry_takes_nothing_that_was_decided_at_the_start(run, refused, other):
    refused(run("start_execution.py", "--retry", FAILED, *other), "leave out --from and --parameter")


@pytest.mark.parametrize("option", [(), ("--retry", "latest")])
def test_an_execution_that_failed_leads_to_its_log(pipeline, monkeypatch, capsys, option):
    failed = Execution(FAILED, "Failed", "Step failure: Split", ())
    monkeypatch.setattr(start_execution, "follow", lambda *_: failed)
    monkeypatch.setattr(start_execution, "to_retry", lambda *_: FAILED)
    monkeypatch.setattr(start_execution, "retry", lambda *_: None)
    assert start_execution.main(["--wait", "--local", pipeline, *option]) == 1
    captured = capsys.readouterr()
    named = captured.out.splitlines()[0].rpartition("/")[2]
    assert f"python scripts/executions.py show {named} --local={pipeline}" in captured.err
    assert "Failed: Step failure: Split" in captured.out


def test_ctrl_c_says_how_to_stop_the_execution(pipeline, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(start_execution, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"executions\.py stop \w+ --local="):
        start_execution.main(["--wait", "--local", pipeline])
