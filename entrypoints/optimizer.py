"""How fast which layers learn, and when."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from entrypoints.backbones import Backbone

# Adam's memory of squared gradients, shorter than its own 0.999: these trainings have hundreds of steps, and
# RoBERTa's found 0.98 to be the more stable (Liu et al., 2019, section 3.1).
BETAS = (0.9, 0.98)
WARM_UP = 0.2  # share of all steps
# The learning rate has come down when it is this share of its peak or less: for the last sixth of the steps.
COME_DOWN = 0.1
# Layers near the input change little between tasks; they learn this much slower when they come pretrained.
PRETRAINED_RATE = 0.1


def parameter_groups(
    backbone: Backbone, network: nn.Module, learning_rate: float, weight_decay: float, pretrained: bool
) -> list[dict[str, Any]]:
    """Optimizer groups: the last block and the head, then the trunk, which learns slower when pretrained.

    Of each, the weights first, then what has one dimension, biases and batch norm's factors: it does not
    decay (He et al., Bag of Tricks, 2019, section 3.1).
    """
    layers = (f"{backbone.last_block}.", f"{backbone.head}.")
    trunk_rate = learning_rate * (PRETRAINED_RATE if pretrained else 1)
    named = list(network.named_parameters())
    groups = []
    for fresh, rate in ((True, learning_rate), (False, trunk_rate)):
        own = [parameter for name, parameter in named if name.startswith(layers) is fresh]
        weights, others = [p for p in own if p.ndim >= 2], [p for p in own if p.ndim < 2]
        groups += [
            {"params": weights, "lr": rate, "weight_decay": weight_decay},
            {"params": others, "lr": rate, "weight_decay": 0.0},
        ]
    return groups


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1)))
