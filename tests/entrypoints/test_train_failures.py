"""What ends a training early, and what it leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from entrypoints import contract
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.train import main, train
from tests.entrypoints.conftest import ROOT
from tests.entrypoints.networks import TINY
from tests.entrypoints.pictures import write_classes

QUICK = Hyperparameters(backbone=TINY.name, epochs=2, batch_size=4, image_size=32, engines=0)

pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.usefixtures("tiny")
def test_a_loss_that_is_not_a_number_stops_with_the_step(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("entrypoints.model.normalize", lambda pixels, *_: pixels.float() * torch.nan)
    with pytest.raises(SystemExit) as stopped:
        train(QUICK)
    assert stopped.value.code == 1
    assert "the loss is nan at step 1 of 6" in capsys.readouterr().err
    assert not list((job / "model").iterdir())


@pytest.mark.usefixtures("tiny")
def test_a_validation_loss_that_is_not_a_number_stops_with_the_epoch(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def normalize_without_numbers_in_validation(pixels: torch.Tensor, *_: object) -> torch.Tensor:
        return pixels.float() * (torch.nan if len(pixels) == 6 else 0.01)

    monkeypatch.setattr("entrypoints.model.normalize", normalize_without_numbers_in_validation)
    with pytest.raises(SystemExit) as stopped:
        train(QUICK)
    assert stopped.value.code == 1
    output = capsys.readouterr()
    assert "the validation loss is nan after epoch 1" in output.err
    assert "epoch=" not in output.out
    assert not list((job / "model").iterdir())


@pytest.mark.usefixtures("tiny")
def test_a_training_that_fails_later_keeps_what_it_measured(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches_seen = iter(range(100))

    def normalize_until_the_second_epoch(pixels: torch.Tensor, *_: object) -> torch.Tensor:
        in_training = len(pixels) in (3, 4)  # 10 pictures in 3 batches
        return pixels.float() * (torch.nan if in_training and next(batches_seen) >= 3 else 0.01)

    monkeypatch.setattr("entrypoints.model.normalize", normalize_until_the_second_epoch)
    with pytest.raises(SystemExit):
        train(QUICK)
    assert pd.read_csv(job / "data" / contract.TRAINING_EPOCHS)["epoch"].tolist() == [1]
    assert pd.read_csv(job / "data" / contract.TRAINING_STEPS)["step"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "damage", ["no marker", "no pictures", "other classes", "broken picture", "no variable"]
)
def test_bad_channels_are_one_line(
    job: Path, damage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if damage == "no marker":
        (job / "input/pretrained/RANDOM_WEIGHTS").unlink()
    elif damage == "no pictures":
        shutil.rmtree(job / "input/train")
    elif damage == "other classes":
        write_classes(job / "input/validation", 1, {"wasps": (9, 9, 9)})
    elif damage == "broken picture":
        (job / "input/train/ants/broken.png").write_text("no picture")
    else:
        monkeypatch.delenv("SM_CHANNEL_TRAIN")
    with pytest.raises(SystemExit) as stopped:
        main(["--image_size", "32", "--epochs", "1", "--engines", "0"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_training_that_is_killed_leaves_its_epochs_files_and_no_half_written_model(
    job: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "entrypoints.train", "--epochs", "10000", "--image_size", "32"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=job,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch=2 "):  # by then the first epoch's measurements are on disk
            break
    process.kill()
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (-signal.SIGKILL, "")
    assert pd.read_csv(job / "data" / contract.TRAINING_EPOCHS)["epoch"].tolist() in ([1], [1, 2])
    assert not list((job / "model").iterdir())
