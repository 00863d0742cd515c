from __future__ import annotations

import pytest
import torch

from entrypoints.optimizer import one_cycle, parameter_groups
from tests.entrypoints.networks import RESNET18


def test_pretrained_layers_learn_slower_but_for_the_last_block() -> None:
    network = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1) for name in ("conv1", "layer4", "fc")})
    fresh, trunk = parameter_groups(RESNET18, network, 1e-2, pretrained=True)
    assert (fresh["lr"], trunk["lr"]) == (1e-2, pytest.approx(1e-3))
    assert fresh["params"] == [*network["layer4"].parameters(), *network["fc"].parameters()]
    assert trunk["params"] == list(network["conv1"].parameters())
    assert parameter_groups(RESNET18, network, 1e-2, pretrained=False)[1]["lr"] == 1e-2


@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_one_cycle_peaks_once_and_never_reaches_zero(steps: int) -> None:
    factors = [one_cycle(step, steps) for step in range(steps)]
    assert max(factors) == 1
    assert min(factors) > 0
    peak = factors.index(1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_one_cycle_begins_and_ends_low() -> None:
    factors = [one_cycle(step, 100) for step in range(100)]
    assert factors[0] == 0.05
    assert factors.index(1) == 19
    assert factors[59] == pytest.approx(0.5, abs=0.02)
    assert factors[-1] < 0.001
