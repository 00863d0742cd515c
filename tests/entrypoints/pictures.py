"""Small real pictures in class folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"ants": (200, 30, 30), "bees": (30, 30, 200)}


def picture(
    color: tuple[int, int, int] = COLORS["ants"], size: tuple[int, int] = (24, 20), seed: int = 0
) -> Image.Image:
    """A noisy picture of one colour; another seed gives other bytes."""
    noise = np.random.default_rng(seed).integers(-25, 25, (size[1], size[0], 3))
    return Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8))


def photograph(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A picture with shapes of every size, as photographs have them; another seed gives another one."""
    random = np.random.default_rng(seed)
    whole = np.zeros((size[1], size[0], 3))
    for side in (3, 6, 12, 24, 48):
        noise = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        whole += np.asarray(noise.resize(size, Image.Resampling.BICUBIC), float) / side**0.5
    whole -= whole.min()
    return Image.fromarray((whole * (215 / whole.max())).astype(np.uint8))


def write_classes(folder: Path, count: int, classes: Mapping[str, tuple[int, int, int]] = COLORS) -> Path:
    """`count` pictures per class as folder/<class>/<number>.png."""
    for seed, (name, color) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(color, seed=100 * seed + number).save(folder / name / f"{number}.png")
    return folder
