from __future__ import annotations

import pytest
import torch

from entrypoints.optimizer import COME_DOWN, one_cycle, parameter_groups
from tests.entrypoints.networks import RESNET18


def test_pretrained_layers_learn_slower_but_for_the_last_block_and_only_weights_decay() -> None:
    network = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1) for name in ("conv1", "layer4", "fc")})
    groups = parameter_groups(RESNET18, network, 1e-2, 0.5, pretrained=True)
    assert [group["lr"] for group in groups] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3])
    assert [group["weight_decay"] for group in groups] == [0.5, 0, 0.5, 0]
    assert [group["params"] for group in groups] == [
        [network["layer4"].weight, network["fc"].weight],
        [network["layer4"].bias, network["fc"].bias],
        [network["conv1"].weight],
        [network["conv1"].bias],
    ]
    groups = parameter_groups(RESNET18, network, 1e-2, 0.5, pretrained=False)
    assert [group["lr"] for group in groups] == [1e-2] * 4


def test_the_learning_rate_has_come_down_for_the_last_sixth_of_the_steps() -> None:
    assert [one_cycle(step, 100) <= COME_DOWN for step in (79, 83, 84, 99)] == [False, False, True, True]


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
