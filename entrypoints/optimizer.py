"""How fast which layers learn, and when."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

WARM_UP = 0.2  # share of all steps
# Layers near the input change little between tasks; they learn this much slower when they come pretrained.
PRETRAINED_RATE = 0.1
FRESH_LAYERS = ("layer4.", "fc.")


def parameter_groups(network: nn.Module, learning_rate: float, pretrained: bool) -> list[dict[str, Any]]:
    """Optimizer groups: weights that come pretrained learn slower than fresh ones."""
    fresh = [p for name, p in network.named_parameters() if name.startswith(FRESH_LAYERS)]
    trunk = [p for name, p in network.named_parameters() if not name.startswith(FRESH_LAYERS)]
    trunk_rate = learning_rate * (PRETRAINED_RATE if pretrained else 1)
    return [{"params": fresh, "lr": learning_rate}, {"params": trunk, "lr": trunk_rate}]


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1)))
