from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from entrypoints import checkpoint, model
from entrypoints.checkpoint import CheckpointError, find_file, load, save
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.train import train
from tests import forked
from tests.entrypoints.conftest import ROOT, stringify
from tests.entrypoints.networks import TINY, tiny_network
from tests.entrypoints.pictures import write_classes

TRAINING = {"learning_rate": 0.1, "classes": ["ants", "bees"]}


def test_the_folder_is_the_job_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "input/config/checkpointconfig.json"
    config.parent.mkdir(parents=True)
    monkeypatch.setenv(checkpoint.CONFIG_VARIABLE, str(config))
    assert find_file(TRAINING) is None
    config.write_text(json.dumps({"S3Uri": "s3://b/c"}))
    assert (found := find_file(TRAINING)) and found.parent == tmp_path / "checkpoints"
    config.write_text(json.dumps({"S3Uri": "s3://b/c", "LocalPath": str(tmp_path / "own")}))
    assert (found := find_file(TRAINING)) and found.parent == tmp_path / "own"


def test_each_training_has_a_file_of_a_shared_folder_whatever_its_job_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "checkpointconfig.json"
    config.write_text(json.dumps({"S3Uri": "s3://b/c", "LocalPath": str(tmp_path / "shared")}))
    monkeypatch.setenv(checkpoint.CONFIG_VARIABLE, str(config))
    found = []
    for job, training in (("first", TRAINING), ("again", TRAINING), ("other", TRAINING | {"images": 3})):
        monkeypatch.setenv("TRAINING_JOB_NAME", job)
        found.append(find_file(training))
    assert found[0] == found[1] != found[2]


def test_without_the_variable_the_default_folder_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(checkpoint.CONFIG_VARIABLE, raising=False)
    monkeypatch.setattr(checkpoint, "DEFAULT_FOLDER", tmp_path / "checkpoints")
    assert find_file(TRAINING) is None
    (tmp_path / "checkpoints").mkdir()
    assert (found := find_file(TRAINING)) and found.parent == tmp_path / "checkpoints"


def test_the_last_state_comes_back_and_leftovers_go(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "checkpoint.pt"
    assert load(path) is None
    save(path, {"epoch": 1, "weights": torch.zeros(2)})
    save(path, {"epoch": 2, "weights": torch.ones(2)})
    (path.parent / f".{path.name}.half").touch()
    state = load(path)
    assert state is not None
    assert state["epoch"] == 2
    assert torch.equal(state["weights"], torch.ones(2))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut", "pickle", "list"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    save(path, {"weights": torch.zeros(99)})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "pickle":
        torch.save({"journal": Path}, path)
    else:
        torch.save([1], path)
    with pytest.raises(CheckpointError, match=r"\.pt is not a checkpoint of this program .*remove it"):
        load(path)


def test_a_disk_that_cannot_be_read_is_no_reason_to_remove_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "checkpoint.pt"
    save(path, {"weights": torch.zeros(99)})
    monkeypatch.setattr("entrypoints.checkpoint.torch.load", fails)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Input/output error\); start the job again$"):
        load(path)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.pt"
    save(path, {"epoch": 1})
    # Beyond this size the system refuses to write, as on a full disk.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        save(path, {"epoch": 2, "weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.fullmatch(
        r"warning: no checkpoint of this epoch in .* \(File too large\); .*\n", capsys.readouterr().err
    )
    assert load(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


# Enough that the training does not end before the last kill.
EPOCHS = 60
KILLS = 3
# The program with a network whose epochs take 0.01 s.
TINY_PROGRAM = """
import entrypoints.model
from entrypoints.backbones import BACKBONES
from networks import TINY, tiny_network  # beside this file
BACKBONES[TINY.name], entrypoints.model.get_model = TINY, tiny_network
from entrypoints.train import main
main()
"""


def start(
    job: Path,
    arguments: Sequence[object],
    checkpoints: Path | None,
    program: Sequence[str] = ("-m", "entrypoints.train"),
    name: str = "job",
) -> forked.Program:
    """The program on the job's pictures; with a folder for checkpoints it also has a folder of outputs."""
    outputs = checkpoints or job / "undisturbed"
    config = outputs / "checkpointconfig.json"
    outputs.mkdir(exist_ok=True)
    if checkpoints:
        config.write_text(json.dumps({"S3Uri": "s3://b/c", "LocalPath": str(checkpoints / "state")}))
    environ = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "OMP_NUM_THREADS": 1,
        "TRAINING_JOB_NAME": name,
        "SM_MODEL_DIR": outputs / "model",
        "SM_OUTPUT_DATA_DIR": outputs / "data",
        checkpoint.CONFIG_VARIABLE: config,
    } | {f"SM_CHANNEL_{name.upper()}": job / name for name in ("train", "validation", "pretrained")}
    return forked.Program([*program, *map(str, arguments)], job, {**os.environ, **stringify(environ)})


@pytest.mark.parametrize("trainable", ["last_block", "all"])
def test_a_killed_training_ends_with_the_same_model(tmp_path: Path, trainable: str) -> None:
    for name in ("train", "validation"):
        write_classes(tmp_path / name, 5)
    (tmp_path / "pretrained").mkdir()
    weights = tiny_network(TINY.architecture, weights=None, num_classes=3).state_dict()
    save_file(weights, tmp_path / "pretrained" / "tiny.safetensors")
    arguments = ["--epochs", EPOCHS, "--batch_size", 4, "--image_size", 32, "--trainable", trainable]
    arguments += ["--views", 2, "--engines", 0, "--backbone", TINY.name]
    run = partial(start, tmp_path, arguments, program=("-c", TINY_PROGRAM))

    undisturbed = run(None)
    assert undisturbed.communicate(timeout_s=120)[1] == ""

    kept = tmp_path / "killed"
    after = [0]
    for attempt in range(KILLS + 1):
        process = run(kept, name=f"attempt-{attempt}")  # a step's attempts are jobs with different names
        if attempt < KILLS:
            next(line for line in process.lines() if line.startswith("epoch="))
            deadline = time.monotonic() + 60
            while not list(tmp_path.rglob("checkpoint-*.pt")):  # which follows the first epoch's line
                assert time.monotonic() < deadline
                time.sleep(0.002)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0, 0.1))
            process.kill()
        output, error = process.communicate(timeout_s=120)
        assert error == ""
        assert (kept / "model/model.safetensors").exists() == (attempt == KILLS)
        if attempt:
            found = re.search(r"goes on after epoch (\d+)", output)
            assert found
            after.append(int(found[1]))
    assert after == sorted(after) and 0 < after[-1] < EPOCHS
    for file, times in (("epochs.csv", r"^seconds$|_s$"), ("steps.csv", r"_s$")):
        first, second = (
            (table := pd.read_csv(folder / "data" / file)).drop(columns=table.filter(regex=times).columns)
            for folder in (tmp_path / "undisturbed", kept)
        )
        assert first.equals(second)
    models = [(f / "model/model.safetensors").read_bytes() for f in (tmp_path / "undisturbed", kept)]
    assert models[0] == models[1]


def test_a_full_disk_at_the_end_is_one_line_and_the_checkpoint_stays(tmp_path: Path, artifact: Path) -> None:
    for name in ("train", "validation"):
        write_classes(tmp_path / name, 2)
    (tmp_path / "pretrained").mkdir()
    shutil.copy(artifact / "model.safetensors", tmp_path / "pretrained")
    arguments = ["--epochs", 2, "--image_size", 32, "--trainable", "head", "--engines", 0]
    outputs = tmp_path / "outputs"
    process = start(tmp_path, arguments, outputs)
    # A checkpoint of the head is smaller than this, the model larger.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    _, error = process.communicate(timeout_s=120)
    assert process.returncode == 1
    assert error == (
        f"error: the model cannot be written to {outputs / 'model'} (File too large); "
        "make room there and start again\n"
    )
    assert not list((outputs / "model").iterdir())

    again = start(tmp_path, arguments, outputs)
    output, error = again.communicate(timeout_s=120)
    assert error == ""
    assert "goes on after epoch 2" in output
    assert (outputs / "model/model.safetensors").is_file()


def test_a_loss_that_is_not_a_number_leaves_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "validation"):
        write_classes(tmp_path / name, 2)
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained/RANDOM_WEIGHTS").touch()
    (tmp_path / "checkpointconfig.json").write_text(json.dumps({"LocalPath": str(tmp_path / "state")}))
    monkeypatch.setenv(checkpoint.CONFIG_VARIABLE, str(tmp_path / "checkpointconfig.json"))
    for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "outputs"))
    for name in ("train", "validation", "pretrained"):
        monkeypatch.setenv(f"SM_CHANNEL_{name.upper()}", str(tmp_path / name))
    normalize = model.normalize

    def lose_numbers_after_an_epoch(pixels: torch.Tensor, *how: Any) -> torch.Tensor:
        return normalize(pixels, *how) * (torch.nan if list(tmp_path.glob("state/*.pt")) else 1)

    torch.set_num_threads(1)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(model, "normalize", lose_numbers_after_an_epoch)
        train(Hyperparameters(epochs=2, image_size=32, engines=0))
    assert stopped.value.code == 1
    assert "the loss is nan at step 2 of 2" in capsys.readouterr().err
    assert not list((tmp_path / "outputs").glob("model*"))
    train(Hyperparameters(epochs=2, image_size=32, engines=0))
    assert "goes on after epoch 1" in capsys.readouterr().out
