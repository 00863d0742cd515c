"""How good the numbers next to a label are: probabilities, recognition of unknown pictures, and maps.

Three models classify their test pictures and pictures of other things: scikit-learn's digits and generated
shapes, trained from random weights, and ants and bees. The other things are letters in the digits' raster,
blank pictures, the other models' pictures, and parts of photographs: of textures in scikit-image (`pip
install scikit-image`), of a flower in scikit-learn.

  python -m benchmarks.unknown --data hymenoptera_data --weights resnet18.pth --folder build/unknown

Splits and models that exist in --folder (NAME/train, NAME/validation, NAME/test, NAME/model) are reused.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import sklearn.datasets
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.processes import run, train
from entrypoints import image
from entrypoints.contract import TEST, TRAIN, VALIDATION
from entrypoints.dataset import read_split, spread
from entrypoints.metrics import reliability
from entrypoints.serving import predictor
from scripts.datasets import digits

GOAL_ECE, GOAL_AUROC, GOAL_TIME = 0.03, 0.95, 0.03
OTHERS = 60  # pictures of each kind
EXPLAINED = 40  # test pictures whose places are blanked
DRAWS = 1000
REPEATS = 30
SHAPES = ("circle", "cross", "square", "triangle")
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "digits": {"image_size": 32, "epochs": 4},
    "shapes": {"image_size": 32, "epochs": 12},
    "pictures": {"image_size": 224, "epochs": 8, "views": 2},
}

Floats = npt.NDArray[np.float64]
Order = npt.NDArray[np.int64]
Figures = dict[str, Any]


def shapes(folder: Path, count: int = 250, side_px: int = 64) -> Path:
    """White shapes of any size and rotation, with enough noise to make some of them hard to recognize."""
    random = np.random.default_rng(0)
    outlines = {
        "cross": [
            *((-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)),
            *((0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)),
        ],
        "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "triangle": [(0, -1.1), (0.95, 0.65), (-0.95, 0.65)],
    }
    outlines["circle"] = [(np.cos(t), np.sin(t)) for t in np.linspace(0, 2 * np.pi, 60)]
    for name in SHAPES:
        for number in range(count):
            size, turn = random.uniform(9, 20), random.uniform(0, 2 * np.pi)
            middle = random.uniform(size, side_px - size, 2)
            turned = np.array(outlines[name]) @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
            mask = Image.new("L", (side_px, side_px))
            ImageDraw.Draw(mask).polygon([tuple(point) for point in middle + size * turned], fill=255)
            pixels = random.uniform(60, 190, 3) + np.asarray(mask)[..., None] / 255 * random.normal(0, 45, 3)
            pixels = pixels + random.normal(0, 38, (side_px, side_px, 3))
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def letters() -> list[Image.Image]:
    """Letters in the digits' form: 8 x 8 pixels of 17 gray levels, enlarged."""
    random = np.random.default_rng(0)
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    fonts = sorted(folder.glob("DejaVuSans*.ttf")) + sorted(folder.glob("DejaVuSerif*.ttf"))
    fonts = [font for font in fonts if "Display" not in font.name]  # these lack the letters
    pictures = []
    for _ in range(OTHERS):
        letter = random.choice([*"ABCDEFGHJKLMNPQRTUVWXYZabdefhkmnrt"])
        font = ImageFont.truetype(str(fonts[random.integers(len(fonts))]), 52)
        large = Image.new("L", (64, 64))
        ImageDraw.Draw(large).text((32, 32), letter, fill=255, font=font, anchor="mm")
        small = np.asarray(large.resize((8, 8), Image.Resampling.BOX), np.float64)
        grey = ((small / small.max() * 16).round() * (255 / 16)).astype(np.uint8)
        enlarged = Image.fromarray(grey).resize((64, 64), Image.Resampling.BICUBIC)
        pictures.append(enlarged.convert("RGB"))
    return pictures


def blanks() -> list[Image.Image]:
    """One gray each; every other one with a camera's noise."""
    random = np.random.default_rng(1)
    pictures = []
    for number in range(OTHERS):
        noise = random.normal(0, 8 * (number % 2), (64, 64, 3))
        pixels = (random.integers(0, 256) + noise).clip(0, 255).astype(np.uint8)
        pictures.append(Image.fromarray(pixels))
    return pictures


def parts(files: Sequence[Path], side_px: int = 200) -> list[Image.Image]:
    """Squares from random places of large pictures."""
    random = np.random.default_rng(2)
    pictures = [image.decode(file) for file in files]
    cut = []
    for number in range(OTHERS):
        whole = pictures[number % len(pictures)]
        left, top = (int(random.integers(0, length - side_px + 1)) for length in whole.size)
        cut.append(whole.crop((left, top, left + side_px, top + side_px)))
    return cut


def photographs() -> dict[str, list[Image.Image]]:
    """Parts of photographs that packages contain."""
    flower = Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg"
    found = {"a flower": parts([flower])}
    skimage = importlib.util.find_spec("skimage")
    if skimage and skimage.submodule_search_locations:
        data = Path(next(iter(skimage.submodule_search_locations))) / "data"
        found["textures"] = parts([data / f"{name}.png" for name in ("brick", "grass", "gravel")])
    return found


def prepare(folder: Path, source: Callable[[], Path], weights: Path | None, kind: str) -> Path:
    """Split a dataset below `folder`, and train a model on it, unless they exist."""
    splits = (TRAIN, VALIDATION, TEST)
    if not (folder / TEST).is_dir():
        options = [f"--{name}={folder / name}" for name in splits]
        run("split", [f"--input={source()}", *options, f"--summary={folder / 'summary'}"], {})
    if not (folder / "model").is_dir():
        channels = {name: folder / name for name in (TRAIN, VALIDATION)}
        train(channels, weights, HYPERPARAMETERS[kind], folder / "model")
    return folder


def pictures_of(folder: Path, count: int) -> tuple[list[Image.Image], npt.NDArray[np.int64]]:
    """At most `count` pictures of a split and their classes, evenly spread."""
    _, files = read_split(folder)
    chosen = spread(files, count)
    return [image.decode(file) for file, _ in chosen], np.array([label for _, label in chosen])


def inputs(model: predictor.Model, pictures: Sequence[Image.Image]) -> predictor.Inputs:
    how = (model.image_size, model.resize)
    return np.stack([image.normalize(image.preprocess(p, *how), model.mean, model.std) for p in pictures])


def ask(model: predictor.Model, pictures: Sequence[Image.Image]) -> tuple[predictor.Scores, Floats]:
    """The classes' scores, and each picture's distance from the training pictures."""
    scores, far = [], []
    for start in range(0, len(pictures), predictor.BATCH):
        batch = inputs(model, pictures[start : start + predictor.BATCH])
        scores.append(predictor.predict(model, batch))
        far += [said["score"] for said in predictor.recognize(model, batch)]
    return np.concatenate(scores), np.array(far)


def probabilities(scores: predictor.Scores, temperature: float) -> Floats:
    powers = np.exp((scores.astype(np.float64) - scores.max(axis=1, keepdims=True)) / temperature)
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def calibration(model: predictor.Model, scores: predictor.Scores, labels: npt.NDArray[np.int64]) -> Figures:
    """Expected calibration error without and with the temperature, and what chance alone would give."""
    right = (scores.argmax(axis=1) == labels).astype(np.float64)
    before, after = (probabilities(scores, t).max(axis=1) for t in (1.0, model.temperature))
    random = np.random.default_rng(0)
    draws = [
        reliability(after, (random.random(len(after)) < after).astype(float)).error for _ in range(DRAWS)
    ]
    return {
        "pictures": len(labels),
        "accuracy": float(right.mean()),
        "temperature": model.temperature,
        "before": reliability(before, right).error,
        "after": reliability(after, right).error,
        "chance": float(np.mean(draws)),
    }


def unknown(
    model: predictor.Model,
    validation: predictor.Scores,
    test: tuple[predictor.Scores, Floats],
    others: dict[str, list[Image.Image]],
) -> Figures:
    """AUROC and the share called known, by the distance and by the highest probability."""

    def doubt(scores: predictor.Scores) -> Floats:
        result: Floats = 1 - probabilities(scores, 1.0).max(axis=1)
        return result

    limit = float(np.quantile(doubt(validation), 0.95))
    figures: Figures = {"kept": float(np.mean(test[1] <= 1)), "others": {}}
    for name, pictures in others.items():
        scores, far = ask(model, pictures)
        truth = [0] * len(test[1]) + [1] * len(far)
        figures["others"][name] = {
            "auroc": float(roc_auc_score(truth, [*test[1], *far])),
            "known": float(np.mean(far <= 1)),
            "softmax_auroc": float(roc_auc_score(truth, [*doubt(test[0]), *doubt(scores)])),
            "softmax_known": float(np.mean(doubt(scores) <= limit)),
        }
    return figures


def deletion(model: predictor.Model, pictures: Sequence[Image.Image]) -> Figures | None:
    """The label's mean probability while its places are blanked one by one; the lower, the better the order.

    Petsiuk et al., RISE, 2018, section 4.2: https://arxiv.org/abs/1806.07421. None for a map of one place.
    """
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = {"map": [], "random": []}
    for picture in pictures:
        [one] = inputs(model, [picture])
        [said] = predictor.recognize(model, one[None], explain=True)
        rows = np.array(said["map"])
        if rows.size == 1:
            return None
        orders: dict[str, Order] = {
            "map": np.argsort(-rows, axis=None).astype(np.int64),
            "random": random.permutation(rows.size).astype(np.int64),
        }
        for name, order in orders.items():
            found[name].append(float(np.mean([*blanked(model, one, rows.shape, order, said["label"])])))
    return {"pictures": len(pictures)} | {name: float(np.mean(values)) for name, values in found.items()}


def blanked(
    model: predictor.Model, one: predictor.Inputs, shape: tuple[int, ...], order: Order, label: str
) -> Iterator[float]:
    """The label's probability after each further tenth of the places is blanked; 0 is the mean of pixels."""
    changed = one.copy()
    edges = [
        np.linspace(0, length, count + 1).astype(int)
        for length, count in zip(one.shape[1:], shape, strict=True)
    ]
    for group in np.array_split(order, min(10, len(order))):
        for place in group:
            row, column = np.unravel_index(place, shape)
            changed[:, edges[0][row] : edges[0][row + 1], edges[1][column] : edges[1][column + 1]] = 0
        [said] = predictor.describe(model, predictor.predict(model, changed[None]))
        yield said["probabilities"][label]


def seconds(model: predictor.Model) -> Figures:
    """The fastest of several predictions on one thread, and what distance and map add, as shares of it."""
    one = np.random.default_rng(0).normal(size=(1, 3, model.image_size, model.image_size)).astype(np.float32)
    ways: dict[str, Callable[[], object]] = {
        "scores": lambda: predictor.describe(model, predictor.predict(model, one)),
        "distance": lambda: predictor.recognize(model, one),
        "map": lambda: predictor.recognize(model, one, explain=True),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(REPEATS):  # in turns, so that busy moments affect all of them
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            least[name] = min(least[name], time.perf_counter() - began)
    shares = {name: least[name] / least["scores"] - 1 for name in ("distance", "map")}
    return {"scores_ms": 1e3 * least["scores"], **shares}


def measure(folder: Path, data: Path | None, weights: Path | None) -> dict[str, Figures]:
    """The figures of each model."""
    datasets = {
        "digits": prepare(folder / "digits", lambda: digits(folder / "source/digits"), None, "digits"),
        "shapes": prepare(folder / "shapes", lambda: shapes(folder / "source/shapes"), None, "shapes"),
    }
    if data:
        datasets["pictures"] = prepare(folder / "pictures", lambda: data, weights, "pictures")
    common = {"blanks": blanks(), **photographs()}
    figures = {}
    for name, place in datasets.items():
        model = predictor.load(place / "model")
        pictures, labels = pictures_of(place / TEST, 1000)
        test = ask(model, pictures)
        validation, _ = ask(model, pictures_of(place / VALIDATION, 1000)[0])
        others = dict(common)
        if name == "digits":
            others["letters"] = letters()
        else:
            others["digits"] = pictures_of(datasets["digits"] / TEST, OTHERS)[0]
        figures[name] = {
            "engine": model.engine,
            "calibration": calibration(model, test[0], labels),
            "unknown": unknown(model, validation, test, others),
            "deletion": deletion(model, spread(pictures, EXPLAINED)),
            "seconds": seconds(model),
        }
    return figures


def tables(figures: dict[str, Figures]) -> Iterator[Table]:
    sure = Table("model", title="expected calibration error on test pictures")
    far = Table("model", "other pictures", title="pictures of other things, by distance and by softmax")
    cost = Table("model", title="maps and time")
    for table, heads in (
        (sure, ("pictures", "accuracy", "temperature", "before", "after", "by chance", "goal")),
        (far, ("AUROC", "goal", "softmax's", "called known", "by softmax", "test pictures known")),
        (cost, ("deletion: map", "random", "prediction", "distance adds", "goal", "map adds")),
    ):
        for head in heads:
            table.add_column(head, justify="right")
    for name, found in figures.items():
        c, s, d = found["calibration"], found["seconds"], found["deletion"]
        shares = [f"{c[key]:.1%}" for key in ("before", "after", "chance")]
        said = (f"{c['pictures']}", f"{c['accuracy']:.1%}", f"{c['temperature']:.2f}")
        sure.add_row(name, *said, *shares, f"<= {GOAL_ECE:.0%}")
        for other, u in found["unknown"]["others"].items():
            shown = (f"{u['known']:.0%}", f"{u['softmax_known']:.0%}", f"{found['unknown']['kept']:.1%}")
            auroc = (f"{u['auroc']:.3f}", f">= {GOAL_AUROC}", f"{u['softmax_auroc']:.3f}")
            far.add_row(name, other, *auroc, *shown)
        deleted = (f"{d['map']:.2f}", f"{d['random']:.2f}") if d else ("one place", "–")
        ms = f"{s['scores_ms']:.1f} ms, {found['engine']}"
        cost.add_row(name, *deleted, ms, f"{s['distance']:.1%}", f"<= {GOAL_TIME:.0%}", f"{s['map']:.1%}")
    yield from (sure, far, cost)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="ants and bees, or other photographs")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="initial weights for --data (random)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="folder for models and splits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as passing:
        folder = (arguments.folder or Path(passing)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(folder, arguments.data, arguments.weights)
    console = Console()
    for table in tables(figures):
        console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
