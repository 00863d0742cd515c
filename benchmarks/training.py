"""Fine-tuning compared with common practice: the PyTorch tutorial's loop, and a plain, well-tuned loop.

Each starts from the same weights and sees the same pictures. The floor is what the processor's convolutions
alone would need for full fine-tuning.

  python -m benchmarks.training --data hymenoptera_data --weights resnet18.pth --peer-epochs 1
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from benchmarks.alone import RESNET18_MACS
from benchmarks.processes import train
from entrypoints.backbones import BACKBONES
from entrypoints.contract import BACKBONE, TRAIN, VALIDATION
from entrypoints.dataset import check_dataset, read_split
from entrypoints.folders import DatasetError
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.inputs import VIEW_SCALE
from entrypoints.model import build, cut
from entrypoints.split import copy
from entrypoints.train import supports_bfloat16

TUTORIAL_EPOCHS = 25
PLAIN_EPOCHS = 10
WORKERS = 2
# Both were chosen in a cross-validation of hymenoptera's training split (4 folds, 3 seeds): 93.0 %, where
# 0.0015 in 12 epochs had 90.9 % and learning rates from 0.0002 to 0.0007 had 92.4 % or more.
RECIPE: dict[str, Any] = {"epochs": 10, "learning_rate": 0.0003}
# The peers write no engines for serving, so neither does this run.
WITHOUT_ENGINES = {"engines": 0}
FLOOR_BATCH = 32
FLOOR_RUNS = 10
NETWORK = BACKBONES[BACKBONE]


class Folder(Dataset[tuple[torch.Tensor, int]]):
    """Pictures below class folders, decoded at every access as torchvision's ImageFolder does."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files = read_split(folder)[1]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as image:
            return self.transform(image.convert("RGB")), label


def usable(data: Path, folder: Path) -> Path:
    """A folder with train and val that holds the pictures of `data`, without those that splitting would
    reject.

    Raises:
        DatasetError: `data` is not a dataset.
    """
    dataset = check_dataset(data)
    for part, name in ((TRAIN, "train"), (VALIDATION, "val")):
        for label, files in dataset.images[part].items():
            list(copy(dataset, files, folder / name / label))  # a generator
    return folder


def loop(data: Path, weights: Path, seed: int, epochs: int, plan: int, tuned: bool) -> tuple[float, float]:
    """Seconds per epoch and last accuracy of `epochs` of the tutorial's loop, or of the tuned one.

    Tutorial: float32, NCHW, batches of 4, SGD 0.001 with momentum 0.9, times 0.1 every 7 epochs. Tuned:
    bfloat16 where the processor has it, channels_last, batches of 32, AdamW 1e-3, cosine over `plan` epochs.
    """
    torch.manual_seed(seed)
    end = [transforms.ToTensor(), transforms.Normalize(NETWORK.mean, NETWORK.std)]
    augment = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    center = [transforms.Resize(256), transforms.CenterCrop(224)]
    pictures = Folder(data / "train", transforms.Compose([*augment, *end]))
    validation = Folder(data / "val", transforms.Compose([*center, *end]))
    batch = 32 if tuned else 4
    train_loader = DataLoader(
        pictures, batch, shuffle=True, num_workers=WORKERS, drop_last=tuned and len(pictures) > batch
    )
    validation_loader = DataLoader(validation, batch, num_workers=WORKERS)
    layout = torch.channels_last if tuned else torch.contiguous_format
    network = build(NETWORK, len(read_split(data / "train")[0]), weights).to(memory_format=layout)
    if tuned:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
        schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan)
    else:
        optimizer = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.1)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=tuned and supports_bfloat16(torch.device("cpu")))
    criterion = nn.CrossEntropyLoss()
    correct = 0
    began = time.perf_counter()
    for _ in range(epochs):
        network.train()
        for inputs, labels in train_loader:
            optimizer.zero_grad()
            with autocast:
                output = network(inputs.contiguous(memory_format=layout))
            criterion(output.float(), labels).backward()
            optimizer.step()
        schedule.step()
        network.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in validation_loader:
                with autocast:
                    output = network(inputs.contiguous(memory_format=layout))
                correct += int((output.argmax(1) == labels).sum())
    return (time.perf_counter() - began) / epochs, correct / len(validation)


def ours(data: Path, weights: Path, seed: int, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Run the training program: its seconds, last accuracy, and median epoch's seconds without validation.

    Starting Python and torch does not count.

    Raises:
        SystemExit: it failed and has printed why.
    """
    folders = {TRAIN: data / "train", VALIDATION: data / "val"}
    seconds, _, history = train(folders, weights, {**hyperparameters, **WITHOUT_ENGINES, "seed": seed})
    return {
        "seconds": seconds,
        "accuracy": history[-1]["validation_accuracy"],
        "training_s": statistics.median(epoch["seconds"] - epoch["validation_s"] for epoch in history),
    }


def work(images: int, validation_images: int) -> tuple[float, float]:
    """Floating point operations of RECIPE and of the tutorial's loop, from decoded pictures on."""
    hp = Hyperparameters(**RECIPE)
    side, view_side = hp.image_size, round(hp.image_size * VIEW_SCALE)
    frozen, trained = cut(NETWORK, build(NETWORK, 2, None), "last_block")
    everything = cut(NETWORK, build(NETWORK, 2, None), "all")[1]

    def count(layers: Sequence[nn.Module], pixels: int, backward: bool = False) -> float:
        """For one picture through all layers, of which only the last one trains."""
        inputs = torch.zeros(2, 3, pixels, pixels, dtype=torch.uint8)
        for layer in layers[:-1]:
            inputs = layer(inputs)
        with FlopCounterMode(display=False) as counter:
            output = layers[-1](inputs)
            if backward:
                output.sum().backward()
        return float(counter.get_total_flops()) / len(inputs)

    views = min(hp.views, hp.epochs)
    ours = (
        views * images * count([frozen], view_side)
        + validation_images * count([frozen], side)
        + hp.epochs * images * count([frozen, trained], view_side, backward=True)
        + hp.epochs * validation_images * count([frozen, trained], side)
    )
    tutorial = TUTORIAL_EPOCHS * (
        images * count([everything], side, backward=True) + validation_images * count([everything], side)
    )
    return ours, tutorial


def floor_images_per_s() -> float:
    """Images/s of full fine-tuning if all of it were as fast as a 3x3 convolution of 256 channels."""
    dtype = torch.bfloat16 if supports_bfloat16(torch.device("cpu")) else torch.float32
    convolution = (
        nn.Conv2d(256, 256, 3, padding=1, bias=False).to(dtype).to(memory_format=torch.channels_last)
    )
    inputs = torch.randn(FLOOR_BATCH, 256, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for _ in range(FLOOR_RUNS):
            began = time.perf_counter()
            convolution(inputs)
            seconds.append(time.perf_counter() - began)
    macs_per_s = FLOOR_BATCH * 28 * 28 * 9 * 256 * 256 / min(seconds)
    return macs_per_s / (3 * RESNET18_MACS)  # forward and backward count as three passes


def measure(data: Path, weights: Path, seeds: int, peer_epochs: int) -> dict[str, Any]:
    """All figures. Peers run `peer_epochs` (0: all of theirs) and are extrapolated to their whole plan."""
    runs = [ours(data, weights, seed, RECIPE) for seed in range(seeds)]
    tutorial_epochs, plain_epochs = peer_epochs or TUTORIAL_EPOCHS, peer_epochs or PLAIN_EPOCHS
    tutorial = [loop(data, weights, seed, tutorial_epochs, TUTORIAL_EPOCHS, False) for seed in range(seeds)]
    plain = [loop(data, weights, seed, plain_epochs, PLAIN_EPOCHS, True) for seed in range(seeds)]
    full = ours(data, weights, 0, {"epochs": 3, "trainable": "all"})
    full_images_per_s = len(read_split(data / "train")[1]) / full["training_s"]
    seconds = statistics.median(run["seconds"] for run in runs)
    tutorial_seconds = TUTORIAL_EPOCHS * statistics.median(time for time, _ in tutorial)
    accuracies = [run["accuracy"] for run in runs]
    ours_flop, tutorial_flop = work(*(len(read_split(data / part)[1]) for part in ("train", "val")))
    floor = floor_images_per_s()
    flop_per_s = floor * 3 * 2 * RESNET18_MACS
    return {
        "seeds": seeds,
        "seconds": seconds,
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_std": statistics.pstdev(accuracies),
        "tutorial_seconds": tutorial_seconds,
        "tutorial_epochs_run": tutorial_epochs,
        "tutorial_accuracy_mean": statistics.mean(accuracy for _, accuracy in tutorial),
        "speedup_vs_tutorial": tutorial_seconds / seconds,
        "plain_seconds": PLAIN_EPOCHS * statistics.median(time for time, _ in plain),
        "plain_epochs_run": plain_epochs,
        "plain_accuracy_mean": statistics.mean(accuracy for _, accuracy in plain),
        "full_images_per_s": full_images_per_s,
        "floor_images_per_s": floor,
        "floor_fraction": full_images_per_s / floor,
        "ours_flop": ours_flop,
        "tutorial_flop": tutorial_flop,
        "ours_floor_fraction": ours_flop / seconds / flop_per_s,
        "tutorial_floor_fraction": tutorial_flop / tutorial_seconds / flop_per_s,
        "speedup_at_floor": tutorial_seconds / (ours_flop / flop_per_s),
    }


def table(figures: dict[str, Any]) -> Table:
    def epochs(peer: str, planned: int) -> str:
        run = figures[f"{peer}_epochs_run"]
        return f"{planned} epochs" if run == planned else f"{planned} epochs, extrapolated from {run}"

    result = Table("loop", "seconds", "accuracy, last epoch")
    deviation = f"{figures['accuracy_mean']:.1%} ± {figures['accuracy_std']:.1%}"
    result.add_row("ours", f"{figures['seconds']:.1f}", deviation)
    for peer, planned in (("tutorial", TUTORIAL_EPOCHS), ("plain", PLAIN_EPOCHS)):
        name = f"{peer}, {epochs(peer, planned)}"
        result.add_row(name, f"{figures[f'{peer}_seconds']:.1f}", f"{figures[f'{peer}_accuracy_mean']:.1%}")
    result.add_section()
    result.add_row("speedup over the tutorial", f"{figures['speedup_vs_tutorial']:.1f}", "")
    for peer in ("ours", "tutorial"):
        done = f"{figures[f'{peer}_flop'] / 1e12:.1f} TFLOP"
        result.add_row(f"{peer}: work; share of the floor", done, f"{figures[f'{peer}_floor_fraction']:.0%}")
    result.add_row("speedup if ours ran at the floor", f"{figures['speedup_at_floor']:.1f}", "")
    result.add_section()
    result.add_row("full fine-tuning, images/s", f"{figures['full_images_per_s']:.1f}", "")
    result.add_row("its share of the floor", f"{figures['floor_fraction']:.0%}", "")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train and val")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a ResNet18 state dict")
    parser.add_argument("--peer-epochs", type=int, default=0, metavar="N", help="run the peers N epochs only")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    for folder in (arguments.data / "train", arguments.data / "val"):
        if not folder.is_dir():
            parser.error(f"{folder} is not a folder; --data must hold train and val")
    if not arguments.weights.is_file():
        parser.error(f"{arguments.weights} is not a file; --weights must be a ResNet18 state dict")
    if arguments.seeds < 1 or arguments.peer_epochs < 0:
        parser.error("--seeds must be at least 1 and --peer-epochs at least 0")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        try:
            data = usable(arguments.data, Path(folder))
        except DatasetError as error:
            parser.error(str(error))
        figures = measure(data, arguments.weights, arguments.seeds, arguments.peer_epochs)
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
