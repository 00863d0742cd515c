"""The cost of a run of the whole pipeline on this machine: time, by step, and memory.

Runs scripts/run_local.py in a new home. Unknown options go to
run_local.py.

  python -m benchmarks.demo --json demo.json
  python -m benchmarks.demo --data flowers --parameter Epochs=5
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import MIB, Peak, watch
from entrypoints.verdict import percent

ROOT = Path(__file__).resolve().parents[1]


def run(options: Sequence[str], home: Path) -> tuple[dict[str, Any], float, Peak]:
    """Run the pipeline; return its summary, the seconds of the whole command, and its memory.

    Raises:
        SystemExit: run_local.py failed, and has printed why; or it was interrupted.
    """
    summary = home / "summary.json"
    command = [sys.executable, str(ROOT / "scripts" / "run_local.py"), *options]
    seconds, peak = watch([*command, "--home", str(home), "--summary", str(summary)])
    return json.loads(summary.read_text(encoding="utf-8")), seconds, peak


def table(figures: dict[str, Any]) -> Table:
    result = Table("what")
    result.add_column("figure", justify="right")
    result.add_row("wall time", f"{figures['seconds']:.1f} s")
    for step in figures["steps"]:
        result.add_row(f"  {step['name']}", f"{step['seconds']:.1f} s")
    result.add_row("trials", str(figures["trials"]))
    result.add_row("test accuracy", f"{percent(figures['test_accuracy'])} of {figures['test_images']}")
    result.add_row("peak memory, shared pages counted once", f"{figures['peak_pss_mib']} MiB")
    result.add_row("peak memory, sum of resident sets", f"{figures['peak_rss_mib']} MiB")
    result.add_row("processes at that peak", str(figures["processes"]))
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments, options = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as home:
        summary, seconds, peak = run(options, Path(home))
    figures = {
        "seconds": round(seconds, 1),
        "steps": summary["steps"],
        "trials": len(summary["trials"]),
        "test_accuracy": summary["test_accuracy"],
        "test_images": summary["test_images"],
        "peak_rss_mib": peak.rss // MIB,
        "peak_pss_mib": peak.pss // MIB,
        "processes": peak.processes,
    }
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
