"""Train a ResNet18 on folders of pictures and write the model artifact.

Folders come from the training toolkit's environment (SM_CHANNEL_..., SM_MODEL_DIR, SM_OUTPUT_DATA_DIR),
hyperparameters from the command line. One metric line per epoch; the best epoch's weights are kept.

Several processes (torchrun) train one network: each has its part of the pictures, a step sees `batch_size`
in all, and the first process writes. So hyperparameters found by one process hold for any number of them.
"""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torchvision
from torch import nn

from entrypoints import checkpoint, distributed
from entrypoints.batches import (
    Budget,
    Pictures,
    augmentation,
    batched,
    collect,
    read_squares,
    reseed,
    shuffled,
    steps_per_epoch,
)
from entrypoints.checkpoint import CheckpointError
from entrypoints.contract import PRETRAINED, TRAIN, VALIDATION, metric_line
from entrypoints.dataset import DatasetError, read_split
from entrypoints.debugger import Debugger
from entrypoints.hyperparameters import Hyperparameters, parse
from entrypoints.journal import Journal
from entrypoints.model import MEAN, STD, WeightsError, build, cut, find_weights, write_artifact
from entrypoints.optimizer import one_cycle, parameter_groups
from entrypoints.program import fail, keep_freed_memory, writing

MAX_GRADIENT_NORM = 1.0
# A frozen trunk sees smaller pictures than serving does: a random crop magnifies what it shows, so that
# objects have about their later size (Touvron et al., arXiv:1906.06423); half the pixels cost half the time.
VIEW_SCALE = 5 / 7
FEATURE_BATCH = 64
# So many of them go through the frozen layers at once: a processor's cache holds their activations.
FROZEN_BATCH = {"cpu": 16, "cuda": FEATURE_BATCH}
# What `reseed` tells apart.
VIEWS, EPOCHS = 0, 1


def folder(variable: str) -> Path:
    """A folder named by the training toolkit."""
    if variable not in os.environ:
        fail(f"{variable} is not set; start this program as a training job, or set its SM_ variables")
    return Path(os.environ[variable])


def channel(name: str) -> Path:
    return folder(f"SM_CHANNEL_{name.upper()}")


def supports_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 runs in hardware; emulated it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def train(hp: Hyperparameters) -> None:
    torch.manual_seed(hp.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bfloat16 = supports_bfloat16(device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)

    # Pictures
    classes, train_files = read_split(channel(TRAIN))
    validation_classes, validation_files = read_split(channel(VALIDATION))
    if odd := sorted(set(classes) ^ set(validation_classes)):
        fail(f"only {TRAIN if odd[0] in classes else VALIDATION} has the class {odd[0]!r}; give it to both")
    for split, files in ((TRAIN, train_files), (VALIDATION, validation_files)):
        if missing := set(range(len(classes))) - {label for _, label in files}:
            fail(f"{split} has no picture of the class {classes[min(missing)]!r}; give it some")
    images, validation_images, processes = len(train_files), len(validation_files), distributed.count()
    print(f"{images} training and {validation_images} validation images of {len(classes)} classes")
    if images < 2 * processes or validation_images < processes:
        fail(f"that is too little for {processes} processes; use fewer GPUs or instances")
    epoch_steps = steps_per_epoch(images, hp.batch_size, processes)
    counts = torch.bincount(torch.tensor([label for _, label in train_files]))
    balance = images / (len(classes) * counts) if hp.class_weights else torch.ones(len(classes))
    own_train_files, own_validation_files = map(distributed.part, (train_files, validation_files))
    labels = torch.tensor([label for _, label in own_train_files])
    validation_labels = torch.tensor([label for _, label in own_validation_files])
    [validation_share] = distributed.shares([float(balance[validation_labels].sum())])
    validation_labels = validation_labels.to(device)

    # Network: frozen layers, whose output for a picture never changes, then the layers that train
    weights = find_weights(channel(PRETRAINED))
    network = distributed.synchronize_batch_norm(build(len(classes), weights)).to(device)
    trainable = hp.layers(pretrained=weights is not None)
    frozen, trained = cut(network, trainable)

    @torch.no_grad()
    def features(pixels: torch.Tensor) -> torch.Tensor:
        parts = torch.split(pixels.to(device, non_blocking=True), FROZEN_BATCH[device.type])
        with autocast:
            return collect(map(frozen, parts), len(pixels))

    # Inputs of the layers that train: kept while the budget lasts, computed anew otherwise
    started = time.monotonic()
    resize = round(hp.image_size * 8 / 7)  # 256 for 224, as torchvision's own recipe
    view_size = hp.image_size if trainable == "all" else max(32, round(hp.image_size * VIEW_SCALE))
    augment = augmentation(view_size, *hp.crops(pretrained=weights is not None))
    budget = Budget(hp.memory_budget_mb // distributed.count_here())

    def bytes_of(size: int) -> int:
        return features(torch.zeros(1, 3, size, size, dtype=torch.uint8)).nbytes

    def validation_features() -> Iterator[torch.Tensor]:
        for part in batched([file for file, _ in own_validation_files], FEATURE_BATCH):
            yield features(read_squares(part, hp.image_size, resize))

    keep_validation = budget.take(len(own_validation_files) * bytes_of(hp.image_size))
    kept_validation = list(validation_features()) if keep_validation else None
    kept_views = 0 if trainable == "all" else min(hp.views, hp.epochs) * len(labels)
    keep_views = kept_views > 0 and budget.take(kept_views * bytes_of(view_size))
    pictures = Pictures([file for file, _ in own_train_files], resize, budget)
    views: dict[int, torch.Tensor] = {}

    def view(indices: torch.Tensor) -> torch.Tensor:
        return features(torch.stack([augment(picture) for picture in pictures[indices]]))

    precision = "bfloat16" if bfloat16 else "float32"
    where = f"{processes} x {device.type}, {precision}"
    print(f"read in {time.monotonic() - started:.1f} s; {trainable} trains; {where}")

    # Loss, optimizer
    criterion = nn.CrossEntropyLoss(
        weight=balance if hp.class_weights else None, label_smoothing=hp.label_smoothing
    ).to(device)
    groups = parameter_groups(trained, hp.learning_rate, pretrained=weights is not None)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=hp.weight_decay, fused=True)
    steps = hp.epochs * epoch_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))
    debugger = Debugger(trained, criterion)
    averaged = distributed.average_gradients(trained)

    def scores(inputs: torch.Tensor) -> torch.Tensor:
        with autocast:
            output: torch.Tensor = averaged(inputs)
        return output.float()

    # What an earlier run of this job left
    journal = Journal(steps)
    best: dict[str, float] = {}
    best_state: dict[str, torch.Tensor] = {}
    training = {**hp.as_dict(), "classes": list(classes), "images": images, "layers": trainable}
    checkpoints = checkpoint.find_folder()
    if saved := distributed.from_first(lambda: checkpoints and checkpoint.load(checkpoints, training)):
        best, best_state = saved["best"], saved["best_state"]
        journal.load_state_dict(saved["journal"])
        trained.load_state_dict(saved["trained"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        print(f"goes on after epoch {len(journal.epochs)}, from {checkpoints}")

    def keep_journal() -> None:
        """Whatever becomes of the training, what it measured is there."""
        if not distributed.rank():
            with writing("the metrics", folder("SM_OUTPUT_DATA_DIR")) as outputs:
                journal.write(outputs)

    # Epochs
    step = len(journal.epochs) * epoch_steps
    for epoch in range(len(journal.epochs) + 1, hp.epochs + 1):
        if hp.patience and journal.epochs_since_highest() >= hp.patience:
            print(f"stops: no higher accuracy for {hp.patience} epochs")
            break
        started = time.monotonic()
        number = (epoch - 1) % hp.views
        with journal.phase("data"):
            if keep_views and number not in views:
                reseed(hp.seed, VIEWS, number, distributed.rank())
                parts = torch.split(torch.arange(len(labels)), FEATURE_BATCH)
                views[number] = collect(map(view, parts), len(labels))
        reseed(hp.seed, EPOCHS, epoch, distributed.rank())
        trained.train()
        debugger.training()
        total = 0.0
        order = list(shuffled(len(labels), epoch_steps))
        shares = distributed.shares([float(balance[labels[indices]].sum()) for indices in order])
        for indices, share in zip(order, shares, strict=True):
            with journal.phase("data"):
                inputs = views[number][indices] if keep_views else view(indices)
            with journal.phase("forward"):
                loss = criterion(scores(inputs), labels[indices].to(device))
            with journal.phase("backward"):
                optimizer.zero_grad(set_to_none=True)
                (loss * (share * processes)).backward()
            with journal.phase("optimizer"):
                nn.utils.clip_grad_norm_(trained.parameters(), MAX_GRADIENT_NORM)
                learning_rate = float(schedule.get_last_lr()[0])
                debugger.scalar("learning_rate", learning_rate)
                optimizer.step()
                schedule.step()
                value = distributed.total(loss.item() * share)
            step += 1
            if not math.isfinite(value):
                fail(f"the loss is {value} at step {step} of {steps}; try a smaller learning_rate", code=1)
            journal.step(step, epoch, value, learning_rate)
            total += value * len(indices)

        validation_started = time.monotonic()
        trained.eval()
        debugger.evaluating()
        distributed.average_statistics(trained)
        with torch.inference_mode():
            output = torch.cat([scores(inputs) for inputs in kept_validation or validation_features()])
            loss = criterion(output, validation_labels)
        correct = (output.argmax(1) == validation_labels).sum().item()
        metrics = {
            "train_loss": total / len(labels),
            "validation_loss": distributed.total(loss.item() * validation_share),
            "validation_accuracy": distributed.total(correct) / validation_images,
        }
        if not math.isfinite(value := metrics["validation_loss"]):
            fail(f"the validation loss is {value} after epoch {epoch}; try a smaller learning_rate", code=1)
        print(metric_line(epoch, **metrics), flush=True)
        ended = time.monotonic()
        seconds = {"seconds": ended - started, "validation_s": ended - validation_started}
        journal.epoch({"epoch": epoch, **metrics, **seconds})
        keep_journal()
        if journal.last_is_best(validation_images):
            best, best_state = {"epoch": epoch, **metrics}, copy.deepcopy(trained.state_dict())
        if checkpoints and not distributed.rank():
            state = {
                "journal": journal.state_dict(),
                "best": best,
                "best_state": best_state,
                "trained": trained.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            }
            checkpoint.save(checkpoints, training, state)
    debugger.close()

    # Artifact
    trained.load_state_dict(best_state)
    card = {
        "architecture": "resnet18",
        "classes": list(classes),
        "preprocessing": {
            "image_size": hp.image_size,
            "resize": resize,
            "interpolation": "bilinear",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "hyperparameters": hp.as_dict(),
        "metrics": {"best_epoch" if name == "epoch" else name: value for name, value in best.items()},
        "weights": "random" if weights is None else weights.name,
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }
    keep_journal()
    if not distributed.rank():
        engines: dict[str, bytes] = {}
        if hp.engines:
            from entrypoints.engines import make  # its libraries are not where trials run

            engines, card["engines"] = make(network, card, train_files, validation_files)
        with writing("the model", folder("SM_MODEL_DIR")) as artifact:
            write_artifact(artifact, network, card, engines)
    print(f"best epoch {best['epoch']}: validation accuracy {best['validation_accuracy']:.4f}")


def main(arguments: Sequence[str] | None = None) -> None:
    # SageMaker stops a job with SIGTERM; as an exception it lets files be closed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    hyperparameters = parse(arguments)
    keep_freed_memory()
    distributed.join()
    print(json.dumps(hyperparameters.as_dict()))
    try:
        train(hyperparameters)
    except (CheckpointError, DatasetError, WeightsError) as error:
        fail(str(error))
    distributed.leave()


if __name__ == "__main__":
    main()
