"""How long the commands take to start, and how long the definition takes to build.

Each figure is the median of several child processes: `--help` for every command, and the definition
built (without the imports) by the function that upsert_pipeline.py calls.

  python -m benchmarks.commands --json commands.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
HELP_GOAL_S = 0.5
DEFINITION_GOAL_S = 1.0
# --help runs a command's top-level imports. The goal is for commands that need neither the SageMaker SDK
# nor torch.
COMMANDS = {
    "cost": HELP_GOAL_S,
    "delete_endpoint": HELP_GOAL_S,
    "doctor": HELP_GOAL_S,
    "endpoints": HELP_GOAL_S,
    "executions": HELP_GOAL_S,
    "predict": HELP_GOAL_S,
    "schedule_retraining": HELP_GOAL_S,
    "score": HELP_GOAL_S,
    "start_execution": HELP_GOAL_S,
    "teardown": HELP_GOAL_S,
    "upload_dataset": HELP_GOAL_S,
    "upsert_pipeline": None,
    "run_local": None,
}
# Prints the seconds of the imports and of the first definition.
BUILD = """
import time
began = time.perf_counter()
from config.settings import load
from pipeline.definition import sealed
from pipeline.pipeline import build_pipeline, pipeline_session
imported = time.perf_counter()
settings = load(environ={})
sealed(build_pipeline(settings, pipeline_session(settings)).definition())
print(imported - began, time.perf_counter() - imported)
"""


def start_up_s(script: str, runs: int) -> list[float]:
    """Seconds of `python scripts/SCRIPT.py --help`, once for each run, after one that warms the disk."""
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--help"]
    seconds = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def definition_s(runs: int) -> tuple[list[float], list[float]]:
    """Seconds of the imports and of building the definition, once for each run, after one to warm up."""
    pairs = []
    for _ in range(runs + 1):
        child = subprocess.run(
            [sys.executable, "-c", BUILD], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        imports, building = child.stdout.split()
        pairs.append((float(imports), float(building)))
    return [first for first, _ in pairs[1:]], [second for _, second in pairs[1:]]


def measure(runs: int) -> list[dict[str, Any]]:
    """One record per figure: what, its runs in seconds, their median and the goal (None for no goal)."""
    figures: list[tuple[str, list[float], float | None]] = [
        (f"{script}.py --help", start_up_s(script, runs), goal_s) for script, goal_s in COMMANDS.items()
    ]
    imports, building = definition_s(runs)
    figures += [
        ("imports of the definition", imports, None),
        ("definition, after imports", building, DEFINITION_GOAL_S),
    ]
    return [
        {"what": what, "runs_s": runs_s, "median_s": statistics.median(runs_s), "goal_s": goal_s}
        for what, runs_s, goal_s in figures
    ]


def table(figures: Sequence[dict[str, Any]]) -> Table:
    result = Table("what", title="seconds")
    for head in ("median", "lowest", "highest", "goal"):
        result.add_column(head, justify="right")
    for figure in figures:
        goal_s = figure["goal_s"]
        result.add_row(
            figure["what"],
            f"{figure['median_s']:.2f}",
            f"{min(figure['runs_s']):.2f}",
            f"{max(figure['runs_s']):.2f}",
            "" if goal_s is None else f"< {goal_s:g}",
        )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="child processes per figure (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs}: at least 1")
    figures = measure(arguments.runs)
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
