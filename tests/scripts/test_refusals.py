"""The suggestions after the gate's refusal are commands that can be typed."""

import shlex

import pytest

from config.settings import load
from scripts.refusals import Refused, parameters, ways_of_run, ways_of_start

ARN = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/p/execution/abcdefghijkl"
LOW = (
    "Test accuracy 0.68 on 60 pictures of 3 classes is below AccuracyThreshold 0.7;"
    " --parameter AccuracyThreshold=0.68 would let it pass"
)
GUESSING = "it is not above 0.95; --set gate.better_than_guessing=false would let it pass"
MARKER = "s3://b/p/code/random_weights/0123/"
OWN = "s3://b/p/weights/mine.pth"
TYPED = ["python", "scripts/run_local.py", "--data", "my pictures"]
START = f"python scripts/start_execution.py --from TuneHyperparameters --source {ARN}"


@pytest.fixture(scope="module")
def settings():
    return load(environ={})


def commands(ways):
    return {way.what: way.command for way in ways}


def test_after_a_run_what_makes_the_model_better_comes_first(settings):
    given = {"PretrainedWeightsUrl": MARKER, "Epochs": "4", "AccuracyThreshold": "0.7"}
    refused = Refused(LOW, ARN, given, {"ants": 60, "bees": 7})
    ways = commands(ways_of_run(refused, settings, TYPED, "a home"))
    typed = "python scripts/run_local.py --data 'my pictures'"
    assert ways == {
        "start from pretrained weights": f"{typed} --weights imagenet",
        "train longer": f"{typed} --parameter Epochs=8",
        "give all classes the same weight (60 pictures of 'ants', 7 of 'bees' in training)": (
            f"{typed} --set training.class_weights=true"
        ),
        "accept this model anyway, while python -m local --home 'a home' runs": (
            "python scripts/start_execution.py --local=http://127.0.0.1:4566 --from CheckAccuracy"
            f" --source {ARN} --parameter AccuracyThreshold=0.68 --wait"
        ),
    }


@pytest.mark.parametrize("weights", [["--weights", "none"], ["--weights=none"]])
def test_pretrained_weights_take_the_place_of_random_ones(settings, weights):
    ways = ways_of_run(Refused(LOW, ARN, {}), settings, [*TYPED[:2], *weights, "--open"], "home")
    assert ways[0].command == "python scripts/run_local.py --open --weights imagenet"


@pytest.mark.parametrize("epochs", [["--parameter", "Epochs=3"], ["--parameter=Epochs=3"]])
def test_more_epochs_take_the_place_of_those_that_were_too_few(settings, epochs):
    typed = [*TYPED[:2], *epochs, "--parameter", "ImageSize=64"]
    ways = commands(ways_of_run(Refused(LOW, ARN, {"Epochs": "3"}), settings, typed, "home"))
    assert ways["train longer"] == (
        "python scripts/run_local.py --parameter ImageSize=64 --parameter Epochs=6"
    )


def test_what_is_done_already_is_not_said_again(settings):
    weighted = load(environ={}, overrides=["training.class_weights=true"])
    refused = Refused(LOW, ARN, {"PretrainedWeightsUrl": OWN}, {"ants": 60, "bees": 7})
    said = [way.what.partition(",")[0] for way in ways_of_run(refused, weighted, TYPED, "home")]
    assert said == ["train longer", "accept this model anyway"]
    even = Refused(LOW, ARN, {"PretrainedWeightsUrl": OWN}, {"ants": 13, "bees": 7})
    assert "class" not in str(ways_of_run(even, settings, TYPED, "home"))


def test_a_run_that_was_resumed_continues_with_its_execution(settings):
    typed = ["python", "scripts/run_local.py", "--resume"]
    for way in ways_of_run(Refused(LOW, ARN, {}), settings, typed, "home"):
        assert way.what.endswith(", while python -m local --home home runs")
        assert "--local=http://127.0.0.1:4566" in way.command and "run_local" not in way.command


def test_after_a_start_the_split_is_kept_and_what_was_given_is_given_again(settings):
    given = {"InputDataUrl": "s3://b/flowers/", "PretrainedWeightsUrl": MARKER, "AccuracyThreshold": "0.7"}
    ways = commands(ways_of_start(Refused(LOW, ARN, given | {"Epochs": "10"}), settings))
    kept = "--parameter InputDataUrl=s3://b/flowers/ --parameter AccuracyThreshold=0.7"
    assert ways["train longer"] == f"{START} {kept} --parameter Epochs=20 --wait"
    place = f"s3://{settings.bucket}/{settings.name}/weights/"
    assert ways["start from pretrained weights"] == (
        "curl -O https://download.pytorch.org/models/resnet18-f37072fd.pth"
        f" && aws s3 cp resnet18-f37072fd.pth {place}"
        f" && {START} {kept} --parameter PretrainedWeightsUrl={place}resnet18-f37072fd.pth --wait"
    )
    upsert = "python scripts/upsert_pipeline.py --set=training.class_weights=true"
    weighted = ways["if some classes have few pictures: give all classes the same weight"]
    assert weighted == f"{upsert} && {START} {kept} --wait"


def test_the_tail_runs_again_with_what_was_given(settings):
    given = {"AccuracyThreshold": "0.7", "EndpointName": "other", "EndpointInstanceCount": "1", "Epochs": "3"}
    ways = ways_of_start(Refused(LOW, ARN, given), settings, ["--local=http://127.0.0.1:9"])
    assert ways[-1].command == (
        f"python scripts/start_execution.py --local=http://127.0.0.1:9 --from CheckAccuracy --source {ARN}"
        " --parameter AccuracyThreshold=0.68 --parameter EndpointName=other --wait"
    )
    assert "--endpoint-url=http://127.0.0.1:9" in shlex.split(ways[0].command)


def test_a_setting_is_upserted_first(settings):
    way = ways_of_start(Refused(GUESSING, ARN, {"AccuracyThreshold": "0.7"}), settings)[-1]
    upsert, start = way.command.split(" && ")
    assert upsert == "python scripts/upsert_pipeline.py --set gate.better_than_guessing=false"
    assert start.endswith(f"--source {ARN} --parameter AccuracyThreshold=0.7 --wait")


@pytest.mark.parametrize("sentence", ["", "The loss is nan"])
def test_nothing_to_type(settings, sentence):
    refused = Refused(sentence, ARN, {})
    assert ways_of_run(refused, settings, TYPED, "home") == ways_of_start(refused, settings) == []


@pytest.mark.parametrize("stub", ["sagemaker"], indirect=True)
def test_what_came_from_an_earlier_execution_has_its_parameters(stub, settings):
    class Session:
        def client(self, _):
            return stub.client

    source, arn = f"{ARN}1", f"{ARN}2"
    first = {"Epochs": "1", "PretrainedWeightsUrl": OWN, "AccuracyThreshold": "0.5", "ImageSize": "32"}
    tail = {"Epochs": "10", "PretrainedWeightsUrl": MARKER, "AccuracyThreshold": "0.9", "ImageSize": "64"}
    for name, given, more in ((arn, tail, {"SourcePipelineExecutionArn": source}), (source, first, None)):
        listed = [{"Name": key, "Value": value} for key, value in given.items()]
        asked = {"PipelineExecutionArn": name}
        stub.add_response("list_pipeline_parameters_for_execution", {"PipelineParameters": listed}, asked)
        config = {"SelectedSteps": [{"StepName": "CheckAccuracy"}], **more} if more else None
        stub.add_response(
            "describe_pipeline_execution", {"SelectiveExecutionConfig": config} if config else {}, asked
        )
    assert parameters(Session(), arn, settings) == first | {"AccuracyThreshold": "0.9", "ImageSize": "64"}
