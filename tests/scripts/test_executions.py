"""The list of executions, stop and retry: against made-up records, and the local service."""

import json
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from local.service import LocalService
from scripts import command
from scripts.execution_list import duration, measured, newest, row
from tests.scripts.made_up import Known

PRINTED = "Test accuracy 0.9019 (95 % interval 0.84 to 0.945) on 153 pictures of 2 classes. No champion"


@pytest.fixture
def many(account):
    """1,000 executions; only the newest two have jobs."""
    for number in range(1000):
        account.execute(number)
    *_, first, second = account.executions
    account.training(first, "TrainModel", 100, "ml.m5.2xlarge")
    account.processing(second, "SplitDataset", 60, "ml.m5.xlarge")
    account.processing(second, "EvaluateModel", 40, "ml.m5.xlarge", ExitMessage=PRINTED)
    return account


@pytest.mark.parametrize(("limit", "pages"), [(10, 1), (150, 2), (1000, 11)])
def test_a_list_asks_only_about_those_that_it_shows(many, limit, pages):
    client = many.client()
    found, more = newest(client, "image-classification", limit)
    assert (len(found), more) == (limit, limit < 1000)
    assert client.calls["ListPipelineExecutions"] == (pages if limit < 1000 else 10)
    for summary in found:
        row(client, summary, Known())
    assert client.calls["ListPipelineExecutionSteps"] == limit
    assert client.calls["DescribePipelineExecution"] == 0
    assert client.calls["DescribeProcessingJob"] + client.calls["DescribeTrainingJob"] == 3
    assert client.calls["ListTrainingJobs"] == 0


def test_the_list_shows_status_accuracy_duration_and_cost(many, ask, capsys):
    many.execute(1001, "Failed")
    refused = many.execute(1002, "Failed")
    many.step(refused, "AccuracyTooLow", "Failed", Metadata={"Fail": {"ErrorMessage": "too low"}})
    assert ask("list", "--limit", 4) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert lines[0] == ["execution", "status", "started", "duration", "test", "cost"]
    assert lines[1][:3] == ["000000001002", "Failed,", "refused"]
    assert lines[2][:2] == ["000000001001", "Failed"]
    assert lines[3][0] == "000000000999"
    assert " ".join(lines[3][4:]) == "5 min 0 s 90.19 % 0.100 USD"
    assert "the newest 4; --limit 40 shows more" in captured.out


@pytest.mark.usefixtures("many")
def test_the_list_as_json(ask, capsys):
    assert ask("--limit", 1, "--json") == 0
    (item,) = json.loads(capsys.readouterr().out)
    assert item["execution"].endswith("/000000000999")
    assert (item["metric"], item["value"], item["seconds"]) == ("accuracy", 0.9019, 300)
    assert item["cost"] == pytest.approx(0.1)


def test_a_step_that_was_repeated_makes_the_list_look_for_earlier_attempts(account):
    arn = account.execute(1)
    account.training(arn, "TrainModel", 100, "ml.m5.2xlarge", step_names=False)
    account.training(arn, "TrainModel", 50, "ml.m5.2xlarge")
    account.steps[arn][0]["AttemptCount"] = 1
    ((summary,), _) = newest(account.client(), "image-classification", 10)
    assert row(account.client(), summary, Known()).cost.amount == pytest.approx(0.15)


def test_no_execution_yet(ask, capsys):
    assert ask() == 0
    assert "start one with python scripts/start_execution.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (PRINTED, ("accuracy", 0.9019)),
        ("Test macro F1 1 (95 % interval 1 to 1) on 3 pictures", ("macro F1", 1.0)),
        ("error: no images", None),
        ("", None),
    ],
)
def test_what_the_evaluation_measured(message, found):
    assert measured(message) == found


def test_the_evaluation_says_it_so():
    from entrypoints.verdict import sentence

    interval = {"value": 0.5, "low": 0.25, "high": 0.75}
    worth = {"balanced_accuracy": interval, "pictures": 4, "groups": 4, "classes": {"a": 1, "b": 2}}
    assert measured(sentence("balanced_accuracy", worth)) == ("balanced accuracy", 0.5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.6, "42 s"), (61, "1 min 1 s"), (3599.9, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "latest"), "list does not take latest"),
        (("show", "latest", "TrainModel"), "show does not take TrainModel"),
        (("stop",), "stop: name the execution"),
        (("--follow",), "--follow goes with logs"),
        (("show", "--json"), "--json goes with list"),
        (("--limit", "0"), "--limit 0: give 1 to 1000"),
        (("logs", "--lines", "3", "--follow"), "leave out --lines"),
        (("shw",), "invalid choice"),
        (("show", "TrainModel"), "EXECUTION is 'TrainModel'"),
        (("--set", "tuning.jobs=9"), "--set tuning.jobs=9 has no effect here"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(run, refused, arguments, words):
    refused(run("executions.py", *arguments, "--local", "http://127.0.0.1:9"), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stop", "latest"), "is Succeeded; only one that is Executing can be stopped"),
        (("retry",), "only an execution that is Failed or Stopped goes on"),
    ],
)
def test_what_has_ended_well_is_neither_stopped_nor_goes_on(account, ask, arguments, words):
    account.execute(1)
    with pytest.raises(command.Failure, match=words):
        ask(*arguments)


PROGRAM = """
import pathlib, sys, time
print("begins", flush=True)
flag = pathlib.Path(sys.argv[1])
while not flag.exists():
    time.sleep(0.05)
print("fails now", flush=True)
sys.exit(flag.read_text())
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A local service with a pipeline of one program, which waits for a file and fails with its content."""
    folder = tmp_path_factory.mktemp("house")
    flag, program = folder / "flag", folder / "program.py"
    program.write_text(PROGRAM)
    cluster = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    arguments = {
        "AppSpecification": {
            "ImageUri": "image",
            "ContainerEntrypoint": [sys.executable, str(program), str(flag)],
        },
        "ProcessingResources": {"ClusterConfig": cluster},
        "RoleArn": "arn:aws:iam::123456789012:role/execution",
    }
    definition = {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [],
        "Steps": [{"Name": "SplitDataset", "Type": "Processing", "Arguments": arguments}],
    }
    with LocalService(folder / "home") as service:
        service.client("sagemaker").create_pipeline(
            PipelineName="image-classification",
            PipelineDefinition=json.dumps(definition),
            ClientRequestToken=uuid.uuid4().hex,
            RoleArn="arn:aws:iam::123456789012:role/execution",
        )
        yield service, flag


def begin(service):
    return service.client("sagemaker").start_pipeline_execution(
        PipelineName="image-classification", ClientRequestToken=uuid.uuid4().hex
    )["PipelineExecutionArn"]


def test_on_this_machine_a_log_is_followed_and_a_failure_shows_its_file(run, house):
    service, flag = house
    flag.unlink(missing_ok=True)
    arn = begin(service)
    followed = []
    thread = threading.Thread(
        target=lambda: followed.append(run("executions.py", "logs", "--follow", "--local", service.url))
    )
    thread.start()
    time.sleep(1)  # nothing depends on it: the program may begin before or after
    flag.write_text("out of luck")
    thread.join()
    (done,) = followed
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == ["begins", "fails now", "out of luck"]
    assert "SplitDataset Failed after" in done.stderr
    shown = run("executions.py", "show", arn, "--local", service.url)
    assert shown.returncode == 1
    assert "SplitDataset, the last lines of its log:\n  begins\n  fails now\n  out of luck" in shown.stdout
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("the whole log: ")]
    assert "fails now" in Path(line.removeprefix("the whole log: ")).read_text(encoding="utf-8")
    assert f"executions.py retry {arn[-12:]} --local={service.url}" in shown.stdout


def test_on_this_machine_an_execution_is_stopped_goes_on_and_is_listed_with_its_cost(run, house):
    service, flag = house
    flag.unlink(missing_ok=True)
    arn = begin(service)
    named = arn[-12:]
    stopped = run("executions.py", "stop", named, "--local", service.url)
    assert stopped.returncode == 0, stopped.stderr
    assert f"executions.py retry {named} --local={service.url} goes on with it later" in stopped.stdout
    sagemaker = service.client("sagemaker")
    until(lambda: sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn), "Stopped")
    flag.write_text("again")
    again = run("executions.py", "retry", named, "--local", service.url)
    assert again.returncode == 0, again.stderr
    until(lambda: sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn), "Failed")
    listed = run("executions.py", "--json", "--local", service.url)
    assert listed.returncode == 0, listed.stderr
    item = next(item for item in json.loads(listed.stdout) if item["execution"] == arn)
    assert item["status"] == "Failed"
    assert item["complete"]
    cost = run("cost.py", named, "--json", "--local", service.url)
    assert cost.returncode == 0, cost.stderr
    content = json.loads(cost.stdout)
    assert [job["step"] for job in content["jobs"]] == ["SplitDataset"] * len(content["jobs"])
    assert content["cost"] >= item["cost"] > 0
    assert "this ran on a local service and cost nothing" in cost.stdout
    table = run("executions.py", "--local", service.url)
    assert "costs are what AWS would charge" in table.stderr
    assert named in table.stdout


def until(describe, status):
    deadline = time.monotonic() + 60
    while describe()["PipelineExecutionStatus"] != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)
