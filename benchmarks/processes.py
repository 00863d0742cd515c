"""Run the project's programs as child processes; measure their time and memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from entrypoints.contract import PRETRAINED, RANDOM_WEIGHTS, TRAINING_EPOCHS

ROOT = Path(__file__).resolve().parents[1]

SAMPLE_EVERY_S = 0.2
MIB = 1 << 20
# Runs a program's main() and prints its seconds, without starting Python and importing torch.
TIMED = """
import importlib, sys, time
program = importlib.import_module(f"entrypoints.{sys.argv[1]}")
began = time.perf_counter()
program.main(sys.argv[2:])
print(time.perf_counter() - began)
"""


@dataclass
class Peak:
    """The most memory that a process and all its descendants used at one time, in bytes.

    `rss` counts a page that several processes share once for each of them; `pss` (Linux) divides it among
    them. `processes` is how many there were at the peak of rss.
    """

    rss: int = 0
    pss: int = 0
    processes: int = 0


def sample(root: psutil.Process, peak: Peak) -> None:
    """Sample a process and its descendants once; processes that end meanwhile are left out."""
    rss = pss = count = 0
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            memory = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        rss += memory.rss
        pss += getattr(memory, "pss", 0)
        count += 1
    if rss > peak.rss:
        peak.rss, peak.processes = rss, count
    peak.pss = max(peak.pss, pss)


def watch(command: Sequence[str], **options: Any) -> tuple[float, Peak]:
    """Run a command to its end; return its seconds and its memory. `options` are subprocess.Popen's.

    Raises:
        SystemExit: it failed and has printed why, or it was interrupted.
    """
    began = time.perf_counter()
    child = subprocess.Popen(command, **options)
    process, peak, ended = psutil.Process(child.pid), Peak(), threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            sample(process, peak)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        code = child.wait()
    except KeyboardInterrupt:
        code = child.wait()  # it also gets the interrupt, and ends what it started
    finally:
        ended.set()
        watcher.join()
    if code != 0:
        sys.exit(code)
    return time.perf_counter() - began, peak


def run(program: str, arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[float, Peak]:
    """Run a program of entrypoints/; return the seconds of its main(), and its memory.

    Raises:
        SystemExit: like `watch`.
    """
    with tempfile.TemporaryFile("w+") as output:
        _, peak = watch(
            [sys.executable, "-c", TIMED, program, *arguments],
            env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
        )
        output.seek(0)
        return float(output.read().splitlines()[-1]), peak


def train(
    folders: Mapping[str, Path],
    weights: Path | None,
    hyperparameters: Mapping[str, Any],
    artifact: Path | None = None,
    measured: Path | None = None,
) -> tuple[float, Peak, list[dict[str, Any]]]:
    """Run the training program on `folders` (channel -> folder), from random weights if there are none.

    Returns its seconds, its memory and its record of each epoch. The unpacked model artifact stays at
    `artifact`, the record at `measured`, where it grows epoch by epoch.

    Raises:
        SystemExit: like `watch`.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        job = Path(name)
        (job / "pretrained").mkdir()
        if weights:
            shutil.copy(weights, job / "pretrained")
        else:
            (job / "pretrained" / RANDOM_WEIGHTS).touch()
        channels = {**folders, PRETRAINED: job / "pretrained"}
        environ = {f"SM_CHANNEL_{channel.upper()}": str(folder) for channel, folder in channels.items()}
        measured = measured or job / "output"
        environ |= {"SM_MODEL_DIR": str(artifact or job / "model"), "SM_OUTPUT_DATA_DIR": str(measured)}
        options = [f"--{key}={value}" for key, value in hyperparameters.items()]
        seconds, peak = run("train", options, environ)
        return seconds, peak, pd.read_csv(measured / TRAINING_EPOCHS).to_dict("records")
