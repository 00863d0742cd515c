from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from config.sections import Tuning
from entrypoints import batches, contract
from entrypoints.digests import from_bytes
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.model import build
from entrypoints.serving import predictor
from entrypoints.train import supports_bfloat16, train
from tests.entrypoints.conftest import ROOT
from tests.entrypoints.networks import TINY, tiny_network

SMALL = Hyperparameters(epochs=2, batch_size=4, image_size=32, engines=0)
QUICK = replace(SMALL, backbone=TINY.name)

pytestmark = pytest.mark.usefixtures("alone")


def test_writes_the_artifact_and_one_metric_line_per_epoch(
    job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(SMALL, engines=1))
    out = capsys.readouterr().out
    history = pd.read_csv(job / "data/epochs.csv").to_dict("records")
    for name, key in zip(
        contract.METRICS, ("train_loss", "validation_loss", "validation_accuracy"), strict=True
    ):
        logged = [float(value) for value in re.findall(contract.METRIC_REGEXES[name], out)]
        assert logged == pytest.approx([epoch[key] for epoch in history], abs=1e-6)
    assert [epoch["epoch"] for epoch in history] == [1, 2]

    members = {p.relative_to(job / "model").as_posix() for p in (job / "model").rglob("*") if p.is_file()}
    serving = {path.name for path in (ROOT / "entrypoints/serving").glob("*.*")} - {"config.yaml"}
    assert members == {
        "app.py",
        "code/requirements.txt",
        "config.yaml",
        "deployment.py",
        "entrypoints/__init__.py",
        "entrypoints/contract.py",
        "entrypoints/depth.py",
        "entrypoints/image.py",
        *(f"entrypoints/serving/{name}" for name in serving - {"deployment.py"}),
        "known.npz",
        "model.int8.onnx",
        "model.json",
        "model.onnx",
        "model.safetensors",
        "trained_on.npy",
    }
    card = json.loads((job / "model/model.json").read_text())
    assert card["classes"] == ["ants", "bees"]
    assert card["preprocessing"]["image_size"] == 32
    assert card["hyperparameters"]["learning_rate"] == SMALL.learning_rate
    best = history[card["metrics"]["best_epoch"] - 1]
    for key in ("train_loss", "validation_loss", "validation_accuracy"):
        assert card["metrics"][key] == pytest.approx(best[key], abs=1e-6)
    assert load_file(job / "model/model.safetensors")["fc.weight"].shape == (2, 512)
    assert card["engines"]["int8"]["agreement"] == 1
    assert "engines: fp32 44.7 MB, int8 11.3 MB; int8 agrees on 100.0% of 6 pictures" in out
    suspects = json.loads((job / "data/suspects.json").read_text())
    assert (suspects["epochs"], suspects["judged"]) == (2, {"train": 10, "validation": 6})
    assert f"suspect labels: {suspects['found']} of 10 training and 6 validation pictures" in out
    digests = (job / "model/trained_on.npy").read_bytes()
    seen = {hashlib.sha256(file.read_bytes()).digest()[:8] for file in (job / "input").rglob("*.png")}
    assert set(from_bytes(digests).tolist()) == {int.from_bytes(value, "big") for value in seen}
    assert card["data"] == {
        "train": {"ants": 5, "bees": 5},
        "validation": {"ants": 3, "bees": 3},
        "sha256": hashlib.sha256(digests).hexdigest(),
    }


@pytest.mark.usefixtures("tiny")
def test_trials_leave_the_engines_out_and_cannot_be_served(job: Path) -> None:
    train(QUICK)
    assert not list((job / "model").glob("*.onnx")) and not (job / "data/suspects.json").exists()
    with pytest.raises(FileNotFoundError, match=r"no model\.onnx: it was trained with engines=0") as error:
        predictor.load(job / "model")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("tiny")
def test_the_same_seed_gives_the_same_weights(job: Path) -> None:
    weights = []
    for seed in (3, 3, 4):
        train(replace(QUICK, epochs=1, seed=seed))
        weights.append(load_file(job / "model/model.safetensors")["fc.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_learns_two_colours_from_pretrained_weights(job: Path, artifact: Path) -> None:
    (job / "input/pretrained/RANDOM_WEIGHTS").unlink()
    shutil.copy(artifact / "model.safetensors", job / "input/pretrained/colours.safetensors")
    train(replace(SMALL, epochs=8, learning_rate=1e-3))
    card = json.loads((job / "model/model.json").read_text())
    assert card["weights"] == "colours.safetensors"
    assert card["metrics"]["validation_accuracy"] == 1.0


@pytest.fixture
def pretrained(job: Path) -> dict[str, torch.Tensor]:
    """Weights in the job's channel with their own batch norm statistics."""
    (job / "input/pretrained/RANDOM_WEIGHTS").unlink()
    torch.manual_seed(1)
    state = tiny_network(TINY.architecture, weights=None, num_classes=2).state_dict()
    state["bn1.running_mean"].fill_(-3)  # not 3: after a ReLU that outputs only zeros nothing learns
    torch.save(state, job / "input/pretrained/tiny.pth")
    return state


@pytest.mark.parametrize(
    ("trainable", "learned"), [("head", ("fc.",)), ("auto", ("fc.", "layer4.")), ("all", ("",))]
)
@pytest.mark.usefixtures("tiny")
def test_only_what_is_trainable_changes(
    job: Path, pretrained: dict[str, torch.Tensor], trainable: str, learned: tuple[str, ...]
) -> None:
    train(replace(QUICK, trainable=trainable))
    state = load_file(job / "model/model.safetensors")
    assert state.keys() == pretrained.keys()
    changed = {name for name, value in state.items() if not torch.equal(value, pretrained[name])}
    assert changed == {name for name in state if name.startswith(learned)}


@pytest.mark.parametrize("trainable", ["head", "last_block", "all"])
@pytest.mark.usefixtures("tiny", "pretrained")
def test_without_memory_everything_is_computed_anew(trainable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    read = batches._decode
    monkeypatch.setattr(batches, "_decode", lambda file, *rest: decoded.append(file) or read(file, *rest))
    counts = []
    for megabytes in (0, 2048):
        decoded.clear()
        train(replace(QUICK, trainable=trainable, memory_budget_mb=megabytes))
        counts.append(len(decoded))
    assert counts == [2 * (10 + 6), 10 + 6]


@pytest.mark.parametrize("learning_rate", [Tuning().learning_rate_min, Tuning().learning_rate_max])
def test_at_the_ends_of_the_tuning_range_every_weight_learns_and_stays_finite(
    job: Path, monkeypatch: pytest.MonkeyPatch, learning_rate: float
) -> None:
    before: dict[str, torch.Tensor] = {}

    def remember(*arguments: Any) -> torch.nn.Module:
        network = build(*arguments)
        before.update({name: weight.detach().cpu().clone() for name, weight in network.named_parameters()})
        return network

    monkeypatch.setattr("entrypoints.train.build", remember)
    train(replace(SMALL, learning_rate=learning_rate))
    steps, epochs = (pd.read_csv(job / f"data/{name}.csv") for name in ("steps", "epochs"))
    assert (len(steps), steps["learning_rate"].max()) == (6, learning_rate)
    assert np.isfinite(steps.to_numpy()).all() and np.isfinite(epochs.to_numpy()).all()
    after = load_file(job / "model/model.safetensors")
    assert all(value.isfinite().all() for value in after.values())
    assert before and not [name for name, weight in before.items() if torch.equal(weight, after[name])]


@pytest.mark.usefixtures("tiny")
def test_class_weights_count_a_rare_class_as_much(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3, 4):
        (job / f"input/train/ants/{number}.png").unlink()
    made: list[torch.nn.CrossEntropyLoss] = []

    class Loss(torch.nn.CrossEntropyLoss):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            made.append(self)

    monkeypatch.setattr("entrypoints.train.nn.CrossEntropyLoss", Loss)
    train(replace(QUICK, class_weights=1))
    train(QUICK)
    assert made[0].weight is not None
    assert made[0].weight.tolist() == pytest.approx([6 / (2 * 1), 6 / (2 * 5)])
    assert made[1].weight is None


@pytest.mark.parametrize(
    ("cpuinfo", "supported"),
    [
        ("flags\t: fpu avx512f avx512_vnni avx512_bf16 fsrm\n", True),
        ("flags\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("flags\t: fpu avx2 avx512f avx512_vnni\n", False),  # an ml.m5
        ("Features\t: fp asimd bf16\n", False),
        (None, False),
    ],
)
def test_bfloat16_is_what_the_processor_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, supported: bool
) -> None:
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr("entrypoints.train.Path", lambda _: tmp_path / "cpuinfo")
    assert supports_bfloat16(torch.device("cpu")) is supported


@pytest.mark.usefixtures("tiny")
def test_patience_ends_it_and_the_artifact_holds_the_best_epoch(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network predicts the six validation pictures, three of each class, with given accuracies.

    The learning rate has come down at the end of the ninth epoch of ten.
    """
    accuracies = iter([0.5, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0])
    heads: list[torch.Tensor] = []

    def answer(head: torch.nn.Module, *_: object) -> torch.Tensor | None:
        if head.training:
            return None
        heads.append(head.weight.cpu().clone())
        right = torch.arange(6) < round(next(accuracies) * 6)
        labels = torch.tensor([0, 0, 0, 1, 1, 1])
        return torch.nn.functional.one_hot(torch.where(right, labels, 1 - labels), 2).to(head.weight)

    def get_model(*arguments: Any, **options: Any) -> torch.nn.Module:
        network = tiny_network(*arguments, **options)
        network.get_submodule("fc").register_forward_hook(answer)
        return network

    monkeypatch.setattr("entrypoints.model.get_model", get_model)
    train(replace(QUICK, epochs=10, patience=2))
    epochs = pd.read_csv(job / "data/epochs.csv")
    assert epochs["validation_accuracy"].tolist() == [0.5, 1, *[0.5] * 7]
    assert json.loads((job / "model/model.json").read_text())["metrics"]["best_epoch"] == 2
    kept = load_file(job / "model/model.safetensors")["fc.weight"]
    assert [torch.equal(kept, head) for head in heads] == [False, True, *[False] * 7]
    # A tuning job compares the last values of a metric.
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch=")]
    assert len(lines) == 10 and lines[-1] == lines[1]
