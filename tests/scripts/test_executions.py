"""The list of executions, their logs, stop and retry: against made-up records, and the local service."""

import json
import sys
import threading
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from local.service import LocalService
from scripts import command, execution_log, executions, job_logs
from scripts.execution_list import duration, measured, newest, row
from scripts.job_logs import Place
from tests.scripts.made_up import Account, Session, made_up, missing
from tests.scripts.test_cost import Known

PRINTED = "Test accuracy 0.9019 (95 % interval 0.84 to 0.945) on 153 pictures of 2 classes. No champion"


@pytest.fixture
def account():
    account = Account()
    steps = ("SplitDataset", "TuneHyperparameters", "TrainModel", "EvaluateModel", "Check")
    account.definition = json.dumps(
        {"Steps": [{"Name": name, "Type": "Training", "Arguments": {}} for name in steps]}
    )
    return account


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


@pytest.fixture
def ask(monkeypatch, account):
    """executions.py in this process, with made-up clients; an own `logs` client where one is given."""

    def ask(*arguments, logs=None):
        session = Session(sagemaker=account.client(), logs=logs)
        monkeypatch.setattr(command, "session", lambda *_: session)
        monkeypatch.setattr(executions, "Prices", lambda *_: Known())
        return executions.main([str(argument) for argument in arguments])

    monkeypatch.setattr(execution_log, "POLL_S", 0)
    return ask


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


class Logs:
    """CloudWatch Logs with streams that grow: each read of a stream gives the next batch of lines."""

    def __init__(self, **streams):
        self.streams = {name.replace("__", "/"): list(batches) for name, batches in streams.items()}
        self.named = []

    def client(self):
        return made_up(
            "logs",
            {
                "DescribeLogStreams": self._described,
                "GetLogEvents": self._events,
                "FilterLogEvents": self._filtered,
            },
        )

    def _described(self, logGroupName, logStreamNamePrefix, **_):
        self.named.append((logGroupName, logStreamNamePrefix))
        found = [name for name in self.streams if name.startswith(logStreamNamePrefix)]
        return {"logStreams": [{"logStreamName": name} for name in found]}

    def _events(self, logGroupName, logStreamName, startFromHead, nextToken="0", limit=None):
        assert logGroupName.startswith("/aws/sagemaker/")
        batches, place = self.streams[logStreamName], int(nextToken)
        lines = batches[place] if startFromHead and place < len(batches) else []
        if not startFromHead:
            lines = [line for batch in batches for line in batch][-limit:]
        after = place + (place < len(batches))
        return {"events": [_event(line) for line in lines], "nextForwardToken": str(after)}

    def _filtered(self, logGroupName, startTime, endTime):
        assert endTime > startTime
        self.named.append((logGroupName, ""))
        events = [
            {**_event(line), "logStreamName": name}
            for name, batches in self.streams.items()
            for batch in batches
            for line in batch
        ]
        return {"events": events}


def _event(line):
    return {"timestamp": 1, "message": line}


def failed(account, step="TrainModel", reason="AlgorithmError: out of memory"):
    arn = account.execute(1, "Failed")
    job = account.training(arn, step, 60, "ml.m5.2xlarge")
    account.jobs[job] |= {"TrainingJobStatus": "Failed", "FailureReason": reason}
    account.steps[arn][-1] |= {"StepStatus": "Failed", "FailureReason": f"ClientError: {reason}"}
    account.executions[arn]["FailureReason"] = f"Step failure: {step}"
    return arn, job


def test_a_failed_step_shows_its_last_lines_and_the_page_of_the_console(account, ask, capsys):
    arn, job = failed(account)
    lines = [f"line {number}" for number in range(30)] + ["killed\x1b[31m"]
    logs = Logs(**{f"{job}/algo-1-1700000000": [lines]})
    assert ask("show", arn[-12:], logs=logs.client()) == 1
    out = capsys.readouterr().out
    assert logs.named[0] == (job_logs.TRAINING, f"{job}/")  # not the ARN's name in lower case
    assert "TrainModel, the last lines of its log:" in out
    assert "  line 11\n" in out
    assert "line 10\n" not in out
    assert "\x1b" not in out
    assert (
        "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups/log-group/"
        f"$252Faws$252Fsagemaker$252FTrainingJobs/log-events/{job}$252Falgo-1-1700000000\n"
    ) in out.replace("whole log: ", "")
    assert f"python scripts/executions.py retry {arn[-12:]}" in out
    assert f"python scripts/cost.py {arn[-12:]}" in out


def test_of_a_tuning_job_the_first_trial_that_failed_is_shown(account, ask, capsys):
    arn = account.execute(1, "Failed")
    tuning = account.tuning(arn, "TuneHyperparameters", [(5, 5), (6, 6)], "ml.m5.2xlarge")
    account.steps[arn][-1] |= {"StepStatus": "Failed", "FailureReason": "no trial succeeded"}
    bad = account.trials[tuning][1]
    account.jobs[bad]["TrainingJobStatus"] = "Failed"
    logs = Logs(**{f"{bad}/algo-1-1": [["the reason"]], f"{account.trials[tuning][0]}/algo-1-1": [["fine"]]})
    assert ask("show", logs=logs.client()) == 1
    out = capsys.readouterr().out
    assert "TuneHyperparameters trial 001, the last lines of its log:\n  trial 001: the reason" in out
    assert "fine" not in out


@pytest.mark.parametrize(
    ("partition", "host"),
    [
        ("aws", "eu-west-1.console.aws.amazon.com"),
        ("aws-cn", "eu-west-1.console.amazonaws.cn"),
        ("aws-us-gov", "eu-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_links_to_the_console_encode_twice(partition, host):
    """The second stream is one of Lambda's, as the sources of the rule have it."""
    [link] = job_logs.links("eu-west-1", partition, [Place("/aws/lambda/f", "2024/06/30/[$LATEST]39", "")])
    assert link == (
        f"https://{host}/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/$252Faws$252Flambda$252Ff"
        "/log-events/2024$252F06$252F30$252F$255B$2524LATEST$255D39"
    )


def test_a_log_is_followed_until_its_step_ends(account, ask, capsys):
    arn = account.execute(1, "Executing")
    job = account.training(arn, "TrainModel", 60, "ml.m5.2xlarge")
    step = account.steps[arn][-1]
    del step["EndTime"]
    step["StepStatus"] = "Executing"
    logs = Logs(**{f"{job}/algo-1-1": [["one"], [], ["two"]]})  # an empty page is not the end
    client = logs.client()
    answer = client._make_api_call

    def ending(operation, request):
        if operation == "GetLogEvents" and client.calls[operation] == 6:
            logs.streams[f"{job}/algo-1-1"].append(["three, written at the end"])
            step.update(StepStatus="Succeeded", EndTime=step["StartTime"] + timedelta(seconds=75))
        return answer(operation, request)

    client._make_api_call = ending
    assert ask("logs", "TrainModel", "--follow", logs=client) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["one", "two", "three, written at the end"]
    assert "TrainModel Succeeded after 1 min 15 s" in captured.err


def test_ctrl_c_says_how_to_go_on(account, ask):
    arn = account.execute(1, "Executing")
    account.training(arn, "TrainModel", 60, "ml.m5.2xlarge")
    account.steps[arn][-1]["StepStatus"] = "Executing"
    client = Logs().client()

    def interrupt(*_):
        raise KeyboardInterrupt

    client._make_api_call = interrupt
    with pytest.raises(KeyboardInterrupt, match=f"executions.py logs {arn[-12:]} TrainModel --follow"):
        ask("logs", "latest", "--follow", "TrainModel", logs=client)


def test_several_jobs_and_hosts_are_told_apart(account, ask, capsys):
    arn = account.execute(1)
    tuning = account.tuning(arn, "TuneHyperparameters", [(5, 5), (6, 6)], "ml.m5.2xlarge")
    first, second = account.trials[tuning]
    streams = {
        f"{first}/algo-1-1": [["a"]],
        f"{first}/algo-2-1": [["b"]],
        f"{second}/algo-1-1": [["c"]],
        f"{second}/algo-1-2": [["d"]],
    }
    assert ask("logs", logs=Logs(**streams).client()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "trial 000 algo-1: a", "trial 000 algo-2: b", "trial 001: c", "trial 001: d",
    ]  # fmt: skip


def test_a_function_has_the_log_of_its_time(account, ask, capsys):
    arn = account.execute(1)
    account.deploy(arn, "flowers")
    account.steps[arn][-1]["StepName"] = "Check"
    logs = Logs(**{"2026/11/20/[$LATEST]1": [["deployed"]]})
    assert ask("logs", "latest", "Check", "--lines", 5, logs=logs.client()) == 0
    assert capsys.readouterr().out == "deployed\n"
    assert logs.named == [("/aws/lambda/f", "")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("logs", "latest", "TrainModle"), "there is no step 'TrainModle'; choose one of SplitDataset"),
        (("logs", "TrainModel"), "step TrainModel of execution 000000000001 has not run"),
        (("logs", "Check"), "step Check has no log: it ran no program"),
        (("logs",), "000000000001 is Succeeded: none of its steps has a log"),
        (("logs", "--follow"), "000000000001 is Succeeded: none of its steps has a log"),
        (("stop", "latest"), "is Succeeded; only one that is Executing can be stopped"),
        (("retry",), "only an execution that is Failed or Stopped goes on"),
    ],
)
def test_what_has_no_log_or_cannot_be_done_is_said(account, ask, arguments, words):
    arn = account.execute(1)
    account.step(arn, "Check", Metadata={"Condition": {"Outcome": "True"}})
    with pytest.raises(command.Failure, match=words):
        ask(*arguments, logs=Logs().client())


def test_a_group_that_nothing_wrote_into_yet_is_an_empty_log(account, ask, capsys):
    arn = account.execute(1)
    account.training(arn, "TrainModel", 60, "ml.m5.2xlarge")

    def none(**_):
        raise missing("DescribeLogStreams", "ResourceNotFoundException")

    assert ask("logs", "TrainModel", logs=made_up("logs", {"DescribeLogStreams": none})) == 0
    assert "step TrainModel (Succeeded) wrote no log" in capsys.readouterr().err


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
