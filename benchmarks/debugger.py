"""The cost of Debugger's hook and Profiler (every 500 ms), compared with the same training without them.

Generated pictures, from random weights. All variants train concurrently in turns of a second; the others then
are paused (SIGSTOP), so a slower machine slows all of them. Only the time in which a training was not paused
counts. `losses` saves the losses every 10 steps; `definition` also saves the gradients, as TrainModel does.

  python -m benchmarks.debugger --json debugger.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.growth import generate
from benchmarks.processes import train
from config.sections import Debugger
from entrypoints.contract import TRAIN, TRAINING_EPOCHS, VALIDATION
from entrypoints.debugger import CONFIG_VARIABLE
from local.debugger.profiler import profiled
from local.home.home import Home

DATA = "data"  # the folder of the pictures, beside those of the runs
TURN_S = 1.0
LOOK_EVERY_S = 0.02
SETTINGS = Debugger()
LOSSES = {"losses": {"save_interval": str(SETTINGS.save_interval_steps), "eval.save_interval": "1"}}
GRADIENTS = {"gradients": {"save_interval": str(SETTINGS.tensor_interval_steps)}}
WITHOUT = "without"
VARIANTS: dict[str, Mapping[str, Mapping[str, str]]] = {
    WITHOUT: {},
    "losses": LOSSES,
    "definition": {**LOSSES, **GRADIENTS},
}


@contextlib.contextmanager
def debugged(collections: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    """The hook's configuration in the environment, and the machine sampled as the local service does; neither
    if there is nothing to save.
    """
    if not collections:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        hook = {
            "LocalPath": str(folder / "tensors"),
            "CollectionConfigurations": [
                {"CollectionName": key, "CollectionParameters": values} for key, values in collections.items()
            ],
        }
        (folder / "hook.json").write_text(json.dumps(hook), encoding="utf-8")
        profiler = {
            "S3OutputPath": "s3://bucket/profile",
            "ProfilingIntervalInMilliseconds": SETTINGS.profiler_interval_ms,
        }
        os.environ[CONFIG_VARIABLE] = str(folder / "hook.json")
        with profiled(Home(folder), {"TrainingJobName": "training", "ProfilerConfig": profiler}):
            yield


class TakingTurns:
    """A variant's training in its own process group, paused unless it is its turn.

    `seconds` is its total running time; `epochs` has its running time at the end of each epoch.
    """

    def __init__(self, variant: str, options: Sequence[str], folder: Path) -> None:
        self._measured = folder / variant
        command = [
            sys.executable,
            "-m",
            "benchmarks.debugger",
            *options,
            "--variant",
            variant,
            "--folder",
            str(folder),
        ]
        self._process = subprocess.Popen(command, start_new_session=True)
        self._send(signal.SIGSTOP)
        self.seconds = 0.0
        self.epochs: list[float] = []

    def go_on(self) -> bool:
        """Run for a turn; return whether it has more to do.

        Raises:
            SystemExit: it failed, and has printed why.
        """
        before, began, ended = self.seconds, time.perf_counter(), False
        self._send(signal.SIGCONT)
        while not ended and self.seconds - before < TURN_S:
            time.sleep(LOOK_EVERY_S)
            ended = self._process.poll() is not None
            self.seconds = before + time.perf_counter() - began
            with contextlib.suppress(FileNotFoundError):
                rows = (self._measured / TRAINING_EPOCHS).read_text().count("\n") - 1
                self.epochs += [self.seconds] * (rows - len(self.epochs))
        if not ended:
            self._send(signal.SIGSTOP)
        elif self._process.returncode:
            sys.exit(self._process.returncode)
        return not ended

    def end(self) -> None:
        """Kill its remaining processes."""
        if self._process.poll() is None:
            self._send(signal.SIGKILL)
            self._process.wait()

    def _send(self, number: int) -> None:
        os.killpg(self._process.pid, number)


def measure(runs: int, pictures: int, options: Sequence[str]) -> list[dict[str, Any]]:
    """Median seconds of each variant's trainings and of their epochs without the first (with the start-up);
    and the percentage by which both exceed those of the same run without Debugger.
    """
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    epochs: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        data = generate(Path(name) / DATA, pictures)
        for run in range(runs):
            folder = data.with_name(f"run-{run}")
            trainings = {variant: TakingTurns(variant, options, folder) for variant in VARIANTS}
            try:
                left = list(trainings.values())
                while left:
                    left = [training for training in left if training.go_on()]
            finally:
                for training in trainings.values():
                    training.end()
            for variant, training in trainings.items():
                seconds[variant].append(round(training.seconds, 2))
                first, *_, last = training.epochs
                epochs[variant].append(round((last - first) / (len(training.epochs) - 1), 3))

    def costs(figures: Mapping[str, list[float]], variant: str) -> list[float]:
        pairs = zip(figures[variant], figures[WITHOUT], strict=True)
        return [round(100 * (with_it / without - 1), 1) for with_it, without in pairs]

    return [
        {
            "variant": variant,
            "seconds": seconds[variant],
            "median_s": statistics.median(seconds[variant]),
            "costs_percent": costs(seconds, variant),
            "cost_percent": statistics.median(costs(seconds, variant)),
            "epoch_median_s": statistics.median(epochs[variant]),
            "epoch_costs_percent": costs(epochs, variant),
            "epoch_cost_percent": statistics.median(costs(epochs, variant)),
        }
        for variant in VARIANTS
    ]


def table(figures: Sequence[Mapping[str, Any]]) -> Table:
    result = Table("variant", "training", "cost", "of each run", "epoch", "cost", "of each run")
    for figure in figures:
        result.add_row(
            figure["variant"],
            f"{figure['median_s']:.1f} s",
            f"{figure['cost_percent']:+.1f} %",
            ", ".join(f"{percent:+.1f}" for percent in figure["costs_percent"]),
            f"{figure['epoch_median_s']:.2f} s",
            f"{figure['epoch_cost_percent']:+.1f} %",
            ", ".join(f"{percent:+.1f}" for percent in figure["epoch_costs_percent"]),
        )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    options = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="trainings of each variant")
    parser.add_argument("--pictures", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=8, help="at least 2")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--json", metavar="FILE", type=Path)
    # How this program starts the trainings.
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(options)
    if arguments.runs < 1 or arguments.epochs < 2:
        parser.error("--runs must be at least 1 and --epochs at least 2")
    if arguments.variant:
        hyperparameters = {
            "epochs": arguments.epochs,
            "image_size": arguments.image_size,
            "batch_size": 32,
            "engines": 0,
        }
        data = arguments.folder.with_name(DATA)
        with debugged(VARIANTS[arguments.variant]):
            folders = {TRAIN: data, VALIDATION: data}
            train(folders, None, hyperparameters, measured=arguments.folder / arguments.variant)
        return 0
    figures = measure(arguments.runs, arguments.pictures, options)
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
