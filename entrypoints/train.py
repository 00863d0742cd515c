"""Train a ResNet18 on folders of pictures and write the model artifact.

Folders come from the training toolkit's environment (SM_CHANNEL_..., SM_MODEL_DIR, SM_OUTPUT_DATA_DIR),
hyperparameters from the command line. One metric line per epoch; the best epoch's weights are kept.
"""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from entrypoints.batches import Pictures, augmentation, read_squares, shuffled, steps_per_epoch
from entrypoints.contract import PRETRAINED, TRAIN, VALIDATION, metric_line
from entrypoints.dataset import DatasetError, read_split
from entrypoints.debugger import Debugger
from entrypoints.hyperparameters import Hyperparameters, parse
from entrypoints.model import MEAN, STD, WeightsError, build, find_weights, write_artifact
from entrypoints.program import fail, write_json
from entrypoints.serving.predictor import normalize

WARM_UP = 0.2  # share of all steps
MAX_GRADIENT_NORM = 1.0
# Layers near the input change little between tasks; they learn this much slower when they come pretrained.
PRETRAINED_RATE = 0.1
FRESH_LAYERS = ("layer4.", "fc.")


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


def parameter_groups(network: nn.Module, learning_rate: float, pretrained: bool) -> list[dict[str, Any]]:
    """Optimizer groups: weights that come pretrained learn slower than fresh ones."""
    fresh = [p for name, p in network.named_parameters() if name.startswith(FRESH_LAYERS)]
    trunk = [p for name, p in network.named_parameters() if not name.startswith(FRESH_LAYERS)]
    trunk_rate = learning_rate * (PRETRAINED_RATE if pretrained else 1)
    return [{"params": fresh, "lr": learning_rate}, {"params": trunk, "lr": trunk_rate}]


def one_cycle(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0."""
    warm_up = max(1, round(steps * WARM_UP))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / (steps - warm_up + 1)))


def refuse_several_instances() -> None:
    """This program is not distributed: each instance would train alone and the artifacts would collide."""
    hosts = json.loads(os.environ.get("SM_HOSTS", "[]"))
    if len(hosts) > 1:
        fail(
            f"the job has {len(hosts)} instances and this program trains on one; set the instance count to 1"
        )


def train(hp: Hyperparameters) -> None:
    refuse_several_instances()
    torch.manual_seed(hp.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bfloat16 = supports_bfloat16(device)

    # Pictures
    classes, train_files = read_split(channel(TRAIN))
    validation_classes, validation_files = read_split(channel(VALIDATION))
    if validation_classes != classes:
        fail(f"train has the classes {', '.join(classes)}, validation has {', '.join(validation_classes)}")
    started = time.monotonic()
    resize = round(hp.image_size * 8 / 7)  # 256 for 224, as torchvision's own recipe
    pictures = Pictures([file for file, _ in train_files], resize)
    labels = torch.tensor([label for _, label in train_files])
    augment = augmentation(hp.image_size, hp.crop_scale, bool(hp.horizontal_flip))
    squares = read_squares([file for file, _ in validation_files], hp.image_size, resize)
    validation_labels = torch.tensor([label for _, label in validation_files])
    print(f"{len(labels)} training and {len(validation_labels)} validation images of {len(classes)} classes")
    print(
        f"read in {time.monotonic() - started:.1f} s; {device.type}, {'bfloat16' if bfloat16 else 'float32'}"
    )

    # Network, loss, optimizer
    weights = find_weights(channel(PRETRAINED))
    network = build(len(classes), weights).to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=hp.label_smoothing)
    groups = parameter_groups(network, hp.learning_rate, pretrained=weights is not None)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=hp.weight_decay, fused=True)
    steps = hp.epochs * steps_per_epoch(len(labels), hp.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
    debugger = Debugger(network, criterion)

    def scores(pixels: torch.Tensor) -> torch.Tensor:
        batch = normalize(pixels.to(device, non_blocking=True), MEAN, STD)
        with autocast:
            output: torch.Tensor = network(batch.contiguous(memory_format=torch.channels_last))
        return output.float()

    # Epochs
    history: list[dict[str, float]] = []
    best: dict[str, float] = {}
    best_state: dict[str, torch.Tensor] = {}
    step = 0
    for epoch in range(1, hp.epochs + 1):
        started = time.monotonic()
        network.train()
        debugger.training()
        total = 0.0
        for indices in shuffled(len(labels), hp.batch_size):
            batch = torch.stack([augment(pictures[i]) for i in indices.tolist()])
            loss = criterion(scores(batch), labels[indices].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
            debugger.scalar("learning_rate", float(schedule.get_last_lr()[0]))
            optimizer.step()
            schedule.step()
            step += 1
            if not math.isfinite(value := loss.item()):
                fail(f"the loss is {value} at step {step} of {steps}; try a smaller learning_rate", code=1)
            total += value * len(indices)

        network.eval()
        debugger.evaluating()
        with torch.inference_mode():
            output = torch.cat([scores(pixels).cpu() for pixels in torch.split(squares, 4 * hp.batch_size)])
        metrics = {
            "train_loss": total / len(labels),
            "validation_loss": criterion(output, validation_labels).item(),
            "validation_accuracy": (output.argmax(1) == validation_labels).double().mean().item(),
        }
        if not math.isfinite(value := metrics["validation_loss"]):
            fail(f"the validation loss is {value} after epoch {epoch}; try a smaller learning_rate", code=1)
        print(metric_line(epoch, **metrics), flush=True)
        history.append({"epoch": epoch, **metrics, "seconds": round(time.monotonic() - started, 3)})
        if not best or rank(metrics) > rank(best):
            best, best_state = history[-1], copy.deepcopy(network.state_dict())
    debugger.close()

    # Artifact
    network.load_state_dict(best_state)
    write_artifact(
        folder("SM_MODEL_DIR"),
        network,
        {
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
            "metrics": {"best_epoch": best["epoch"], **{k: best[k] for k in metrics}},
            "weights": "random" if weights is None else weights.name,
            "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        },
    )
    write_json(folder("SM_OUTPUT_DATA_DIR") / "metrics.json", history)
    print(f"best epoch {best['epoch']}: validation accuracy {best['validation_accuracy']:.4f}")


def rank(metrics: dict[str, float]) -> tuple[float, float]:
    """Epochs are compared by accuracy, then by loss."""
    return metrics["validation_accuracy"], -metrics["validation_loss"]


def main(arguments: Sequence[str] | None = None) -> None:
    # SageMaker stops a job with SIGTERM; as an exception it lets files be closed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    hyperparameters = parse(arguments)
    print(json.dumps(hyperparameters.as_dict()))
    try:
        train(hyperparameters)
    except (DatasetError, WeightsError) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
