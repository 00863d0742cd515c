"""The cost of more pictures: time per picture and memory of splitting and training, by dataset size.

Datasets of generated pictures of 64 px, from random weights, one epoch. The memory budget is so small that
the larger ones are read from disk again and again.

  python -m benchmarks.growth --counts 1000,10000,100000 --json growth.json
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.processes import MIB, run, train
from entrypoints.contract import TEST, TRAIN, VALIDATION

SIDE = 64
CLASSES = 4
COUNTS = (1_000, 10_000, 100_000)
BUDGET_MB = 64


def generate(folder: Path, count: int) -> Path:
    """Write `count` different JPEG pictures: stripes; the direction is the class."""
    random = np.random.default_rng(0)
    down, across = np.mgrid[:SIDE, :SIDE] / SIDE
    for label in range(CLASSES):
        (folder / f"stripes-{label}").mkdir(parents=True)
    for number in range(count):
        angle = math.pi * (number % CLASSES + random.uniform(-0.2, 0.2)) / CLASSES
        distance = across * math.cos(angle) + down * math.sin(angle)
        wave = np.sin(2 * math.pi * (random.uniform(3, 8) * distance + random.random()))
        pixels = random.uniform(60, 200, 3) + wave[..., None] * random.uniform(-50, 50, 3)
        pixels += random.normal(0, 10, (SIDE, SIDE, 1))
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(folder / f"stripes-{number % CLASSES}" / f"{number}.jpg")
    return folder


def measure(count: int, budget_mb: int) -> dict[str, Any]:
    """The figures of one size: splitting, and training on the result."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        data = generate(folder / "data", count)
        outputs = {output: folder / output for output in (TRAIN, VALIDATION, TEST, "summary")}
        options = [f"--{output}={path}" for output, path in outputs.items()]
        split_s, split_peak = run("split", [f"--input={data}", *options], {})
        hyperparameters = {"epochs": 1, "image_size": SIDE, "memory_budget_mb": budget_mb}
        channels = {split: outputs[split] for split in (TRAIN, VALIDATION)}
        train_s, train_peak, [epoch] = train(channels, None, hyperparameters)
    return {
        "images": count,
        "split_ms_per_image": 1e3 * split_s / count,
        "split_peak_mib": split_peak.pss // MIB,
        "train_ms_per_image": 1e3 * epoch["seconds"] / count,
        "train_seconds": train_s,
        "train_peak_mib": train_peak.pss // MIB,
        "accuracy": epoch["validation_accuracy"],
    }


def table(figures: dict[str, Any]) -> Table:
    title = f"{SIDE} px, one epoch, memory_budget_mb = {figures['memory_budget_mb']}"
    result = Table("images", title=title)
    for head in ("split, ms/image", "split, MiB", "train, ms/image", "train, MiB", "accuracy"):
        result.add_column(head, justify="right")
    for size in figures["sizes"]:
        result.add_row(
            f"{size['images']:,}",
            f"{size['split_ms_per_image']:.2f}",
            str(size["split_peak_mib"]),
            f"{size['train_ms_per_image']:.2f}",
            str(size["train_peak_mib"]),
            f"{size['accuracy']:.1%}",
        )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    counts = ",".join(map(str, COUNTS))
    parser.add_argument("--counts", default=counts, metavar="N,N,...", help=f"sizes of datasets ({counts})")
    parser.add_argument("--budget", type=int, default=BUDGET_MB, metavar="MIB", help=f"({BUDGET_MB})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    sizes = arguments.counts.split(",")
    if not all(size.isdecimal() and int(size) >= 3 * CLASSES for size in sizes) or arguments.budget < 0:
        parser.error(f"--counts are numbers of at least {3 * CLASSES}, with commas; --budget is at least 0")
    figures = {
        "memory_budget_mb": arguments.budget,
        "sizes": [measure(int(size), arguments.budget) for size in sizes],
    }
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
