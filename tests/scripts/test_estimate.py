"""What an execution will cost: from earlier ones made up in the API's shapes, and from measured rates."""

import json
from pathlib import Path

import pytest

from scripts import command, estimate, usage
from scripts.estimate import estimates, plan
from scripts.hosting import Hosting
from tests.scripts.made_up import Account, Session, made_up
from tests.scripts.test_cost import Known

GOLDEN = (Path(__file__).parents[1] / "golden/definition.json").read_text(encoding="utf-8")
DATA = "s3://golden-bucket/image-classification/data/default/"
RANDOM = "s3://golden-bucket/image-classification/code/random_weights/digest-of-random_weights/"
DEFAULTS = {"InputDataUrl": DATA, "PretrainedWeightsUrl": RANDOM, "Epochs": "10", "ImageSize": "224"}
JOBS = ("SplitDataset", "TuneHyperparameters", "TrainModel", "EvaluateModel", "VerifyEndpoint")


def run_through(account, number, scale, status="Succeeded", **parameters):
    """An execution of the whole pipeline whose jobs took `scale` times as long as usual."""
    arn = account.execute(number, status, **{**DEFAULTS, **parameters})
    account.processing(arn, "SplitDataset", 200 * scale, "ml.m5.xlarge")
    trials = [(round(400 * scale), round(400 * scale))] * 4
    account.tuning(arn, "TuneHyperparameters", trials, "ml.m5.2xlarge")
    account.training(arn, "TrainModel", round(500 * scale), "ml.m5.2xlarge")
    account.processing(arn, "EvaluateModel", 150 * scale, "ml.m5.xlarge")
    account.processing(arn, "VerifyEndpoint", 90 * scale, "ml.t3.medium")
    return arn


@pytest.fixture
def account():
    return Account()


def estimated(account, given=None, selected=(), objects=0):
    names = [f"image-classification/data/default/ants/{number}.jpg" for number in range(objects)]
    s3 = made_up(
        "s3", {"ListObjectsV2": lambda **_: {"Contents": [{"Key": name} for name in [*names, "a.txt"]]}}
    )
    session = Session(sagemaker=account.client(), s3=s3)
    return estimates(session, "image-classification", GOLDEN, given or {}, selected, Known())


def test_the_plan_is_what_an_execution_runs_that_passes():
    planned = plan(GOLDEN, {"TrainingInstanceType": "ml.g5.xlarge", "TrainingInstanceCount": "2"})
    assert [item.step for item in planned] == list(JOBS)
    assert [item.jobs for item in planned] == [1, 4, 1, 1, 1]
    assert [item.use for item in planned] == [
        "processing",
        "training",
        "training",
        "processing",
        "processing",
    ]
    tuning = planned[1]
    assert (tuning.instance_type, tuning.instances, tuning.spot) == ("ml.g5.xlarge", 2, False)
    assert [item.step for item in plan(GOLDEN, {}, ["TrainModel", "CheckAccuracy"])] == ["TrainModel"]


def test_an_estimate_is_within_a_tenth_of_each_recorded_execution(account):
    """Of three executions of the same pictures, whose jobs took 5 % less and 5 % more than usual."""
    arns = [run_through(account, number, scale) for number, scale in enumerate((0.95, 1.05, 1.0))]
    total = sum(item.line.cost for item in estimated(account))
    for arn in arns:
        used = usage.of_execution(account.client(), account.executions[arn], account.steps[arn])
        recorded = sum(item.billable_s for item in used.usages) / 1000
        assert total == pytest.approx(recorded, rel=0.1)
    assert total == pytest.approx(2.54, rel=1e-3)  # the median


def test_executions_with_other_parameters_count_only_if_there_is_no_other(account):
    run_through(account, 1, 3, Epochs="30")
    (item,) = estimated(account, selected=["TrainModel"])
    assert item.basis == "1 execution, other parameters"
    assert item.line.cost == pytest.approx(1.5)
    run_through(account, 2, 1, EndpointName="elsewhere")
    run_through(account, 3, 1.2)
    (item,) = estimated(account, selected=["TrainModel"])
    assert item.basis == "2 executions, 500 to 600 s"
    assert item.line.cost == pytest.approx(0.55)


def test_executions_on_other_instances_tell_nothing(account):
    run_through(account, 1, 1)
    (item,) = estimated(account, {"TrainingInstanceType": "ml.g5.xlarge"}, ["TrainModel"], objects=100)
    assert item.basis == "rates"


def test_a_search_that_had_fewer_trials_counts_by_the_trial(account):
    arn = account.execute(1, **DEFAULTS)
    account.tuning(arn, "TuneHyperparameters", [(100, 100), (300, 300)], "ml.m5.2xlarge")
    (item,) = estimated(account, selected=["TuneHyperparameters"])
    assert item.line.cost == pytest.approx(4 * 0.2)


def test_steps_that_failed_or_were_reused_tell_nothing(account):
    arn = run_through(account, 1, 1)
    for step in account.steps[arn]:
        if step["StepName"] == "TrainModel":
            step["StepStatus"] = "Failed"
        if step["StepName"] == "SplitDataset":
            step["CacheHitResult"] = {"SourcePipelineExecutionArn": arn}
    found = estimated(account, objects=100)
    assert {item.planned.step: item.basis for item in found}["TrainModel"] == "rates"
    assert {item.planned.step: item.basis for item in found}["SplitDataset"] == "rates"
    assert {item.planned.step: item.basis for item in found}["EvaluateModel"] == "1 execution"


def test_only_a_few_executions_are_looked_at(account):
    for number in range(60):
        run_through(account, number, 1)
    client = account.client()
    estimates(Session(sagemaker=client), "image-classification", GOLDEN, {}, (), Known())
    assert client.calls["ListPipelineExecutions"] == 1
    assert client.calls["ListPipelineExecutionSteps"] == estimate.LOOKED_AT


def seconds(found, step):
    (item,) = (item for item in found if item.planned.step == step)
    return item.line.usage.billable_h * 3600


def test_rates_follow_pictures_epochs_size_and_layers(account):
    usual = estimated(account, objects=1000)
    assert {item.basis for item in usual} == {"rates"}
    longer = estimated(account, {"Epochs": "20"}, objects=1000)
    # 722 of 1,000 pictures are for training; a picture of 224 px takes 51 ms an epoch.
    training = seconds(usual, "TrainModel") - 120
    assert training == pytest.approx(10 * 722.5 * 0.05145, rel=0.01)
    assert seconds(longer, "TrainModel") - 120 == pytest.approx(2 * training)
    assert seconds(usual, "TuneHyperparameters") == pytest.approx(4 * seconds(usual, "TrainModel"))
    small = estimated(account, {"ImageSize": "112"}, objects=1000)
    assert seconds(small, "TrainModel") - 120 == pytest.approx(training / 4)
    frozen = estimated(account, {"PretrainedWeightsUrl": "s3://b/resnet18.pth"}, objects=1000)
    assert seconds(frozen, "TrainModel") - 120 == pytest.approx(10 * 722.5 * 0.02408, rel=0.01)
    assert seconds(usual, "SplitDataset") - 120 == pytest.approx(5)
    assert seconds(usual, "EvaluateModel") - 120 == pytest.approx(8.1)
    assert seconds(usual, "VerifyEndpoint") == pytest.approx(120)
    together = estimated(account, {"TrainingInstanceCount": "2"}, objects=1000)
    assert seconds(together, "TrainModel") == pytest.approx(2 * 120 + training)


def test_without_pictures_and_earlier_executions_nobody_can_tell(account):
    with pytest.raises(command.Failure, match="there are no pictures below s3://golden-bucket"):
        estimated(account)


def test_instances_that_only_the_execution_knows_are_refused():
    content = json.loads(GOLDEN)
    cluster = content["Steps"][0]["Arguments"]["ProcessingResources"]["ClusterConfig"]
    cluster["InstanceType"] = {"Get": "Steps.Other.Output"}
    with pytest.raises(command.Failure, match="the instances of SplitDataset are"):
        plan(json.dumps(content), {})


def test_what_is_told(account, capsys):
    found = estimated(account, objects=1000)
    estimate.tell(found, Hosting("flowers", "", (("ml.unknown", 1),)), Known())
    out = capsys.readouterr().out
    assert "then the endpoint flowers (1 x ml.unknown): an unknown price a month until it is deleted" in out
    assert "no price is known for ml.unknown for endpoint" in out
    assert "half to twice as much is likely" in out
    assert "prices of us-east-1, 2026-11-20: made up" in out
    estimate.tell(found, Hosting("flowers", "", (("ml.m5.2xlarge", 2),)), Known())
    assert "(2 x ml.m5.2xlarge): 5256.00 USD a month" in capsys.readouterr().out


def test_the_command_estimates_and_starts_nothing(run, refused, s3, client, url):
    sagemaker = client("sagemaker")
    bucket = "golden-bucket"
    s3.create_bucket(Bucket=bucket)
    sagemaker.create_pipeline(
        PipelineName="image-classification",
        PipelineDefinition=GOLDEN,
        ClientRequestToken="x" * 32,
        RoleArn="arn:aws:iam::123456789012:role/execution",
    )
    asked = ("start_execution.py", "--estimate", "--local", url)
    refused(run(*asked), f"there are no pictures below {DATA}", "upload_dataset.py")
    s3.put_object(Bucket=bucket, Key="image-classification/data/default/ants/1.jpg", Body=b"x")
    done = run(*asked, "--parameter", "TrainingInstanceType=ml.p3.2xlarge")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()][1:6] == list(JOBS)
    assert "no price is known for ml.p3.2xlarge for training" in done.stdout
    assert "at least " in done.stdout
    assert "then the endpoint image-classification (1 x ml.m5.2xlarge): 336.53 USD a month" in done.stdout
    found = sagemaker.list_pipeline_executions(PipelineName="image-classification")
    assert found["PipelineExecutionSummaries"] == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--wait",), "leave out --retry and --wait"),
        (("--retry",), "leave out --retry and --wait"),
        (
            ("--set", "tuning.jobs=9"),
            "--set tuning.jobs=9 has no effect here; run python scripts/upsert_pipeline.py",
        ),
    ],
)
def test_what_does_not_go_with_an_estimate(run, refused, option, words):
    refused(run("start_execution.py", "--estimate", *option, "--local", "http://127.0.0.1:9"), words)
