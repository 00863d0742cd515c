from typing import get_args, get_type_hints

import pytest

from config.sections import Debugger, Training
from entrypoints.hyperparameters import Hyperparameters, parse


def test_the_request(steps, request_of, uploaded):
    step = request_of(steps()[3])
    assert (step["Name"], step["Type"]) == ("TrainModel", "Training")
    arguments = step["Arguments"]
    hyperparameters = arguments["HyperParameters"]
    for name in ("learning_rate", "batch_size"):
        best = f"Steps.TuneHyperparameters.BestTrainingJob.TunedHyperParameters['{name}']"
        assert hyperparameters[name] == {"Get": best}
    assert hyperparameters["sagemaker_program"] == "entrypoints/train.py"
    assert "/code/train_debugged/" in hyperparameters["sagemaker_submit_directory"]
    assert len(uploaded(hyperparameters["sagemaker_submit_directory"])) == 1
    channels = {
        item["ChannelName"]: item["DataSource"]["S3DataSource"]["S3Uri"]
        for item in arguments["InputDataConfig"]
    }
    outputs = "Steps.SplitDataset.ProcessingOutputConfig.Outputs"
    assert channels == {
        "train": {"Std:Join": {"On": "", "Values": [{"Get": f"{outputs}['train'].S3Output.S3Uri"}, "/"]}},
        "validation": {
            "Std:Join": {"On": "", "Values": [{"Get": f"{outputs}['validation'].S3Output.S3Uri"}, "/"]}
        },
        "pretrained": {"Get": "Parameters.PretrainedWeightsUrl"},
    }


def test_without_debugger_its_bundle_lacks_what_debugger_needs(steps, request_of):
    arguments = request_of(steps(debugger=Debugger(enabled=False))[3])["Arguments"]
    assert not [name for name in arguments if "Debug" in name or "Profiler" in name]
    assert "/code/train/" in arguments["HyperParameters"]["sagemaker_submit_directory"]
    assert arguments["OutputDataConfig"]["S3OutputPath"]["Std:Join"]["Values"][-1] == "train"


def test_the_settings_of_training_reach_the_trials_and_the_training(steps, request_of):
    given = Training(trainable="head", class_weights=True, patience=3, views=2, memory_budget_mb=100)
    _, _, tuning, training, _ = steps(training=given)
    trials = request_of(tuning)["Arguments"]["TrainingJobDefinition"]
    for found in (request_of(training)["Arguments"]["HyperParameters"], trials["StaticHyperParameters"]):
        options = [f"--{name}={found[name]}" for name in given.hyperparameters()]
        assert parse(options) == Hyperparameters(
            trainable="head", class_weights=1, patience=3, views=2, memory_budget_mb=100
        )


def test_the_settings_of_training_are_the_programs_own_defaults():
    assert parse([f"--{name}={value}" for name, value in Training().hyperparameters().items()]) == parse([])


def test_the_program_takes_every_choice_of_trainable_and_no_other(capsys):
    choices = get_args(get_type_hints(Training)["trainable"])
    assert [parse([f"--trainable={choice}"]).trainable for choice in choices] == list(choices)
    with pytest.raises(SystemExit):
        parse(["--trainable=none"])
    assert f"must be {', '.join(choices[:-1])} or {choices[-1]}, not none" in capsys.readouterr().err
