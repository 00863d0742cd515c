"""Kills of one training program with a checkpoint folder; it is restarted each time."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.killed_counts import Counts
from benchmarks.killed_pipelines import ROOT, pictures
from entrypoints.checkpoint import CONFIG_VARIABLE
from entrypoints.contract import MODEL_WEIGHTS, RANDOM_WEIGHTS

PICTURES = {"train": 9, "validation": 3}  # of each class
EPOCHS = 10
ARGUMENTS = [f"--epochs={EPOCHS}", "--batch_size=32", "--image_size=32", "--engines=0"]
STATE = "checkpoints"
LOOK_S = 0.02


def measure(
    kills: int, seed: int, folder: Path, report: Callable[[int], None], within_s: float = math.inf
) -> Counts:
    """Kill trainings of ResNet18 at random moments, that often in all.

    An undisturbed training comes first: the others' weights are compared with its weights. Each kill falls
    into a phase drawn from those that are left: the first epoch with what precedes it, another epoch, or what
    follows the last one. There it waits a random share of the time that the phase took undisturbed. After
    `within_s` no other training begins.
    """
    began_all = time.monotonic()
    rng, counts = random.Random(seed), Counts()
    _channels(folder)
    undisturbed = folder / "undisturbed"
    took_s = _phases(_start(folder, undisturbed, "undisturbed"), undisturbed)
    expected = (undisturbed / "model" / MODEL_WEIGHTS).read_bytes()
    while counts.kills < kills and time.monotonic() - began_all < within_s:
        counts.executions += 1
        outputs = folder / f"training-{counts.executions}"
        for attempt in range(kills + 1):
            began_at = time.time()
            phase = rng.randint(_epochs(outputs), EPOCHS)
            wait_s = rng.uniform(0, took_s[phase])
            process = _start(folder, outputs, f"attempt-{attempt}")
            if counts.kills == kills or not _killed(process, outputs, phase, wait_s):
                process.wait()
                break
            counts.kills += 1
            saved_at = [path.stat().st_mtime for path in (outputs / STATE).glob("checkpoint-*")]
            counts.lost_s.append(time.time() - max([began_at, *saved_at]))
            report(counts.kills)
        model = outputs / "model" / MODEL_WEIGHTS
        if process.returncode == 0:
            counts.succeeded += 1
            counts.other_models += model.read_bytes() != expected
        else:
            counts.failures.append((outputs / "log").read_text(encoding="utf-8")[-300:])
        half = [path for path in outputs.rglob(".*") if path.is_file()]
        counts.half_written += len(half)
        counts.failures += [f"half-written: {path}" for path in half]
        shutil.rmtree(outputs)
    return counts


def _epochs(outputs: Path) -> int:
    """How many epochs the attempts have ended."""
    log = outputs / "log"
    lines = (
        re.findall(r"^epoch=(\d+) ", log.read_text(encoding="utf-8"), re.MULTILINE) if log.exists() else []
    )
    return max(map(int, lines), default=0)


def _phases(process: subprocess.Popen[bytes], outputs: Path) -> list[float]:
    """The seconds of each phase of a training: until its first epoch ends, the other epochs, what follows."""
    moments = [time.monotonic()]
    while process.poll() is None:
        moments += [time.monotonic()] * (_epochs(outputs) + 1 - len(moments))
        time.sleep(LOOK_S)
    moments.append(time.monotonic())
    if process.returncode != 0 or len(moments) != EPOCHS + 2:
        raise RuntimeError("the undisturbed training failed")
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def _killed(process: subprocess.Popen[bytes], outputs: Path, phase: int, wait_s: float) -> bool:
    """Kill a training that long after a phase began; False if it ended before."""
    while process.poll() is None and _epochs(outputs) < phase:
        time.sleep(LOOK_S)
    try:
        process.wait(wait_s)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def _channels(folder: Path) -> None:
    digits = pictures(folder, sum(PICTURES.values()))
    for of_class in sorted(digits.iterdir()):
        files = iter(sorted(of_class.iterdir()))
        for channel, count in PICTURES.items():
            (folder / channel / of_class.name).mkdir(parents=True)
            for _ in range(count):
                file = next(files)
                shutil.copy(file, folder / channel / of_class.name / file.name)
    (folder / "pretrained").mkdir()
    (folder / "pretrained" / RANDOM_WEIGHTS).touch()


def _start(folder: Path, outputs: Path, name: str) -> subprocess.Popen[bytes]:
    outputs.mkdir(exist_ok=True)
    config = outputs / "checkpointconfig.json"
    config.write_text(json.dumps({"S3Uri": "s3://killed/state", "LocalPath": str(outputs / STATE)}))
    channels = {f"SM_CHANNEL_{name.upper()}": str(folder / name) for name in (*PICTURES, "pretrained")}
    with (outputs / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "entrypoints.train", *ARGUMENTS],
            cwd=ROOT,
            env={
                **os.environ,
                **channels,
                CONFIG_VARIABLE: str(config),
                "TRAINING_JOB_NAME": name,
                "SM_MODEL_DIR": str(outputs / "model"),
                "SM_OUTPUT_DATA_DIR": str(outputs / "data"),
            },
            stdout=log,
            stderr=log,
        )
