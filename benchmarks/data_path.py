"""The speed of preparing training pictures, stage by stage, as shares of a full fine-tuning step.

ResNet18 at 224 px in batches of 32, all layers training, on this machine's processor. Pictures that are
kept in memory are cropped, stacked and normalized at every step; others are decoded and resized before.

  python -m benchmarks.data_path --data hymenoptera_data --json data_path.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from entrypoints.backbones import BACKBONES
from entrypoints.batches import Budget, Pictures, augmentation
from entrypoints.contract import BACKBONE
from entrypoints.dataset import check_dataset
from entrypoints.folders import DatasetError
from entrypoints.image import decode
from entrypoints.model import Normalize, build, cut
from entrypoints.train import supports_bfloat16

SIDE, RESIZE, BATCH = 224, 256, 32
CROP_SCALE = 0.08
RUNS = 9
NETWORK = BACKBONES[BACKBONE]


def median_s(action: Callable[[], object]) -> float:
    """The median of several runs, after a warm-up run."""
    seconds = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def training_step() -> Callable[[], None]:
    """One step of full fine-tuning, from normalized pixels to changed weights, as in train.py."""
    trained = cut(NETWORK, build(NETWORK, 2, None), "all")[1][1:].train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(trained.parameters(), fused=True)
    inputs = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 2
    bfloat16 = supports_bfloat16(torch.device("cpu"))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output = trained(inputs)
        loss = criterion(output.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()

    return step


def measure(files: Sequence[Path]) -> dict[str, Any]:
    """Milliseconds for a batch in each stage, and in the step that uses it."""
    indices = torch.arange(BATCH)
    kept, read_again = Pictures(files, RESIZE, Budget(1 << 20)), Pictures(files, RESIZE, Budget(0))
    augment = augmentation(SIDE, CROP_SCALE, horizontal_flip=True)
    normalize = Normalize(NETWORK)
    views = [augment(picture) for picture in kept[indices]]
    pixels = torch.stack(views)
    stages: dict[str, Callable[[], object]] = {
        "decode, one thread": lambda: [decode(file.read_bytes()) for file in files],
        "decode + resize, all cores": lambda: read_again[indices],
        "crop and mirror": lambda: [augment(picture) for picture in kept[indices]],
        "stack": lambda: torch.stack(views),
        "normalize": lambda: normalize(pixels),
    }
    times = {name: median_s(action) for name, action in stages.items()}
    step_s = median_s(training_step())
    cached_s = sum(times[name] for name in ("crop and mirror", "stack", "normalize"))
    times |= {"kept pictures, all three": cached_s}
    return {
        "stages": [
            {
                "stage": name,
                "ms_per_batch": 1e3 * seconds,
                "images_per_s": BATCH / seconds,
                "share_of_step": seconds / (step_s + cached_s),
            }
            for name, seconds in times.items()
        ],
        "step_images_per_s": BATCH / (step_s + cached_s),
        "share_of_step": cached_s / (step_s + cached_s),
    }


def table(figures: dict[str, Any]) -> Table:
    title = f"full fine-tuning: {figures['step_images_per_s']:.1f} images/s with kept pictures"
    result = Table("stage", title=title)
    for head in ("images/s", f"ms for {BATCH}", "share of a step"):
        result.add_column(head, justify="right")
    for stage in figures["stages"]:
        result.add_row(
            stage["stage"],
            f"{stage['images_per_s']:,.0f}",
            f"{stage['ms_per_batch']:.2f}",
            f"{stage['share_of_step']:.1%}",
        )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a dataset of pictures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    try:
        dataset = check_dataset(arguments.data)
    except DatasetError as error:
        parser.error(str(error))
    files = [file for part in dataset.images.values() for own in part.values() for file in own]
    if len(files) < BATCH:
        parser.error(f"{arguments.data} has {len(files)} usable pictures; a batch needs {BATCH}")
    figures = measure(files[:: len(files) // BATCH][:BATCH])
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
