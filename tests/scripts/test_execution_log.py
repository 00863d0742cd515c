"""The logs of executions' steps, against made-up records."""

from datetime import timedelta

import pytest

from scripts import command, job_logs
from scripts.job_logs import Place
from tests.scripts.made_up import made_up, missing


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


def test_a_group_that_nothing_wrote_into_yet_is_an_empty_log(account, ask, capsys):
    arn = account.execute(1)
    account.training(arn, "TrainModel", 60, "ml.m5.2xlarge")

    def none(**_):
        raise missing("DescribeLogStreams", "ResourceNotFoundException")

    assert ask("logs", "TrainModel", logs=made_up("logs", {"DescribeLogStreams": none})) == 0
    assert "step TrainModel (Succeeded) wrote no log" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("logs", "latest", "TrainModle"), "there is no step 'TrainModle'; choose one of SplitDataset"),
        (("logs", "TrainModel"), "step TrainModel of execution 000000000001 has not run"),
        (("logs", "Check"), "step Check has no log: it ran no program"),
        (("logs",), "000000000001 is Succeeded: none of its steps has a log"),
        (("logs", "--follow"), "000000000001 is Succeeded: none of its steps has a log"),
    ],
)
def test_what_has_no_log_is_said(account, ask, arguments, words):
    arn = account.execute(1)
    account.step(arn, "Check", Metadata={"Condition": {"Outcome": "True"}})
    with pytest.raises(command.Failure, match=words):
        ask(*arguments, logs=Logs().client())
