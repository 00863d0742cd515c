"""Rows of backbones.py: the default network, one that is not listed, and one that trains instantly."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from torch import nn

from entrypoints.backbones import BACKBONES, Backbone
from entrypoints.contract import BACKBONE

RESNET18 = BACKBONES[BACKBONE]
RESNET34 = replace(RESNET18, name="ResNet34", architecture="resnet34", weights_url="", weights_sha256="")
TINY = Backbone(
    name="Tiny",
    architecture="tiny_network",
    layers=("conv1", "bn1", "layer4", "avgpool", "flatten", "fc"),
    last_block="layer4",
    mean=(0.4, 0.5, 0.6),
    std=(0.25, 0.5, 0.2),
    weights_url="",
    weights_sha256="",
)


def tiny_network(architecture: str, *, weights: None, num_classes: int) -> nn.Module:
    """What torchvision's get_model would return for TINY."""
    assert (architecture, weights) == (TINY.architecture, None)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 8, 4, 4),
        "bn1": nn.BatchNorm2d(8),
        "layer4": nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)),
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(8, num_classes),
    }
    return nn.Sequential(OrderedDict(layers))
