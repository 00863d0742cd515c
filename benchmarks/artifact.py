"""The default model and pictures of serving.py."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.processes import train
from entrypoints.contract import TRAIN, VALIDATION
from entrypoints.dataset import spread

# The mean of the hymenoptera pictures, which are JPEG files of 110 KB.
WIDTH, HEIGHT = 485, 386
GRAIN = 22
QUALITY = 92
CLASSES = {"dusk": (200, 120, 80), "sea": (80, 120, 200)}
COUNTS = {TRAIN: 64, VALIDATION: 64}
# Enough for scores so far apart that int8 and fp32 give the same answers.
HYPERPARAMETERS = {"image_size": 224, "trainable": "head", "epochs": 10}
SENT = 64


def generate(folder: Path) -> dict[str, Path]:
    """Write JPEG pictures, clouds in their class's colour; channel -> its folder."""
    random = np.random.default_rng(0)
    for channel, count in COUNTS.items():
        for number in range(count):
            label = list(CLASSES)[number % len(CLASSES)]
            clouds = Image.fromarray(random.integers(0, 110, (6, 8), np.uint8)).resize((WIDTH, HEIGHT))
            pixels = np.asarray(clouds)[..., None] - 55.0 + CLASSES[label]
            pixels += random.normal(0, GRAIN, (HEIGHT, WIDTH, 1))
            path = folder / channel / label / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    return {channel: folder / channel for channel in COUNTS}


def jpegs(folder: Path) -> list[Path]:
    """Up to SENT JPEG files below a folder, spread evenly over it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_jpeg(path))
    return spread(files, SENT)


def is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def archive(channels: dict[str, Path], folder: Path) -> Path:
    """Train on generated pictures, from random weights; the model archive, below `folder`.

    Raises:
        SystemExit: training failed, and has printed why.
    """
    train(channels, None, HYPERPARAMETERS, folder / "trained")
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        tar.add(folder / "trained", ".")
    return path
