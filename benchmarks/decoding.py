"""Decoding large JPEG pictures at a fraction of their size: what it saves, and how answers change.

libjpeg can decode at 1/2, 1/4 or 1/8 of the size. image.JPEG_RESERVE says how many times the pixels of the
final resizing the shorter side must keep. This measures several such reserves.

The ants and bees are sharpened, enlarged to --megapixels, given noise as fine detail and saved as JPEG. The
training program learns from pictures decoded in full, and from pictures decoded with the shipped reserve.
Each artifact answers the validation pictures, decoded in each way.

  python -m benchmarks.decoding --data hymenoptera_data --weights resnet18.pth --json decoding.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from benchmarks.training import RECIPE, usable
from entrypoints import image
from entrypoints.contract import ENGINES, PRETRAINED, TRAIN, VALIDATION
from entrypoints.dataset import LabelledFiles, read_split
from entrypoints.folders import DatasetError
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.program import in_threads, keep_freed_memory
from entrypoints.serving import predictor
from entrypoints.train import train

RESERVES = (0, 4, 2, 1)  # 0: decode in full
NOISE = 10  # largest, of 255; uniform
QUALITY = 92
SIZES = {"3 MP": (2048, 1536), "9 MP": (3464, 2598), "12 MP": (4032, 3024), "24 MP": (6000, 4000)}
REPEATS = 10

Figures = dict[str, Any]
Pixels = npt.NDArray[np.uint8]
Squares = dict[int, Pixels]


def enlarged(picture: Image.Image, width: int, height: int, seed: int, **options: Any) -> bytes:
    """A JPEG picture of this size with fine detail."""
    large = np.array(picture.filter(ImageFilter.UnsharpMask()).resize((width, height)), np.int16)
    # Rows of noise do not repeat in step with the picture's.
    noise = np.random.default_rng(seed).integers(-NOISE, NOISE + 1, (1 << 20) + seed, np.int8)
    large += np.resize(noise, width * height).reshape(height, width, 1)
    return encoded(Image.fromarray(large.clip(0, 255).astype(np.uint8)), **options)


def encoded(picture: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, **options)
    return file.getvalue()


def square(data: bytes, hp: Hyperparameters, reserve: int) -> Pixels:
    """A picture as serving sees it."""
    picture = image.decode(data, least_side=hp.resize * reserve)
    return image.preprocess(picture, hp.image_size, hp.resize)


def prepare(files: LabelledFiles, folder: Path, hp: Hyperparameters, megapixels: float) -> Squares:
    """Enlarge pictures; return them as serving sees them, by reserve.

    They are also written to FOLDER/RESERVE/LABEL/NUMBER.png as training sees them, decoded and resized.
    """
    for reserve in RESERVES:
        for label in {label for _, label in files}:
            (folder / str(reserve) / str(label)).mkdir(parents=True)

    def one(numbered: tuple[int, tuple[Path, int]]) -> list[Pixels]:
        number, (file, label) = numbered
        picture = image.decode(file)
        scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
        data = enlarged(picture, round(picture.width * scale), round(picture.height * scale), number)
        for reserve in RESERVES:
            small = image.decode(data, least_side=hp.resize * reserve)
            scale = hp.resize / min(small.size)
            size = (round(small.width * scale), round(small.height * scale))
            target = folder / str(reserve) / str(label) / f"{number}.png"
            small.resize(size, Image.Resampling.BILINEAR).save(target, compress_level=1)
        return [square(data, hp, reserve) for reserve in RESERVES]

    squares = np.array(list(in_threads(one, list(enumerate(files)))))
    return {reserve: squares[:, place] for place, reserve in enumerate(RESERVES)}


def artifact(folder: Path, reserve: int, weights: Path, seed: int, target: Path) -> None:
    """Train on the pictures that were decoded with this reserve; write the unpacked artifact to `target`."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as passing:
        shutil.copy(weights, passing)
        os.environ[f"SM_CHANNEL_{PRETRAINED.upper()}"] = passing
        for name in (TRAIN, VALIDATION):
            os.environ[f"SM_CHANNEL_{name.upper()}"] = str(folder / name / str(reserve))
        os.environ |= {"SM_MODEL_DIR": str(target), "SM_OUTPUT_DATA_DIR": f"{passing}/output"}
        train(Hyperparameters(**RECIPE, seed=seed))


def probabilities(model: predictor.Model, squares: Pixels) -> npt.NDArray[np.float64]:
    inputs = np.stack([image.normalize(pixels, model.mean, model.std) for pixels in squares])
    answers = predictor.describe(model, predictor.predict(model, inputs))
    return np.array([[said["probabilities"][name] for name in model.classes] for said in answers])


def compare(model: predictor.Model, squares: Squares, labels: npt.NDArray[np.int64]) -> dict[int, Figures]:
    """An artifact's answers for each reserve, compared with those to the pictures decoded in full."""
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


def cpu_ms(action: Callable[[], object]) -> dict[str, float]:
    """The mean CPU time of an action in milliseconds: in all, and its part in user mode."""
    action()
    began = os.times()
    for _ in range(REPEATS):
        action()
    ended = os.times()
    user = 1e3 * (ended.user - began.user) / REPEATS
    return {"cpu": user + 1e3 * (ended.system - began.system) / REPEATS, "user": user}


def times(file: Path, hp: Hyperparameters) -> dict[str, dict[int, dict[str, float]]]:
    """The time to decode and preprocess one picture, by size and reserve."""
    picture, result = image.decode(file), {}
    for name, size in SIZES.items():
        for kind, progressive in ((name, False), (f"{name}, progressive", True)):
            data = enlarged(picture, *size, 0, progressive=progressive)
            result[kind] = {reserve: cpu_ms(partial(square, data, hp, reserve)) for reserve in RESERVES}
    return result


def measure(data: Path, weights: Path, seeds: int, megapixels: float) -> Figures:
    """All figures; `answers` are means over the seeds, by the training's reserve, engine and reserve."""
    hp = Hyperparameters(**RECIPE)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as passing:
        folder = Path(passing)
        source = usable(data, folder / "source")
        prepare(read_split(source / "train")[1], folder / TRAIN, hp, megapixels)
        _, files = read_split(source / "val")
        squares = prepare(files, folder / VALIDATION, hp, megapixels)
        labels = np.array([label for _, label in files])
        answers: Figures = {}
        for trained_with in (0, image.JPEG_RESERVE):
            models = [folder / f"{trained_with}-{seed}" for seed in range(seeds)]
            for seed, target in enumerate(models):
                artifact(folder, trained_with, weights, seed, target)
            answers[str(trained_with)] = {
                engine: mean([compare(predictor.load(model, engine), squares, labels) for model in models])
                for engine in ENGINES
                if all(engine in predictor.engines(model) for model in models)
            }
        timed = times(files[0][0], hp)
    full = squares[0].astype(np.int16)
    levels = {reserve: float(np.abs(full - own).mean()) for reserve, own in squares.items()}
    return {"pictures": len(files), "gray_levels": levels, "answers": answers, "ms": timed}


def mean(figures: Sequence[dict[int, Figures]]) -> dict[int, Figures]:
    """The same figures, averaged over seeds."""
    return {
        reserve: {key: float(np.mean([one[reserve][key] for one in figures])) for key in row}
        for reserve, row in figures[0].items()
    }


def tables(figures: Figures) -> list[Table]:
    answers = Table("trained with, engine, decoded with", title=f"{figures['pictures']} pictures")
    for head in ("accuracy", "same labels as in full", "mean change of probability", "largest"):
        answers.add_column(head, justify="right")
    for trained_with, engines in figures["answers"].items():
        for engine, rows in engines.items():
            for reserve, row in rows.items():
                answers.add_row(
                    f"{_name(int(trained_with))}, {engine}, {_name(reserve)}",
                    *(f"{row[key]:.2%}" for key in ("accuracy", "same_labels")),
                    *(f"{row[key]:.4f}" for key in ("mean_change", "largest_change")),
                )
    timed = Table("ms of CPU (of these in user mode)", title="decode and preprocess one picture")
    for reserve in RESERVES:
        timed.add_column(_name(reserve), justify="right")
    for size, ways in figures["ms"].items():
        timed.add_row(size, *(f"{way['cpu']:.0f} ({way['user']:.0f})" for way in ways.values()))
    return [answers, timed]


def _name(reserve: int) -> str:
    return f"reserve {reserve}" if reserve else "in full"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train and val")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a ResNet18 state dict")
    parser.add_argument("--megapixels", type=float, default=9, metavar="N", help="size of the pictures (9)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    keep_freed_memory()
    try:
        figures = measure(arguments.data, arguments.weights, arguments.seeds, arguments.megapixels)
    except DatasetError as error:
        parser.error(str(error))
    console = Console()
    for table in tables(figures):
        console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
