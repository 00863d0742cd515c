from __future__ import annotations

import pytest

from entrypoints.hyperparameters import Hyperparameters, parse


def test_defaults() -> None:
    assert parse([]) == Hyperparameters()


def test_plain_and_json_quoted_values() -> None:
    given = parse(["--batch_size", '"64"', "--learning_rate", "1e-2", "--epochs", "3"])
    assert (given.batch_size, given.learning_rate, given.epochs) == (64, 0.01, 3)


def test_the_service_s_own_names_are_skipped() -> None:
    assert parse(["--_tuning_objective_metric", "validation:accuracy", "--epochs", "2"]).epochs == 2
    assert parse(["--_anything", "-1", "--horizontal_flip", "-1"]) == Hyperparameters()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rate", "fast"], "learning_rate: 'fast' is not a number"),
        (["--learning_rate", "0"], "learning_rate: must be above 0, not 0"),
        (["--learning_rate", "inf"], "learning_rate: must be above 0, not inf"),
        (["--learning_rate", "nan"], "learning_rate: must be above 0, not nan"),
        (["--epochs", "2.5"], "epochs: '2.5' is not an integer"),
        (["--batch_size", '"many"'], "batch_size: 'many' is not an integer"),
        (["--image_size", "16"], "image_size: must be at least 32, not 16"),
        (["--crop_scale", "2"], "crop_scale: must be between 0 and 1, not 2"),
        (["--engines", "2"], "engines: must be 0 or 1, not 2"),
        (["--learning-rate", "1"], "unknown hyperparameter learning-rate"),
        (["--epoch", "1"], "unknown hyperparameter epoch"),
        (["--momentum", "1"], "unknown hyperparameter momentum"),
        (["-h", "1"], "unknown hyperparameter h;"),
        (["-m", "-1"], "unknown hyperparameter m;"),
        (["--help", "1"], "unknown hyperparameter help;"),
    ],
)
def test_an_error_names_the_hyperparameter(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_auto_trains_what_is_not_pretrained() -> None:
    assert parse([]).layers(pretrained=True) == "last_block"
    assert parse([]).layers(pretrained=False) == "all"
    assert parse(["--trainable", "all"]).layers(pretrained=True) == "all"
    assert parse(["--trainable", '"head"']).layers(pretrained=True) == "head"


def test_the_old_word_for_the_last_block_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--trainable", '"layer4"']) == parse(["--trainable", "last_block"])
    error = capsys.readouterr().err
    assert error == "warning: trainable layer4 is now called last_block; write that\n"


@pytest.mark.parametrize(
    ("given", "pretrained", "expected"),
    [
        ({}, True, (0.08, True)),
        ({}, False, (0.7, False)),
        ({"horizontal_flip": 0}, True, (0.08, False)),
        ({"horizontal_flip": 1, "crop_scale": 0.5}, False, (0.5, True)),
    ],
)
def test_crops_suit_the_weights_unless_they_are_given(given, pretrained, expected):
    assert Hyperparameters(**given).crops(pretrained) == expected
