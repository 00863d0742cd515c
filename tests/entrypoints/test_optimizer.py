from __future__ import annotations

import pytest
import torch

from entrypoints.optimizer import one_cycle, parameter_groups
from tests.entrypoints.networks import RESNET18


def test_pretrained_layers_learn_slower() -> None:
    network = torch.nn.ModuleDict({"conv1": torch.nn.Linear(1, 1), "fc": torch.nn.Linear(1, 1)})
    fresh, trunk = parameter_groups(RESNET18, network, 1e-2, pretrained=True)
    assert (fresh["lr"], trunk["lr"]) == (1e-2, pytest.approx(1e-3))
    assert fresh["params"] == list(network["fc"].parameters())
    assert parameter_groups(RESNET18, network, 1e-2, pretrained=False)[1]["lr"] == 1e-2


@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_one_cycle_peaks_once_and_never_reaches_zero(steps: int) -> None:
    factors = [one_cycle(step, steps) for step in range(steps)]
    assert max(factors) == 1
    assert min(factors) > 0
    peak = factors.index(1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
