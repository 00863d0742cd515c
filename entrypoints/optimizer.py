"""Learning rates by layer and step."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from entrypoints.backbones import Backbone

# Adam's decay of squared gradients, below its default 0.999: these trainings have hundreds of steps, and
# RoBERTa was more stable with 0.98 (Liu et al., 2019, section 3.1).
BETAS = (0.9, 0.98)
WARM_UP = 0.2  # share of all steps
# At this share of its peak or less, in the last sixth of the steps, the learning rate counts as low.
COME_DOWN = 0.1
# Layers near the input change little between tasks; pretrained ones learn this much slower.
PRETRAINED_RATE = 0.1


def parameter_groups(
    backbone: Backbone, network: nn.Module, learning_rate: float, weight_decay: float, pretrained: bool
) -> list[dict[str, Any]]:
    """Optimizer groups: the last block and the head, then the trunk, which learns slower if pretrained.

    In each, first the weights, then the one-dimensional biases and batch norm factors, without decay (He et
    al., Bag of Tricks, 2019, section 3.1).
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
    """The learning rate's factor: linear warm-up, then a cosine down to nearly 0."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1)))
