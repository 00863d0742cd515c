"""The networks that can be trained: one row holds all that the project knows about each.

Plain data: reading a name or an address needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A torchvision classifier whose forward pass calls its children in order, like a ResNet's.

    The last three are an average over all places, `flatten` and a linear head, where engines.py opens it. It
    halves its pictures' sides five times (contract.MIN_IMAGE_PX).
    """

    name: str  # for display, and the value of the hyperparameter `backbone`
    architecture: str  # its name in torchvision.models and model.json
    layers: tuple[str, ...]  # its children from pixels to scores; `flatten` is not a child
    last_block: str  # one of `layers`: learns at the full rate even if pretrained, like the head
    # The pixel statistics (0..1, per channel) behind its pretrained weights.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_url: str  # its state dict
    weights_sha256: str  # the first characters of that file's digest

    @property
    def head(self) -> str:
        """The layer that gives the scores: it fits only one set of classes and is never loaded."""
        return self.layers[-1]


_ROWS = (
    Backbone(
        name="ResNet18",
        architecture="resnet18",
        layers=(
            *("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
            *("avgpool", "flatten", "fc"),
        ),
        last_block="layer4",
        # torchvision's ResNet18_Weights.IMAGENET1K_V1
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        weights_url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
        weights_sha256="f37072fd",
    ),
)
BACKBONES = {row.name: row for row in _ROWS}
