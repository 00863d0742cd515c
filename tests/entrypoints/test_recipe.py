"""The recipe: what a training passes to its network, its loss and its optimizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from entrypoints.contract import VERSION
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.image import JPEG_RESERVE
from entrypoints.optimizer import one_cycle
from entrypoints.train import train
from tests.entrypoints.networks import TINY, tiny_network

HP = Hyperparameters(
    backbone=TINY.name,
    epochs=3,
    batch_size=4,
    image_size=32,
    trainable="all",
    learning_rate=3e-3,
    weight_decay=0.25,
    label_smoothing=0.2,
    engines=0,
)
# The training pictures have the numbers 0 to 9, five of each class; these are the validation pictures.
VALIDATION = list(range(10, 16))
BATCHES = 3  # of the ten in each epoch

pytestmark = pytest.mark.usefixtures("alone", "tiny")


@dataclass
class Given:
    """What a training passed to each part, an item per call."""

    network: nn.Module = field(default_factory=nn.Module)
    pictures: list[torch.Tensor] = field(default_factory=list)  # to the network: 0..1, N x 3 x H x W
    training: list[bool] = field(default_factory=list)  # whether the network was in training mode
    scores: list[torch.Tensor] = field(default_factory=list)  # to the loss
    labels: list[list[int]] = field(default_factory=list)
    slopes: list[torch.Tensor] = field(default_factory=list)  # the gradient of each training loss
    gradients: list[torch.Tensor] = field(default_factory=list)  # to the optimizer
    groups: list[list[dict[str, Any]]] = field(default_factory=list)

    def numbers(self) -> list[list[int]]:
        """The numbers of the pictures that the network saw."""
        return [(batch[:, 0].mean((1, 2)) * 25.5).round().int().tolist() for batch in self.pictures]


def flat(tensors: Iterator[torch.Tensor] | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten().cpu() for tensor in tensors])


def write_numbered(job: Path) -> None:
    """Red is ten times a picture's number; green rises to the right and blue to the bottom, from 0 to 255."""
    rising = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8), (64, 64))
    files = [
        file for split in ("train", "validation") for file in sorted((job / "input" / split).rglob("*.png"))
    ]
    for number, file in enumerate(files):
        red = np.full((64, 64), 10 * number, np.uint8)
        Image.fromarray(np.stack([red, rising, rising.T], axis=2)).save(file)


def write_weights(job: Path, size: float = 1) -> None:
    """Pretrained weights; gradients grow with the size of their features."""
    (job / "input/pretrained/RANDOM_WEIGHTS").unlink()
    torch.manual_seed(0)
    state = tiny_network(TINY.architecture, weights=None, num_classes=2).state_dict()
    state["layer4.2.weight"].fill_(size)
    torch.save(state, job / "input/pretrained/tiny.pth")


@pytest.fixture
def given(job: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """What a test's trainings pass on, with numbered pictures."""
    write_numbered(job)
    seen = Given()

    def show(layer: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (TINY.mean, TINY.std))
        seen.pictures.append(inputs[0].cpu() * std + mean)
        seen.training.append(layer.training)

    def get_model(*arguments: Any, **options: Any) -> nn.Module:
        seen.network = tiny_network(*arguments, **options)
        seen.network.get_submodule("conv1").register_forward_pre_hook(show)
        return seen.network

    class Loss(nn.CrossEntropyLoss):
        def forward(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            loss = super().forward(scores, labels)
            seen.scores.append(scores.detach().cpu())
            seen.labels.append(labels.tolist())
            if loss.requires_grad:
                parameters = list(seen.network.parameters())
                seen.slopes.append(flat(torch.autograd.grad(loss, parameters, retain_graph=True)))
            return loss

    class AdamW(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            seen.gradients.append(flat(parameter.grad for parameter in seen.network.parameters()))
            seen.groups.append([dict(group) for group in self.param_groups])
            return super().step(closure)

    monkeypatch.setattr("entrypoints.model.get_model", get_model)
    monkeypatch.setattr(nn, "CrossEntropyLoss", Loss)
    monkeypatch.setattr(torch.optim, "AdamW", AdamW)
    return seen


def test_an_epoch_shows_each_picture_once_in_an_order_of_its_own_and_then_validates(given: Given) -> None:
    train(HP)
    assert given.training == [*[True] * BATCHES, False] * HP.epochs
    numbers = given.numbers()
    orders = []
    for first in range(0, len(numbers), BATCHES + 1):
        *batches, validation = numbers[first : first + BATCHES + 1]
        orders.append([number for batch in batches for number in batch])
        assert validation == VALIDATION
    everything = list(range(10))
    assert [sorted(order) for order in orders] == [everything] * HP.epochs
    assert len(set(map(tuple, [everything, *orders]))) == HP.epochs + 1


def test_the_loss_is_of_the_pictures_own_labels_and_smoothed(given: Given, job: Path) -> None:
    train(HP)
    expected = []
    for numbers, labels, scores in zip(given.numbers(), given.labels, given.scores, strict=True):
        assert labels == [int(number in (5, 6, 7, 8, 9, 13, 14, 15)) for number in numbers]
        likely = scores.log_softmax(1)
        own = likely[torch.arange(len(labels)), labels]
        expected.append(-((1 - HP.label_smoothing) * own + HP.label_smoothing * likely.mean(1)).mean().item())
    del expected[BATCHES :: BATCHES + 1]
    assert pd.read_csv(job / "data/steps.csv")["loss"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("class_weights", [0, 1])
def test_the_validation_loss_is_the_plain_cross_entropy(given: Given, job: Path, class_weights: int) -> None:
    train(replace(HP, class_weights=class_weights))
    validated = list(zip(given.labels, given.scores, strict=True))[BATCHES :: BATCHES + 1]
    likely = [scores.log_softmax(1)[torch.arange(len(labels)), labels] for labels, scores in validated]
    plain = [-logs.mean().item() for logs in likely]
    assert pd.read_csv(job / "data/epochs.csv")["validation_loss"].tolist() == pytest.approx(plain)


@pytest.mark.parametrize(("size", "clipped"), [(0.05, False), (10, True)])
def test_each_step_follows_the_gradient_of_its_own_loss_at_most_1_long(
    given: Given, job: Path, size: float, clipped: bool
) -> None:
    write_weights(job, size)
    train(HP)
    lengths = [slope.norm().item() for slope in given.slopes]
    assert (max(lengths) > 1) is clipped
    for slope, length, gradient in zip(given.slopes, lengths, given.gradients, strict=True):
        torch.testing.assert_close(gradient, slope / max(length, 1))


def test_the_optimizer_has_the_cycle_of_learning_rates_and_the_weight_decay(given: Given, job: Path) -> None:
    write_weights(job)
    train(HP)
    steps = BATCHES * HP.epochs
    cycle = [HP.learning_rate * one_cycle(step, steps) for step in range(steps)]
    for number, share in enumerate((1, 1, 0.1, 0.1)):
        rates = [groups[number]["lr"] for groups in given.groups]
        assert rates == pytest.approx([share * rate for rate in cycle])
    assert pd.read_csv(job / "data/steps.csv")["learning_rate"].tolist() == pytest.approx(cycle)
    for groups in given.groups:
        for group in groups:
            decays = {HP.weight_decay if parameter.ndim >= 2 else 0 for parameter in group["params"]}
            assert decays <= {group["weight_decay"]}
        optimized = {id(parameter) for group in groups for parameter in group["params"]}
        assert optimized == set(map(id, given.network.parameters()))


@pytest.mark.parametrize(
    ("pretrained", "wanted", "smallest", "mirrored"),
    [
        (False, {}, 0.7, False),
        (True, {}, 0.08, True),
        (False, {"crop_scale": 0.4, "horizontal_flip": 1}, 0.4, True),
        (True, {"crop_scale": 0.4, "horizontal_flip": 0}, 0.4, False),
    ],
)
def test_training_pictures_are_cropped_and_mirrored(
    given: Given, job: Path, pretrained: bool, wanted: Mapping[str, Any], smallest: float, mirrored: bool
) -> None:
    if pretrained:
        write_weights(job)
    train(replace(HP, **wanted))
    pictures = torch.cat([batch for batch, kind in zip(given.pictures, given.training, strict=True) if kind])
    assert pictures.shape == (30, 3, 32, 32)
    # How far the two colours rise from the first to the last column and row, whose middles these are.
    across = (pictures[:, 1, :, -1] - pictures[:, 1, :, 0]).mean(1) * 32 / 31
    down = (pictures[:, 2, -1] - pictures[:, 2, 0]).mean(1) * 32 / 31
    assert (across < 0).any() == mirrored
    assert (down > 0).all()
    assert min((across * down).abs()) == pytest.approx(smallest, abs=0.15)
    assert len(set((across * down).tolist())) > 20


def test_the_card_says_what_was_trained_and_how(job: Path) -> None:
    write_weights(job)
    train(HP)
    card = json.loads((job / "model/model.json").read_text())
    epochs = pd.read_csv(job / "data/epochs.csv").set_index("epoch")
    metrics = card.pop("metrics")
    columns = ["train_loss", "validation_loss", "validation_accuracy"]
    assert metrics.keys() == {"best_epoch", *columns}
    for column in columns:
        assert metrics[column] == pytest.approx(epochs[column][metrics["best_epoch"]])
    assert card == {
        "architecture": "tiny_network",
        "classes": ["ants", "bees"],
        "preprocessing": {
            "image_size": 32,
            "resize": 37,
            "max_value": 65535,
            "jpeg_reserve": JPEG_RESERVE,
            "interpolation": "bilinear",
            "mean": list(TINY.mean),
            "std": list(TINY.std),
        },
        "hyperparameters": HP.as_dict(),
        "weights": "tiny.pth",
        "objective": {
            "minimized": "cross-entropy of the training pictures",
            "kept": "the epoch with the highest accuracy of the validation pictures",
            "layers": HP.layers(True),
        },
        "training_job": None,
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "image-classification-pipeline": VERSION,
        },
    }
