"""What a run of the whole pipeline on this machine costs: time, by step, and memory.

Runs scripts/run_local.py into a home of its own. Options that this program does not know go to
run_local.py.

  python benchmarks/demo.py --json demo.json
  python benchmarks/demo.py --data flowers --parameter Epochs=5
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_EVERY_S = 0.2
MIB = 1 << 20


@dataclass
class Peak:
    """The most memory that a process and all its descendants held at one time, in bytes.

    `rss` counts a page that several processes share once for each of them; `pss` (Linux) shares it out.
    `processes` is how many there were at the peak of rss.
    """

    rss: int = 0
    pss: int = 0
    processes: int = 0


def sample(root: psutil.Process, peak: Peak) -> None:
    """Take one look at a process and its descendants; those that end meanwhile are left out."""
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


def run(options: Sequence[str], home: Path) -> tuple[dict[str, Any], float, Peak]:
    """Run the pipeline; its summary, the seconds of the whole command, and its memory.

    Raises:
        SystemExit: run_local.py failed, and has said why; or it was interrupted.
    """
    summary = home / "summary.json"
    command = [sys.executable, str(ROOT / "scripts" / "run_local.py"), *options]
    began = time.perf_counter()
    child = subprocess.Popen([*command, "--home", str(home), "--summary", str(summary)])
    process, peak, ended = psutil.Process(child.pid), Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            sample(process, peak)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code = child.wait()
    except KeyboardInterrupt:
        code = child.wait()  # it has the interrupt, too, and ends what it started
    finally:
        ended.set()
        watcher.join()
    seconds = time.perf_counter() - began
    if code != 0:
        sys.exit(code)
    return json.loads(summary.read_text(encoding="utf-8")), seconds, peak


def table(figures: dict[str, Any]) -> Table:
    result = Table("what")
    result.add_column("figure", justify="right")
    result.add_row("wall time", f"{figures['seconds']:.1f} s")
    for step in figures["steps"]:
        result.add_row(f"  {step['name']}", f"{step['seconds']:.1f} s")
    result.add_row("trials", str(figures["trials"]))
    result.add_row("test accuracy", f"{figures['test_accuracy']:.2%} of {figures['test_images']}")
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
