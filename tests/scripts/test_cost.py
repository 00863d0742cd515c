"""What executions cost, against records made up in the shapes of SageMaker's API."""

import json

import pytest

from scripts import bill, cost, usage
from scripts.execution_names import find
from scripts.prices import Price, Prices
from scripts.usage import Usage
from tests.scripts.made_up import Account, Session, missing

PRICE = Price(3.6, "USD", "us-east-1", "made up", "2026-11-20")  # a thousandth of a dollar a second


class Known(Prices):
    """3.6 USD an hour for everything but ml.unknown."""

    def __init__(self):
        self.note = ""

    def of(self, instance_type, use):
        assert use in {"training", "processing", "endpoint", "transform"}
        return None if instance_type == "ml.unknown" else PRICE


@pytest.fixture
def account():
    return Account()


def cost_of(account, arn):
    session = Session(sagemaker=account.client())
    return cost.of_execution(session, account.executions[arn], Known())


def whole(account, number, split, trials, train, evaluate, verify):
    """An execution of the whole pipeline whose jobs were billed for so many seconds."""
    arn = account.execute(number)
    account.processing(arn, "SplitDataset", split, "ml.m5.xlarge")
    account.tuning(arn, "TuneHyperparameters", [(s, s) for s in trials], "ml.m5.2xlarge")
    account.training(arn, "TrainModel", train, "ml.m5.2xlarge")
    account.processing(arn, "EvaluateModel", evaluate, "ml.m5.xlarge")
    account.deploy(arn, "flowers", ("ml.m5.2xlarge", 2))
    account.processing(arn, "VerifyEndpoint", verify, "ml.t3.medium")
    return arn


@pytest.mark.parametrize(
    ("split", "trials", "train", "evaluate", "verify"),
    [
        pytest.param(131, (410, 395, 402, 388), 455, 140, 60, id="small"),
        pytest.param(900, (3601, 3599), 7200, 340, 61, id="long"),
        pytest.param(45, (60,), 61, 45, 45, id="tiny"),
    ],
)
def test_the_cost_is_that_of_the_recorded_billable_times(account, split, trials, train, evaluate, verify):
    arn = whole(account, 1, split, trials, train, evaluate, verify)
    recorded = split + sum(trials) + train + evaluate + verify
    found = cost_of(account, arn)
    assert found.total.amount == pytest.approx(recorded / 1000, rel=0.1)
    assert found.total.amount == pytest.approx(recorded / 1000)  # by the second
    assert found.total.unknown == ()
    assert [line.usage.step for line in found.lines][1 : 1 + len(trials)] == ["TuneHyperparameters"] * len(
        trials
    )


def test_instances_count_each(account):
    arn = account.execute(1)
    account.training(arn, "TrainModel", 100, "ml.m5.2xlarge", count=3)
    assert cost_of(account, arn).total.amount == pytest.approx(0.3)


def test_groups_of_instances_count_each(account):
    arn = account.execute(1)
    job = account.training(arn, "TrainModel", 100, "ml.m5.2xlarge")
    account.jobs[job]["ResourceConfig"] = {
        "VolumeSizeInGB": 1,
        "InstanceGroups": [
            {"InstanceGroupName": "a", "InstanceType": "ml.m5.large", "InstanceCount": 2},
            {"InstanceGroupName": "b", "InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        ],
    }
    assert cost_of(account, arn).total.amount == pytest.approx(0.3)


def test_spot_instances_cost_what_is_billed_and_the_savings_are_shown(account, capsys):
    arn = account.execute(1)
    account.tuning(arn, "TuneHyperparameters", [(100, 400), (50, 300)], "ml.m5.2xlarge", spot=True)
    account.training(arn, "TrainModel", 150, "ml.m5.2xlarge", ran=500)
    found = cost_of(account, arn)
    assert found.total.amount == pytest.approx(0.3)
    assert bill.saved(found.lines) == pytest.approx(0.9)
    cost.tell(found, Known())
    assert "spot instances saved 0.900 USD (75%)" in capsys.readouterr().out


def test_trials_without_spot_are_read_from_one_list(account):
    arn = account.execute(1)
    account.tuning(arn, "TuneHyperparameters", [(100, 100)] * 50, "ml.m5.2xlarge")
    client = account.client()
    cost.of_execution(Session(sagemaker=client), account.executions[arn], Known())
    assert client.calls["DescribeTrainingJob"] == 0
    assert client.calls["ListTrainingJobsForHyperParameterTuningJob"] == 1


def test_earlier_attempts_of_a_step_count_under_their_own_name(account, capsys):
    arn = account.execute(1)
    other = account.execute(2)
    account.processing(arn, "SplitDataset", 30, "ml.m5.xlarge", status="Failed", step_names=False)
    account.training(arn, "TrainModelWithALongName", 40, "ml.m5.2xlarge", step_names=False)
    tuning = account.tuning(arn, "TuneHyperparameters", [(20, 20)], "ml.m5.2xlarge")
    account.steps[arn].pop()  # it has no longer a step that names it
    account.processing(arn, "SplitDataset", 60, "ml.m5.xlarge")
    account.training(arn, "TrainModelWithALongName", 50, "ml.m5.2xlarge")
    account.training(other, "TrainModel", 999, "ml.m5.2xlarge")
    found = cost_of(account, arn)
    assert found.total.amount == pytest.approx(0.2)
    assert {(line.usage.step, line.usage.retried) for line in found.lines} == {
        ("SplitDataset", False),
        ("SplitDataset", True),
        ("TrainModelWithALongName", False),
        ("TrainModelWithALongName", True),
        ("TuneHyp", True),
    }
    assert sum(line.usage.job.startswith(tuning) for line in found.lines) == 1  # a trial counts once
    cost.tell(found, Known())
    assert "SplitDataset, earlier attempts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("CacheHitResult", "SplitDataset was taken from the cache and used nothing"),
        ("SelectiveExecutionResult", "SplitDataset was taken from an earlier execution and used nothing"),
    ],
)
def test_what_is_reused_costs_nothing_again(account, member, words):
    first, arn = account.execute(1), account.execute(2)
    account.processing(first, "SplitDataset", 60, "ml.m5.xlarge")
    reused = {member: {"SourcePipelineExecutionArn": first}}
    account.steps[arn].append({**account.steps[first][0], **reused})
    found = cost_of(account, arn)
    assert found.lines == []
    assert words in found.notes


def test_what_still_runs_counts_up_to_now(account, capsys):
    arn = account.execute(-4000, "Executing")
    account.processing(arn, "SplitDataset", 0, "ml.m5.xlarge", status="InProgress")
    found = cost_of(account, arn)
    assert found.lines[0].usage.running
    assert found.total.amount > 3600
    cost.tell(found, Known())
    assert "so far" in capsys.readouterr().out


def test_a_job_that_never_got_an_instance_costs_nothing(account):
    arn = account.execute(1, "Failed")
    job = account.processing(arn, "SplitDataset", 0, "ml.unknown", status="Failed")
    del account.jobs[job]["ProcessingStartTime"], account.jobs[job]["ProcessingEndTime"]
    found = cost_of(account, arn)
    assert (found.total.amount, found.total.unknown) == (0.0, ())


def test_a_type_without_a_price_is_said_and_never_free(account, capsys):
    arn = account.execute(1)
    account.processing(arn, "SplitDataset", 60, "ml.unknown")
    account.training(arn, "TrainModel", 50, "ml.m5.2xlarge")
    account.deploy(arn, "flowers", ("ml.unknown", 1))
    found = cost_of(account, arn)
    assert str(found.total) == "at least 0.050 USD"
    cost.tell(found, Known())
    out = capsys.readouterr().out
    assert "no price is known for ml.unknown for processing" in out
    assert "costs an unknown price an hour" in out
    assert "0.000" not in out
    content = cost.as_json(found, Known())
    assert content["complete"] is False
    assert content["prices_unknown"] == ["ml.unknown for processing"]
    assert content["jobs"][0]["cost"] is None


def test_a_deleted_job_is_said(account):
    arn = account.execute(1)
    job = account.processing(arn, "SplitDataset", 60, "ml.m5.xlarge")
    del account.jobs[job]
    found = cost_of(account, arn)
    assert found.notes == [f"SplitDataset: the job {job.lower()} has been deleted; what it used is unknown"]


def test_the_endpoint_costs_by_the_month_with_the_instances_that_it_has_now(account, capsys):
    arn = whole(account, 1, 100, (100,), 100, 100, 100)
    found = cost_of(account, arn)
    assert found.an_hour.amount == pytest.approx(7.2)
    cost.tell(found, Known())
    out = capsys.readouterr().out
    assert (
        "endpoint flowers (2 x ml.m5.2xlarge, InService) costs 7.20 USD an hour, 5256.00 USD a month" in out
    )
    del account.endpoints["flowers"]
    cost.tell(cost_of(account, arn), Known())
    assert "endpoint flowers was deleted: it costs nothing now" in capsys.readouterr().out


def test_rules_that_are_built_in_cost_nothing_and_others_are_said(account):
    arn = account.execute(1)
    job = account.training(arn, "TrainModel", 50, "ml.m5.2xlarge")
    rule = {"RuleConfigurationName": "Overfit", "RuleEvaluatorImage": "image"}
    account.jobs[job]["DebugRuleConfigurations"] = [rule]
    own = {**rule, "RuleConfigurationName": "Own", "InstanceType": "ml.t3.medium", "VolumeSizeInGB": 1}
    account.jobs[job]["ProfilerRuleConfigurations"] = [own]
    found = cost_of(account, arn)
    assert found.total.amount == pytest.approx(0.05)
    assert found.notes == [
        "TrainModel: AWS runs Debugger's built-in rules at no charge",
        "TrainModel: the custom rules Own are billed, too; they are not counted here",
    ]


def test_the_command_takes_an_id_latest_and_an_arn(account, monkeypatch, capsys):
    first, arn = account.execute(1), account.execute(2)
    account.processing(arn, "SplitDataset", 60, "ml.m5.xlarge")
    session = Session(sagemaker=account.client())
    monkeypatch.setattr(cost.command, "session", lambda *_: session)
    monkeypatch.setattr(cost, "Prices", lambda *_: Known())
    for named in (arn, arn[-12:], "latest"):
        assert cost.main([named, "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["execution"] == arn
        assert content["cost"] == pytest.approx(0.06)
        assert content["jobs"][0]["price"]["date"] == "2026-11-20"
    assert cost.main([first]) == 0
    assert "sum" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("s3://bucket/key", "EXECUTION is 's3://bucket/key'; give an execution's id"),
        ("arn:aws:sagemaker:us-east-1:123456789012:pipeline/p", "give an execution's id"),
        ("nosuchid1234", "there is no execution nosuchid1234 of image-classification in us-east-1"),
    ],
)
def test_a_name_that_names_nothing_is_refused_in_one_line(account, named, words):
    from config.settings import load

    settings = load(environ={})
    with pytest.raises(cost.command.Failure, match=words):
        find(account.client(), settings, named)


def test_latest_without_an_execution_says_how_to_start_one(account):
    from config.settings import load

    with pytest.raises(cost.command.Failure, match="has no execution yet; start one with python"):
        find(account.client(), load(environ={}), "latest")


def test_who_may_not_list_jobs_hears_that_earlier_attempts_may_be_missing(account):
    arn = account.execute(1)
    account.processing(arn, "SplitDataset", 60, "ml.m5.xlarge")
    client = account.client()
    answer = client._make_api_call

    def refuse(operation, request):
        if operation == "ListTrainingJobs":
            raise missing(operation, "AccessDeniedException")
        return answer(operation, request)

    client._make_api_call = refuse
    used = usage.of_execution(client, account.executions[arn], account.steps[arn])
    assert len(used.usages) == 1
    assert used.notes[0].startswith("jobs of earlier attempts may be missing: AWS refused ListTrainingJobs")


def test_a_trial_is_no_earlier_attempt_whatever_its_name(account):
    arn = account.execute(1)
    job = account.training(arn, "TuneHyperparameters", 40, "ml.m5.2xlarge", step_names=False)
    account.jobs[job]["TuningJobArn"] = (
        "arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/t"
    )
    assert cost_of(account, arn).lines == []


def test_other_refusals_of_aws_go_on(account):
    arn = account.execute(1)
    account.processing(arn, "SplitDataset", 60, "ml.m5.xlarge")
    client = account.client()

    def refuse(**_):
        raise missing("DescribeProcessingJob", "AccessDeniedException")

    client.describe_processing_job = refuse
    with pytest.raises(Exception, match="AccessDenied"):
        usage.of_execution(client, account.executions[arn], account.steps[arn])


def test_hours_are_of_all_instances_together():
    used = Usage("s", "j", "training", "t", 2, billable_s=1800, ran_s=3600)
    assert (used.billable_h, used.saved_h) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0.0, "0.000 USD"), (0.0004, "<0.001 USD"), (0.0614, "0.061 USD"), (336.53, "336.53 USD")],
)
def test_amounts_in_words(amount, text):
    assert bill.money(amount, "USD") == text
