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
    """Median seconds of each variant's trainings and of their epochs but the first, which bears the start;
    and how far both are above those without, in percent: the median of all turns, each held against its own
    training without, so that a machine whose speed drifts from turn to turn misleads less.
    """
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    epochs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        data = generate(Path(name), pictures)
        for _ in range(runs):
            for variant, collections in VARIANTS.items():
                with debugged(collections):
                    took, _, records = train({TRAIN: data, VALIDATION: data}, None, hyperparameters)
                seconds[variant].append(round(took, 2))
                epochs[variant].append(statistics.median(record["seconds"] for record in records[1:]))

    def costs(figures: Mapping[str, list[float]], variant: str) -> list[float]:
        turns = zip(figures[variant], figures["without"], strict=True)
        return [round(100 * (with_it / without - 1), 1) for with_it, without in turns]

    return [
        {
            "variant": variant,
            "seconds": seconds[variant],
            "median_s": statistics.median(seconds[variant]),
            "cost_percent": statistics.median(costs(seconds, variant)),
            "costs_percent": costs(seconds, variant),
            "epoch_median_s": statistics.median(epochs[variant]),
            "epoch_cost_percent": statistics.median(costs(epochs, variant)),
            "epoch_costs_percent": costs(epochs, variant),
        }
        for variant in VARIANTS
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="trainings of each variant")
    parser.add_argument("--pictures", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=5, help="at least 2")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--json", metavar="FILE", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.runs < 1 or arguments.epochs < 2:
        parser.error("--runs must be at least 1 and --epochs at least 2")
    hyperparameters = {
        "epochs": arguments.epochs,
        "image_size": arguments.image_size,
        "batch_size": 32,
        "engines": 0,
    }
    figures = measure(arguments.runs, arguments.pictures, hyperparameters)
    table = Table("variant", "training", "cost", "epoch", "cost", "trainings", "costs of the turns' epochs")
    for figure in figures:
        table.add_row(
            figure["variant"],
            f"{figure['median_s']:.1f} s",
            f"{figure['cost_percent']:+.1f} %",
            f"{figure['epoch_median_s']:.2f} s",
            f"{figure['epoch_cost_percent']:+.1f} %",
            ", ".join(f"{seconds:.1f}" for seconds in figure["seconds"]),
            ", ".join(f"{percent:+.1f}" for percent in figure["epoch_costs_percent"]),
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
