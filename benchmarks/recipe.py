"""Does each constant of the recipe help? A cross-validation on a dataset's training pictures.

Each row is the recipe with one thing changed, trained on the same folds with the same seeds; the differences
are paired by fold and seed. A difference within two standard errors is not significant.

  python -m benchmarks.recipe --data hymenoptera_data --weights resnet18.pth --json recipe.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.model_selection import StratifiedKFold

from entrypoints.checkpoint import CONFIG_VARIABLE
from entrypoints.contract import MODEL_CARD, PRETRAINED, RANDOM_WEIGHTS, TRAIN, VALIDATION
from entrypoints.dataset import check_dataset
from entrypoints.folders import DatasetError
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.layout import CLASSES
from entrypoints.optimizer import parameter_groups
from entrypoints.train import train

FOLDS = 3
SEEDS = 2
SHIPPED = "as shipped"


@dataclass(frozen=True)
class Variant:
    """A recipe: hyperparameters and constants (by their full name) that differ from what is shipped."""

    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


def everything_decays(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
    """The groups of the optimizer as if biases and batch norm decayed, too."""
    groups = parameter_groups(*arguments, **options)
    decay = max(group["weight_decay"] for group in groups)
    return [{**group, "weight_decay": decay} for group in groups]


VARIANTS = {
    SHIPPED: Variant(),
    "biases and batch norm decay, too": Variant(constants={"train.parameter_groups": everything_decays}),
    "weight decay 0": Variant({"weight_decay": 0.0}),
    "weight decay 0.01": Variant({"weight_decay": 0.01}),
    "betas 0.9, 0.999": Variant(constants={"train.BETAS": (0.9, 0.999)}),
    "gradients not clipped": Variant(constants={"train.MAX_GRADIENT_NORM": math.inf}),
    "warm-up for 5 % of the steps": Variant(constants={"optimizer.WARM_UP": 0.05}),
    "warm-up for 30 % of the steps": Variant(constants={"optimizer.WARM_UP": 0.3}),
    "labels not smoothed": Variant({"label_smoothing": 0.0}),
}


def write_folds(data: Path, folder: Path) -> Iterator[Path]:
    """The training pictures of a dataset in FOLDS ways, each a folder with train and validation.

    Raises:
        DatasetError: `data` is not a dataset, or has a class with fewer pictures than folds.
    """
    dataset = check_dataset(data)
    classes = dataset.images[CLASSES if CLASSES in dataset.images else TRAIN]
    files = [(file, name) for name, those in classes.items() for file in those]
    if (least := min(map(len, classes.values()))) < FOLDS:
        raise DatasetError(f"{data}: a class with {least} pictures; each needs {FOLDS}, one for each fold")
    labels = [name for _, name in files]
    for number, parts in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(files, labels)):
        for split, places in zip((TRAIN, VALIDATION), parts, strict=True):
            for place in places:
                file, name = files[place]
                target = folder / str(number) / split / name / f"{place}{file.suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        yield folder / str(number)


def score(fold: Path, weights: Path | None, hyperparameters: Hyperparameters) -> dict[str, float]:
    """Validation accuracy (0..1) and loss of a training's kept epoch."""
    with tempfile.TemporaryDirectory() as folder:
        pretrained, model, output = (Path(folder, name) for name in (PRETRAINED, "model", "data"))
        for path in (pretrained, model, output):
            path.mkdir()
        if weights is None:
            (pretrained / RANDOM_WEIGHTS).touch()
        else:
            shutil.copy(weights, pretrained)
        places = {
            "SM_CHANNEL_TRAIN": fold / TRAIN,
            "SM_CHANNEL_VALIDATION": fold / VALIDATION,
            "SM_CHANNEL_PRETRAINED": pretrained,
            "SM_MODEL_DIR": model,
            "SM_OUTPUT_DATA_DIR": output,
            CONFIG_VARIABLE: Path(folder, "none"),
        }
        with (
            patch.dict(os.environ, {name: str(path) for name, path in places.items()}),
            contextlib.redirect_stdout(None),
        ):
            train(hyperparameters)
        kept = json.loads((model / MODEL_CARD).read_text(encoding="utf-8"))["metrics"]
    return {"accuracy": kept["validation_accuracy"], "loss": kept["validation_loss"]}


def summary(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """A row for each variant: means, and the mean difference from what is shipped with its standard error."""
    rows = []
    for name, those in scores.items():
        row: dict[str, Any] = {"variant": name, "trainings": len(those)}
        for what in ("accuracy", "loss"):
            values, shipped = ([score[what] for score in some] for some in (those, scores[SHIPPED]))
            differences = [value - base for value, base in zip(values, shipped, strict=True)]
            row[what] = statistics.mean(values)
            row[f"{what}_difference"] = statistics.mean(differences)
            row[f"{what}_standard_error"] = statistics.stdev(differences) / math.sqrt(len(differences))
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    drawn = Table(title=title)
    for column in ("recipe", "accuracy", "difference", "loss", "difference"):
        drawn.add_column(column, justify="left" if column == "recipe" else "right")
    for row in rows:
        shipped = row["variant"] == SHIPPED
        drawn.add_row(
            row["variant"],
            f"{row['accuracy']:.1%}",
            "" if shipped else f"{row['accuracy_difference']:+.1%} ± {row['accuracy_standard_error']:.1%}",
            f"{row['loss']:.3f}",
            "" if shipped else f"{row['loss_difference']:+.3f} ± {row['loss_standard_error']:.3f}",
        )
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a dataset; its training pictures are used")
    parser.add_argument("--weights", type=Path, help="pretrained weights; without them, random ones")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    parser.add_argument("--only", action="append", choices=[*VARIANTS][1:], help="these rows only")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(arguments)
    kinds: dict[str, Callable[[str], Any]] = {
        name: type(value) for name, value in Hyperparameters().as_dict().items()
    }
    try:
        given = {name: kinds[name](value) for name, _, value in (item.partition("=") for item in args.set)}
    except (KeyError, ValueError) as error:
        parser.error(f"--set: {error} is not a hyperparameter and its value")
    chosen = {name: VARIANTS[name] for name in (SHIPPED, *(args.only or [*VARIANTS][1:]))}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        try:
            folds = list(write_folds(args.data, Path(folder)))
        except DatasetError as error:
            parser.error(str(error))
        runs = [(fold, seed, name) for fold in folds for seed in range(SEEDS) for name in chosen]
        for fold, seed, name in track(runs, "trainings", console=Console(stderr=True)):
            variant = chosen[name]
            recipe = {"engines": 0, **given, **variant.hyperparameters, "seed": seed}
            with contextlib.ExitStack() as changed:
                for constant, value in variant.constants.items():
                    changed.enter_context(patch(f"entrypoints.{constant}", value))
                scores[name].append(score(fold, args.weights, Hyperparameters(**recipe)))
    rows = summary(scores)
    where = f"{args.data.name}, {FOLDS} folds x {SEEDS} seeds, {torch.get_num_threads()} threads"
    console.print(table(rows, where))
    if args.json:
        args.json.write_text(json.dumps({"where": where, "given": given, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
