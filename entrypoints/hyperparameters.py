"""Hyperparameters as the training toolkit passes them: `--learning_rate 0.001`, perhaps JSON-quoted."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from entrypoints.backbones import BACKBONES
from entrypoints.contract import BACKBONE, MIN_IMAGE_PX, RENAMED_TRAINABLE
from entrypoints.program import Parser


@dataclass(frozen=True)
class Hyperparameters:
    """All options of a training except its data. Sizes are in pixels."""

    backbone: str = BACKBONE  # the network: a row of backbones.py
    learning_rate: float = 2e-3  # the peak
    batch_size: int = 32
    epochs: int = 6
    image_size: int = 224
    seed: int = 0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    crop_scale: float = 0.0  # smallest share of the picture's area in a training crop; 0: see `crops`
    horizontal_flip: int = -1  # 1: mirror half of the training pictures, 0: none; -1: see `crops`
    trainable: str = "auto"  # layers: head, last_block (with the head) or all; auto: see `layers`
    views: int = 4  # augmented versions of each picture that a frozen trunk turns into features
    class_weights: int = 0  # 1: each class counts the same in the loss, whatever its size
    patience: int = 0  # in the last sixth, end after this number without a better one; 0: never
    memory_budget_mb: int = 2048  # MiB per instance for pictures and features; the rest is recomputed
    known_share: float = 0.95  # share of pictures like the validation split's that an endpoint calls known
    engines: int = 1  # 1: the artifact includes serving code and engines; 0: weights only, for trials

    @property
    def resize(self) -> int:
        """A picture's shorter side before the centre crop: 256 for 224, as in torchvision's recipe."""
        return round(self.image_size * 8 / 7)

    def layers(self, pretrained: bool) -> str:
        """`trainable` without auto: last_block on pretrained layers, all on random ones."""
        if self.trainable != "auto":
            return self.trainable
        return "last_block" if pretrained else "all"

    def crops(self, pretrained: bool) -> tuple[float, bool]:
        """`crop_scale` and whether to mirror, without automatic values.

        Pretrained layers have seen photographs, mirrored and cropped this hard (torchvision's default).
        Otherwise the pictures may be digits or letters, which must not be mirrored and lose their shape in a
        small crop.
        """
        crop_scale, mirrored = (0.08, True) if pretrained else (0.7, False)
        if self.horizontal_flip != -1:
            mirrored = bool(self.horizontal_flip)
        return self.crop_scale or crop_scale, mirrored

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# Each value's condition, in words.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "backbone": (lambda v: v in BACKBONES, " or ".join(BACKBONES)),
    "learning_rate": (lambda v: 0 < v < math.inf, "above 0"),
    "batch_size": (lambda v: v >= 1, "at least 1"),
    "epochs": (lambda v: v >= 1, "at least 1"),
    "image_size": (lambda v: v >= MIN_IMAGE_PX, f"at least {MIN_IMAGE_PX}"),
    "seed": (lambda v: 0 <= v < 2**32, "between 0 and 2^32 - 1"),
    "weight_decay": (lambda v: 0 <= v < math.inf, "at least 0"),
    "label_smoothing": (lambda v: 0 <= v < 1, "at least 0 and below 1"),
    "crop_scale": (lambda v: 0 <= v <= 1, "between 0 and 1"),
    "horizontal_flip": (lambda v: v in (-1, 0, 1), "-1, 0 or 1"),
    "trainable": (lambda v: v in ("auto", "head", "last_block", "all"), "auto, head, last_block or all"),
    "views": (lambda v: v >= 1, "at least 1"),
    "class_weights": (lambda v: v in (0, 1), "0 or 1"),
    "patience": (lambda v: v >= 0, "at least 0"),
    "memory_budget_mb": (lambda v: v >= 0, "at least 0"),
    "known_share": (lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "engines": (lambda v: v in (0, 1), "0 or 1"),
}


def parse(arguments: Sequence[str] | None = None) -> Hyperparameters:
    """Read the command line; an error is one line that names the hyperparameter, exit code 2.

    Names with a leading underscore belong to the service (`_tuning_objective_metric`) and are skipped.
    """
    # No -h and --help: the toolkit would pass hyperparameters h and help so, and they are unknown.
    parser = Parser(prog="train", allow_abbrev=False, add_help=False)
    for field in fields(Hyperparameters):
        parser.add_argument(
            f"--{field.name}", type=_reader(field.name, type(field.default)), default=field.default
        )
    known, unknown = parser.parse_known_args(arguments)
    # The toolkit passes one-letter names with one dash; anything else with one dash is a negative number.
    names = [name.lstrip("-") for name in unknown if re.match(r"--[^_]|-[^\W\d_]$", name)]
    if names:
        expected = ", ".join(field.name for field in fields(Hyperparameters))
        parser.error(f"unknown hyperparameter {names[0]}; known are {expected}")
    return Hyperparameters(**vars(known))


def _reader(name: str, kind: type[Any]) -> Callable[[str], Any]:
    holds, words = _RULES[name]

    def read(text: str) -> Any:
        value = unquote(text)
        if name == "trainable" and value in RENAMED_TRAINABLE:
            value = RENAMED_TRAINABLE[value]
            print(f"warning: trainable {unquote(text)} is now called {value}; write that", file=sys.stderr)
        try:
            number = kind(value)
        except ValueError:
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{value!r} is not {what}") from None
        if not holds(number):
            raise argparse.ArgumentTypeError(f"must be {words}, not {value}")
        return number

    return read


def unquote(text: str) -> str:
    """A tuning job passes categorical values as JSON strings: "32" with its quotes."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return str(json.loads(text))
    return text
