"""Train a network on folders of pictures and write the model artifact.

Folders come from the training toolkit's environment (SM_CHANNEL_..., SM_MODEL_DIR, SM_OUTPUT_DATA_DIR),
hyperparameters from the command line. Each epoch prints one metric line; the best epoch's weights are kept,
and its line is repeated at the end unless it was the last.
SageMaker's SIGTERM never reaches this program (sagemaker-training-toolkit, issue 125): a stopped job is
killed and leaves its epochs' files, each whole or missing.

Several processes (torchrun) train one network: each has a part of the pictures, a step sees `batch_size` in
all, and the first process writes. So hyperparameters found with one process hold for any number.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.nn import functional

from entrypoints import checkpoint, digests, distributed
from entrypoints.backbones import BACKBONES
from entrypoints.batches import full_scale, shuffled, steps_per_epoch
from entrypoints.checkpoint import CheckpointError
from entrypoints.contract import (
    MODEL_CARD,
    PRETRAINED,
    SUSPECTS,
    TRAIN,
    TRAINED_ON,
    VALIDATION,
    VERSION,
    metric_line,
)
from entrypoints.debugger import Debugger
from entrypoints.depth import MAX_VALUE
from entrypoints.folders import DatasetError
from entrypoints.hyperparameters import Hyperparameters, parse
from entrypoints.image import JPEG_RESERVE
from entrypoints.inputs import Inputs, Splits, class_balance, read_splits
from entrypoints.journal import Journal
from entrypoints.model import WeightsError, build, cut, find_weights, write_artifact
from entrypoints.optimizer import BETAS, COME_DOWN, one_cycle, parameter_groups
from entrypoints.program import fail, keep_freed_memory, write_json, writing

MAX_GRADIENT_NORM = 1.0


def folder(variable: str) -> Path:
    """A folder named by the training toolkit."""
    if variable not in os.environ:
        fail(f"{variable} is not set; start this program as a training job, or set its SM_ variables")
    return Path(os.environ[variable])


def channel(name: str) -> Path:
    return folder(f"SM_CHANNEL_{name.upper()}")


def supports_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 runs in hardware; emulated, it is slower than float32."""
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

    # Pictures: each process has a part
    processes = distributed.count()
    splits = read_splits(channel(TRAIN), channel(VALIDATION), processes)
    classes, images, validation_images = splits.classes, len(splits.train), len(splits.validation)
    print(f"{images} training and {validation_images} validation images of {len(classes)} classes")
    max_value = full_scale([file for file, _ in splits.train])
    if max_value != MAX_VALUE:
        print(f"16-bit pictures: their values end at {max_value}, which is white")
    epoch_steps = steps_per_epoch(images, hp.batch_size, processes)
    balance = class_balance(splits) if hp.class_weights else torch.ones(len(classes))
    own, own_validation = distributed.part(splits.train), distributed.part(splits.validation)
    labels, validation_labels = (torch.tensor([n for _, n in part]) for part in (own, own_validation))
    validation_share = len(own_validation) / validation_images
    validation_labels = validation_labels.to(device)

    # Network: frozen layers, whose output for a picture is constant, then the layers that train
    backbone = BACKBONES[hp.backbone]
    weights = find_weights(channel(PRETRAINED))
    pretrained = weights is not None
    network = distributed.synchronize_batch_norm(build(backbone, len(classes), weights)).to(device)
    trainable = hp.layers(pretrained)
    frozen, trained = cut(backbone, network, trainable)
    started = time.monotonic()
    inputs = Inputs(hp, own, own_validation, frozen, device, autocast, pretrained, max_value)
    where = f"{processes} x {device.type}, {'bfloat16' if bfloat16 else 'float32'}"
    print(f"read in {time.monotonic() - started:.1f} s; {trainable} trains; {where}")

    # Loss, optimizer
    criterion = nn.CrossEntropyLoss(
        weight=balance if hp.class_weights else None, label_smoothing=hp.label_smoothing
    ).to(device)
    groups = parameter_groups(backbone, trained, hp.learning_rate, hp.weight_decay, pretrained)
    optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)
    steps = hp.epochs * epoch_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))
    debugger = Debugger(trained, criterion)
    averaged = distributed.average_gradients(trained)
    watched = None
    if hp.engines:
        from entrypoints import suspects  # its libraries take a second to import, and trials do not need them

        watched = suspects.Watched(trained[-1], len(labels), len(classes))

    def scores(batch: torch.Tensor) -> torch.Tensor:
        with autocast:
            output: torch.Tensor = averaged(batch)
        return output.float()

    # An earlier run's checkpoint
    journal = Journal(steps)
    best: dict[str, float] = {}
    best_state: dict[str, torch.Tensor] = {}
    training = {**hp.as_dict(), "classes": list(classes), "images": images, "layers": trainable}
    kept_state = checkpoint.find_file(training)
    if saved := distributed.from_first(lambda: kept_state and checkpoint.load(kept_state)):
        best, best_state = saved["best"], saved["best_state"]
        journal.load_state_dict(saved["journal"])
        trained.load_state_dict(saved["trained"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        print(f"goes on after epoch {len(journal.epochs)}, from {kept_state}")

    def keep_journal() -> None:
        """Whatever becomes of the training, what it measured is there."""
        if not distributed.rank():
            with writing("the metrics", folder("SM_OUTPUT_DATA_DIR")) as outputs:
                journal.write(outputs)

    # Epochs
    step = len(journal.epochs) * epoch_steps
    for epoch in range(len(journal.epochs) + 1, hp.epochs + 1):
        come_down = one_cycle(step, steps) <= COME_DOWN
        if hp.patience and come_down and journal.epochs_since_highest() >= hp.patience:
            print(f"stops: no higher accuracy for {hp.patience} epochs")
            break
        started = time.monotonic()
        with journal.phase("data"):
            inputs.begin(epoch)
        trained.train()
        debugger.training()
        total = 0.0
        order = list(shuffled(len(labels), epoch_steps))
        shares = distributed.shares([float(balance[labels[indices]].sum()) for indices in order])
        for indices, share in zip(order, shares, strict=True):
            with journal.phase("data"):
                batch = inputs[indices]
            with journal.phase("forward"):
                answers = scores(batch)
                loss = criterion(answers, labels[indices].to(device))
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
            if watched:
                watched.add(indices, answers)
            total += value * len(indices)

        validation_started = time.monotonic()
        trained.eval()
        debugger.evaluating()
        distributed.average_statistics(trained)
        with torch.inference_mode():
            output = torch.cat([scores(batch) for batch in inputs.validation()])
            criterion(output, validation_labels)  # for Debugger's rules, which compare it with the training's
            loss = functional.cross_entropy(output, validation_labels)
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
        if kept_state and not distributed.rank():
            state = {
                "journal": journal.state_dict(),
                "best": best,
                "best_state": best_state,
                "trained": trained.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            }
            checkpoint.save(kept_state, state)
    debugger.close()
    if best["epoch"] < len(journal.epochs):
        # A job's metric is its last value: so a tuning job compares the artifacts' epochs.
        kept = {name: value for name, value in best.items() if name != "epoch"}
        print(metric_line(int(best["epoch"]), **kept), flush=True)

    # Artifact
    trained.load_state_dict(best_state)
    model_card = {
        "architecture": backbone.architecture,
        "classes": list(classes),
        "preprocessing": {
            "image_size": hp.image_size,
            "resize": hp.resize,
            "max_value": max_value,
            "jpeg_reserve": JPEG_RESERVE,
            "interpolation": "bilinear",
            "mean": list(backbone.mean),
            "std": list(backbone.std),
        },
        "hyperparameters": hp.as_dict(),
        "metrics": {"best_epoch" if name == "epoch" else name: value for name, value in best.items()},
        "weights": weights.name if weights else "random",
        "objective": {
            "minimized": "cross-entropy of the training pictures",
            "kept": "the epoch with the highest accuracy of the validation pictures",
            "layers": trainable,
        },
        "training_job": os.environ.get("TRAINING_JOB_ARN"),  # None: started by hand
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "image-classification-pipeline": VERSION,
        },
    }
    keep_journal()
    if watched:
        trained.eval()
        with torch.inference_mode():
            answers = torch.cat([scores(batch) for batch in inputs.validation()])
        seen = watched.seen(answers)
        if not distributed.rank():
            said = suspects.find(splits, seen, {name: channel(name) for name in (TRAIN, VALIDATION)})
            with writing("the suspect labels", folder("SM_OUTPUT_DATA_DIR")) as outputs:
                write_json(outputs / SUSPECTS, said)
            print(suspects.sentence(said))
    if not distributed.rank():
        files: dict[str, bytes] = {}
        if hp.engines:
            from entrypoints.engines import make  # trials lack its libraries

            files, said = make(backbone, network, model_card, splits.train, splits.validation, hp.known_share)
            model_card |= said
            files[TRAINED_ON], model_card["data"] = trained_on(splits)
        with writing("the model", folder("SM_MODEL_DIR")) as artifact:
            write_artifact(artifact, network, model_card, files)
        with writing("the model's card", folder("SM_OUTPUT_DATA_DIR")) as outputs:  # the report reads it here
            write_json(outputs / MODEL_CARD, model_card)
    print(f"best epoch {best['epoch']}: validation accuracy {best['validation_accuracy']:.4f}")


def trained_on(splits: Splits) -> tuple[bytes, dict[str, object]]:
    """The pictures that the model has seen: the file TRAINED_ON, and an entry of model.json.

    Pictures by split and class, and the file's SHA-256: the same for the same pictures in any order.
    """
    files = [file for file, _ in (*splits.train, *splits.validation)]
    data = digests.to_bytes(digests.of_files(files))
    entry: dict[str, object] = {}
    for split, labelled in ((TRAIN, splits.train), (VALIDATION, splits.validation)):
        counts = Counter(label for _, label in labelled)
        entry[split] = {name: counts[label] for label, name in enumerate(splits.classes)}
    return data, {**entry, "sha256": hashlib.sha256(data).hexdigest()}


def main(arguments: Sequence[str] | None = None) -> None:
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
