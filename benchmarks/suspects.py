"""Whether the training finds wrong labels after 5 % of the labels are flipped.

It trains on scikit-learn's digits from random weights and, with --data and --weights, on ants and bees. It
ranks the training pictures by how suspect their labels are: as the training does (entrypoints/suspects.py),
by each of the training's judges alone, by the trained network's plain softmax, and by other folds on the
untrained network's features. It reports precision and recall of the first 5 % and of suspects.json, whose
length a rule decides, and the time that this adds to the training.

  python -m benchmarks.suspects --data hymenoptera_data --weights resnet18.pth --json suspects.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.processes import run
from entrypoints import suspects
from entrypoints.backbones import BACKBONES
from entrypoints.batches import batched, read_squares
from entrypoints.contract import (
    ANY_IMAGE,
    BACKBONE,
    PRETRAINED,
    RANDOM_WEIGHTS,
    SUSPECTS,
    TEST,
    TRAIN,
    VALIDATION,
)
from entrypoints.dataset import read_split
from entrypoints.folders import relative
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.model import build, cut
from entrypoints.program import keep_freed_memory
from entrypoints.serving import predictor
from entrypoints.train import train
from scripts.datasets import digits

SHARE = 0.05  # share of the labels that are flipped, and of the pictures that are examined
GOAL_TIME = 0.10
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "digits": {"image_size": 32, "epochs": 4},
    "pictures": {"image_size": 224, "epochs": 8, "views": 2},
    "pictures, learned by heart": {"image_size": 224, "epochs": 20, "views": 2},
}

Floats = npt.NDArray[np.float32]
Figures = dict[str, Any]


def flip(source: Path, folder: Path, seed: int) -> set[str]:
    """Copy the splits with some labels flipped; return the files with a wrong label, as SPLIT/CLASS/NAME."""
    random = np.random.default_rng(seed)
    wrong = set()
    for split in (TRAIN, VALIDATION):
        classes, files = read_split(source / split)
        flipped = set(random.choice(len(files), round(SHARE * len(files)), replace=False).tolist())
        for number, (file, label) in enumerate(files):
            others = [name for name in classes if name != classes[label]]
            name = str(random.choice(others)) if number in flipped else classes[label]
            target = folder / split / name / f"{classes[label]} {file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            if number in flipped:
                wrong.add(relative(target, folder))
    return wrong


class Clock:
    """Seconds inside some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def trained(folder: Path, weights: Path | None, hp: Hyperparameters) -> tuple[float, float, suspects.Seen]:
    """Train in this process; return all seconds, those that suspects add, and the evidence on labels."""
    (folder / PRETRAINED).mkdir()
    if weights:
        shutil.copy(weights, folder / PRETRAINED)
    else:
        (folder / PRETRAINED / RANDOM_WEIGHTS).touch()
    for name in (TRAIN, VALIDATION, PRETRAINED):
        os.environ[f"SM_CHANNEL_{name.upper()}"] = str(folder / name)
    os.environ |= {"SM_MODEL_DIR": str(folder / "model"), "SM_OUTPUT_DATA_DIR": str(folder / "output")}
    clock, kept = Clock(), []
    originals = {name: getattr(suspects.Watched, name) for name in ("_keep", "add", "seen")}
    find = suspects.find

    def keep(splits: Any, seen: suspects.Seen, folders: Any) -> dict[str, Any]:
        kept.append(seen)
        return find(splits, seen, folders)

    for name, original in originals.items():
        setattr(suspects.Watched, name, clock.around(original))
    suspects.find = clock.around(keep)
    began = time.perf_counter()
    try:
        train(hp)
    finally:
        suspects.find = find
        for name, original in originals.items():
            setattr(suspects.Watched, name, original)
    seconds = time.perf_counter() - began
    # Suspects predict the validation pictures once more.
    epochs = (folder / "output" / "epochs.csv").read_text().splitlines()
    again = float(epochs[-1].split(",")[epochs[0].split(",").index("validation_s")])
    return seconds, clock.seconds + again, kept[0]


def untrained(files: Sequence[Path], classes: int, weights: Path | None, hp: Hyperparameters) -> Floats:
    """The untrained network's features of pictures."""
    torch.manual_seed(hp.seed)
    backbone = BACKBONES[BACKBONE]
    network = build(backbone, classes, weights)
    _, layers = cut(backbone, network, "all")
    body = layers[:-1].eval()
    with torch.inference_mode():
        parts = [body(read_squares(part, hp.image_size, hp.resize)) for part in batched(files, 16)]
    result: Floats = torch.cat(parts).numpy()
    return result


def softmax(model: predictor.Model, files: Sequence[Path]) -> Floats:
    """The trained network's probabilities, as its endpoint gives them."""
    rows = []
    for file in files:
        [said] = predictor.describe(
            model, predictor.predict(model, predictor.decode(model, file.read_bytes(), ANY_IMAGE))
        )
        rows.append([said["probabilities"][name] for name in model.classes])
    return np.array(rows, np.float32)


def scored(probabilities: Floats, labels: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_]) -> Figures:
    """Precision and recall of the pictures whose label is least probable compared with another one."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -1
    order = np.argsort(probabilities[rows, labels] - others.max(axis=1), kind="stable")
    found = int(wrong[order[: round(SHARE * len(labels))]].sum())
    return {"precision": found / round(SHARE * len(labels)), "recall": found / int(wrong.sum())}


def measure(name: str, source: Path, weights: Path | None, seed: int) -> Figures:
    """The figures of one training."""
    hp = Hyperparameters(**HYPERPARAMETERS[name], seed=seed)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as passing:
        folder = Path(passing).resolve()
        flipped = flip(source, folder, seed)
        seconds, added, seen = trained(folder, weights, hp)
        classes, files = read_split(folder / TRAIN)
        paths, labels = [file for file, _ in files], np.array([label for _, label in files])
        wrong = np.array([relative(path, folder) in flipped for path in paths])
        said = json.loads((folder / "output" / SUSPECTS).read_text(encoding="utf-8"))
        listed = [f"{entry['split']}/{entry['file']}" for entry in said["suspects"]]
        ways = {
            "suspects.json's order": suspects.judge(seen.training, seen.features, labels),
            "the network while it learned": seen.training,
            "other folds, features of the last epoch": suspects.by_others(seen.features, labels),
            "softmax of the trained network": softmax(predictor.load(folder / "model"), paths),
            "other folds, features before the training": suspects.by_others(
                untrained(paths, len(classes), weights, hp), labels
            ),
        }
        found = len(flipped.intersection(listed))
        return {
            "pictures": said["pictures"],
            "flipped": len(flipped),
            "ways": {way: scored(given, labels, wrong) for way, given in ways.items()},
            "listed": {
                "suspects": said["found"],
                "precision": found / max(1, len(listed)),
                "recall": found / len(flipped),
            },
            "train_seconds": seconds,
            "added_seconds": added,
            "added_share": added / (seconds - added),
        }


def split(data: Path, folder: Path) -> Path:
    """Split a dataset, unless that is done."""
    if not folder.is_dir():
        options = [f"--{name}={folder / name}" for name in (TRAIN, VALIDATION, TEST)]
        run("split", [f"--input={data}", *options, f"--summary={folder / 'summary'}"], {})
    return folder


def mean(figures: Sequence[Figures]) -> Figures:
    """The same figures, averaged over seeds."""
    first = figures[0]
    return {
        key: mean([one[key] for one in figures])
        if isinstance(value, dict)
        else float(np.mean([one[key] for one in figures]))
        for key, value in first.items()
    }


def table(name: str, found: Figures) -> Table:
    added = f"{found['added_share']:.1%} more time (at most {GOAL_TIME:.0%})"
    result = Table(
        "", title=f"{name}: {found['flipped']:.0f} of {found['pictures']:.0f} labels wrong; {added}"
    )
    for head in ("precision", "recall"):
        result.add_column(head, justify="right")
    for way, row in found["ways"].items():
        result.add_row(f"first {SHARE:.0%} by {way}", f"{row['precision']:.0%}", f"{row['recall']:.0%}")
    row = found["listed"]
    listed = f"the {row['suspects']:.0f} suspects of suspects.json, including validation pictures"
    result.add_row(listed, f"{row['precision']:.0%}", f"{row['recall']:.0%}")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="ants and bees, or other photographs")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="initial weights for --data")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of each, with different flipped labels"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    keep_freed_memory()
    console = Console()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as passing:
        folder = Path(passing).resolve()
        for name in HYPERPARAMETERS:
            if name != "digits" and not (arguments.data and arguments.weights):
                console.print(f"{name}: skipped, needs --data and --weights")
                continue
            if name == "digits":
                source = split(digits(folder / "source"), folder / "digits")
            else:
                source = split(arguments.data, folder / "pictures")
            weights = None if name == "digits" else arguments.weights
            figures[name] = mean([measure(name, source, weights, seed) for seed in range(arguments.seeds)])
            console.print(table(name, figures[name]))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
