"""Rows of backbones.py: the one that is trained, and one that nobody knows yet."""

from __future__ import annotations

from dataclasses import replace

from entrypoints.backbones import BACKBONES
from entrypoints.contract import BACKBONE

RESNET18 = BACKBONES[BACKBONE]
RESNET34 = replace(RESNET18, name="ResNet34", architecture="resnet34", weights_url="", weights_sha256="")
