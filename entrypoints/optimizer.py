"""How fast which layers learn, and when."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from entrypoints.backbones import Backbone

WARM_UP = 0.2  # share of all steps
# Layers near the input change little between tasks; they learn this much slower when they come pretrained.
PRETRAINED_RATE = 0.1


def parameter_groups(
    backbone: Backbone, network: nn.Module, learning_rate: float, pretrained: bool
) -> list[dict[str, Any]]:
    """Optimizer groups: what comes pretrained learns slower, but for the last block and the head."""
    layers = (f"{backbone.last_block}.", f"{backbone.head}.")
    fresh = [p for name, p in network.named_parameters() if name.startswith(layers)]
    trunk = [p for name, p in network.named_parameters() if not name.startswith(layers)]
    trunk_rate = learning_rate * (PRETRAINED_RATE if pretrained else 1)
    return [{"params": fresh, "lr": learning_rate}, {"params": trunk, "lr": trunk_rate}]


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1)))
