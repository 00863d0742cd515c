"""What Debugger's hook and 500 ms of Profiler cost a training, against the same training without them.

Generated pictures, from random weights. The trainings take turns, so that a machine that slows down slows all
of them. `losses` saves the losses every 10 steps; `definition` also the gradients, as TrainModel does.

  python benchmarks/debugger.py --json debugger.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.growth import generate  # noqa: E402
from benchmarks.processes import train  # noqa: E402
from config.settings import Debugger  # noqa: E402
from entrypoints.contract import TRAIN, VALIDATION  # noqa: E402
from entrypoints.debugger import CONFIG_VARIABLE  # noqa: E402
from local.home import Home  # noqa: E402
from local.profiler import profiled  # noqa: E402

SETTINGS = Debugger()
LOSSES = {"losses": {"save_interval": str(SETTINGS.save_interval_steps), "eval.save_interval": "1"}}
GRADIENTS = {"gradients": {"save_interval": str(SETTINGS.tensor_interval_steps)}}
VARIANTS: dict[str, Mapping[str, Mapping[str, str]]] = {
    "without": {},
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
        try:
            with profiled(Home(folder), {"TrainingJobName": "training", "ProfilerConfig": profiler}):
                yield
        finally:
            del os.environ[CONFIG_VARIABLE]


def measure(runs: int, pictures: int, hyperparameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Seconds of each variant's trainings and their median's cost over those without, in percent."""
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        data = generate(Path(name), pictures)
        for _ in range(runs):
            for variant, collections in VARIANTS.items():
                with debugged(collections):
                    took, _, _ = train({TRAIN: data, VALIDATION: data}, None, hyperparameters)
                seconds[variant].append(round(took, 2))
    plain = statistics.median(seconds["without"])
    return [
        {
            "variant": variant,
            "seconds": took,
            "median_s": statistics.median(took),
            "cost_percent": round(100 * (statistics.median(took) / plain - 1), 1),
        }
        for variant, took in seconds.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="trainings of each variant")
    parser.add_argument("--pictures", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--json", metavar="FILE", type=Path)
    arguments = parser.parse_args(argv)
    hyperparameters = {"epochs": arguments.epochs, "image_size": arguments.image_size, "batch_size": 32}
    figures = measure(arguments.runs, arguments.pictures, hyperparameters)
    table = Table("variant", "median", "cost", "runs")
    for figure in figures:
        runs = ", ".join(f"{seconds:.1f}" for seconds in figure["seconds"])
        table.add_row(
            figure["variant"], f"{figure['median_s']:.1f} s", f"{figure['cost_percent']:+.1f} %", runs
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
