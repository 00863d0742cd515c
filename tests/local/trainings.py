"""Small real trainings under smdebug's hook: python trainings.py FOLDER leaves a trial of each in FOLDER.

smdebug keeps its hook in module globals, so they have their own process.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import torch
from smdebug import modes
from smdebug.pytorch import Hook, SaveConfig
from torch import nn

STEPS = 30


def network(activation: type[nn.Module] = nn.ReLU, scale: float = 1.0, layers: int = 2) -> nn.Sequential:
    """Linear layers, whose weights are `scale` times the usual, with activations named <number>_relu."""
    parts: list[tuple[str, nn.Module]] = []
    for layer in range(layers):
        parts += [(f"{layer}_linear", nn.Linear(4, 4)), (f"{layer}_relu", activation())]
    made = nn.Sequential(OrderedDict([*parts, ("last", nn.Linear(4, 2))]))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(scale)
    return made


def train(folder: Path, trained: nn.Sequential, rate: float, validation_labels: torch.Tensor) -> None:
    """Full batches of two separable classes, a validation after every third step."""
    hook = Hook(
        out_dir=str(folder),
        save_config=SaveConfig(save_interval=1),
        include_collections=["losses", "gradients"],
        include_regex=[".*relu_input"],
    )
    criterion = nn.CrossEntropyLoss()
    hook.register_module(trained)
    hook.register_loss(criterion)
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(32) % 2
    pictures = torch.randn(32, 4, generator=generator) + 2 * (2 * labels[:, None] - 1)
    optimizer = torch.optim.SGD(trained.parameters(), lr=rate)
    for step in range(STEPS):
        hook.set_mode(modes.TRAIN)
        loss = criterion(trained(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 3 == 2:
            hook.set_mode(modes.EVAL)
            with torch.no_grad():
                criterion(trained(pictures), validation_labels)
    hook.close()


def main(folder: Path) -> None:
    torch.manual_seed(0)
    labels = torch.arange(32) % 2
    trainings = {
        "good": (network(), 0.1, labels),
        "stuck": (network(), 0.0, labels),
        "overfit": (network(), 0.1, 1 - labels),
        "vanishing": (network(nn.Sigmoid, scale=0.01, layers=6), 0.1, labels),
        "exploding": (network(scale=3e9), 1e30, labels),
    }
    for name, arguments in trainings.items():
        train(folder / name, *arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
