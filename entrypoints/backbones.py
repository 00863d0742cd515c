"""The networks that can be trained: a row for each, and all that the project knows of it.

Plain data: to read a name or an address needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A classifier of torchvision whose forward pass calls its children one after the other, as ResNets do.

    The last three are an average over all places, `flatten` and a linear head: engines.py opens it there. It
    halves the sides of its pictures five times (contract.MIN_IMAGE_PX).
    """

    name: str  # for people, and the value of the hyperparameter `backbone`
    architecture: str  # what torchvision.models and model.json call it
    layers: tuple[str, ...]  # its children from the pixels to the scores; `flatten` has none of its own
    last_block: str  # of `layers`: learns at the full rate even where it comes pretrained, as the head does
    # The pixel statistics (0..1, per channel) that its pretrained weights were trained with.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights_url: str  # its state dict
    weights_sha256: str  # how the digest of that file begins

    @property
    def head(self) -> str:
        """The layer that gives the scores: it fits one set of classes only and is never loaded."""
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
