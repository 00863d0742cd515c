"""Whether large JPEG pictures may be decoded at a fraction of their size: what it saves, what it changes.

libjpeg can decode a JPEG picture at a half, a quarter or an eighth of its size. Here that happens only if the
shorter side keeps at least `reserve` times the pixels that training and serving resize it to. Pictures are
enlarged to --megapixels, sharpened and given noise, so that they have detail to lose, and saved as JPEG. The
training program learns from pictures decoded in full, and from pictures decoded so; each artifact answers
the pictures of `val`, decoded in each way.

  python -m benchmarks.decoding --data hymenoptera_data --weights resnet18.pth --json decoding.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from benchmarks.training import usable
from entrypoints import image
from entrypoints.contract import PRETRAINED, TRAIN, VALIDATION
from entrypoints.dataset import LabelledFiles, read_split
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.program import in_threads, keep_freed_memory
from entrypoints.serving import predictor
from entrypoints.train import train

RESERVES = (0, 4, 2, 1)  # 0: decode in full
HYPERPARAMETERS: dict[str, Any] = {"epochs": 10, "learning_rate": 0.0003}  # as in training.py
NOISE = 6  # standard deviation, gray levels
QUALITY = 92
SIZES = {"3 MP": (2048, 1536), "9 MP": (3464, 2598), "12 MP": (4032, 3024), "24 MP": (6000, 4000)}
REPEATS = 10

Figures = dict[str, Any]
Pixels = npt.NDArray[np.uint8]


def enlarged(file: Path, megapixels: float, seed: int) -> bytes:
    """A JPEG picture of this size with fine detail."""
    picture = image.decode(file)
    scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    size = (round(picture.width * scale), round(picture.height * scale))
    large = picture.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.UnsharpMask(4, 150, 0))
    noise = np.random.default_rng(seed).standard_normal((size[1], size[0], 1), np.float32) * NOISE
    return encoded(
        Image.fromarray((np.asarray(large) + noise.astype(np.int16)).clip(0, 255).astype(np.uint8))
    )


def encoded(picture: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, **options)
    return file.getvalue()


def decode(data: bytes, resize: int, reserve: int) -> Image.Image:
    with Image.open(BytesIO(data)) as picture:
        if reserve:
            least = resize * reserve
            picture.draft(None, (least, least))
        return picture.convert("RGB")


def prepare(
    files: LabelledFiles, classes: Sequence[str], folder: Path, hp: Hyperparameters, megapixels: float
) -> tuple[dict[int, Pixels], dict[int, float]]:
    """Pictures for training, decoded and resized in each way, as PNG; and the same as serving sees them.

    The second result is each way's mean difference from full decoding, in gray levels.
    """
    for reserve in RESERVES:
        for name in classes:
            (folder / str(reserve) / name).mkdir(parents=True)

    def one(numbered: tuple[int, tuple[Path, int]]) -> list[Pixels]:
        number, (file, label) = numbered
        data = enlarged(file, megapixels, number)
        squares = []
        for reserve in RESERVES:
            picture = decode(data, hp.resize, reserve)
            squares.append(image.preprocess(picture, hp.image_size, hp.resize))
            scale = hp.resize / min(picture.size)
            size = (round(picture.width * scale), round(picture.height * scale))
            small = picture.resize(size, Image.Resampling.BILINEAR)
            small.save(folder / str(reserve) / classes[label] / f"{number}.png", compress_level=1)
        return squares

    squares = np.array(list(in_threads(one, list(enumerate(files)))))
    ways = {reserve: squares[:, place] for place, reserve in enumerate(RESERVES)}
    full = ways[0].astype(np.int16)
    return ways, {reserve: float(np.abs(full - own).mean()) for reserve, own in ways.items()}


def artifact(folder: Path, reserve: int, weights: Path, hp: Hyperparameters) -> predictor.Model:
    """What the training program makes of the pictures decoded in one way."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as passing:
        root = Path(passing)
        (root / PRETRAINED).mkdir()
        shutil.copy(weights, root / PRETRAINED)
        os.environ[f"SM_CHANNEL_{PRETRAINED.upper()}"] = str(root / PRETRAINED)
        for name in (TRAIN, VALIDATION):
            os.environ[f"SM_CHANNEL_{name.upper()}"] = str(folder / name / str(reserve))
        os.environ |= {"SM_MODEL_DIR": str(root / "model"), "SM_OUTPUT_DATA_DIR": str(root / "output")}
        train(hp)
        return predictor.load(root / "model")


def probabilities(model: predictor.Model, squares: Pixels) -> npt.NDArray[np.float64]:
    inputs = np.stack([image.normalize(square, model.mean, model.std) for square in squares])
    answers = predictor.describe(model, predictor.predict(model, inputs))
    return np.array([[said["probabilities"][name] for name in model.classes] for said in answers])


def compare(model: predictor.Model, squares: dict[int, Pixels], labels: Pixels) -> dict[int, Figures]:
    """One artifact's answers to pictures decoded in each way, beside those to fully decoded ones."""
    full = probabilities(model, squares[0])
    result = {}
    for reserve, own in squares.items():
        found = probabilities(model, own)
        change = np.abs(found - full).max(axis=1)
        result[reserve] = {
            "accuracy": float((found.argmax(axis=1) == labels).mean()),
            "same_labels": float((found.argmax(axis=1) == full.argmax(axis=1)).mean()),
            "mean_change": float(change.mean()),
            "largest_change": float(change.max()),
        }
    return result


def user_ms(action: Callable[[], object]) -> float:
    """The mean user CPU time of an action, in milliseconds."""
    action()
    began = resource.getrusage(resource.RUSAGE_THREAD).ru_utime
    for _ in range(REPEATS):
        action()
    return 1e3 * (resource.getrusage(resource.RUSAGE_THREAD).ru_utime - began) / REPEATS


def times(file: Path, hp: Hyperparameters) -> dict[str, dict[int, float]]:
    """User CPU milliseconds to decode and preprocess one picture, by size and way."""
    result = {}
    for name, size in SIZES.items():
        large = image.decode(enlarged(file, size[0] * size[1] / 1e6, 0))
        for kind, options in (("", {}), (", progressive", {"progressive": True})):
            data = encoded(large, **options)
            result[name + kind] = {
                reserve: user_ms(
                    lambda: image.preprocess(decode(data, hp.resize, reserve), hp.image_size, hp.resize)
                )
                for reserve in RESERVES
            }
    return result


def measure(data: Path, weights: Path, seeds: int, megapixels: float, trained_with: Sequence[int]) -> Figures:
    hp = Hyperparameters(**HYPERPARAMETERS)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as passing:
        folder = Path(passing)
        source = usable(data, folder / "source")
        classes, files = read_split(source / "train")
        prepare(files, classes, folder / TRAIN, hp, megapixels)
        _, files = read_split(source / "val")
        squares, differences = prepare(files, classes, folder / VALIDATION, hp, megapixels)
        labels = np.array([label for _, label in files])
        answers = {
            reserve: [
                compare(
                    artifact(folder, reserve, weights, Hyperparameters(**HYPERPARAMETERS, seed=seed)),
                    squares,
                    labels,
                )
                for seed in range(seeds)
            ]
            for reserve in trained_with
        }
    return {
        "pictures": len(files),
        "gray_levels": differences,
        "answers": answers,
        "ms": times(files[0][0], hp),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--megapixels", type=float, default=9)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    keep_freed_memory()
    figures = measure(a.data, a.weights, a.seeds, a.megapixels, (0, 2))
    a.json.write_text(json.dumps(figures, indent=2))
