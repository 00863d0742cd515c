"""Time and memory of `scripts/report.py` for a large test set, and the size of its page.

The execution is generated, in an account like the tests': S3 as files, laid out as on AWS.

  python -m benchmarks.report --json report.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import MIB, watch

ROOT = Path(__file__).resolve().parents[1]

GOAL_S, GOAL_MIB, GOAL_MB = 20.0, 1024.0, 3.0


def measure(classes: int, images: int) -> dict[str, Any]:
    """Seconds of the command, its peak resident set and the size of its page."""
    account: Any = importlib.import_module("tests.scripts.reporting.account")  # untyped
    with tempfile.TemporaryDirectory() as folder:
        names = [f"class {number:04}" for number in range(classes)]
        page = Path(folder) / "report.html"
        with account.Account(Path(folder) / "account", names, images).serve() as url:
            command = [sys.executable, str(ROOT / "scripts" / "report.py"), "latest", f"--local={url}"]
            seconds, peak = watch([*command, f"--output={page}"], stdout=subprocess.DEVNULL)
        return {
            "classes": classes,
            "images": images,
            "seconds": seconds,
            "peak_mib": peak.rss / MIB,
            "page_mb": page.stat().st_size / 1e6,
        }


def table(figures: dict[str, Any]) -> Table:
    result = Table("what", title=f"{figures['images']:,} test images of {figures['classes']:,} classes")
    for head in ("figure", "goal"):
        result.add_column(head, justify="right")
    result.add_row("wall time", f"{figures['seconds']:.1f} s", f"< {GOAL_S:.0f} s")
    result.add_row("peak memory", f"{figures['peak_mib']:.0f} MiB", f"< {GOAL_MIB:.0f} MiB")
    result.add_row("page", f"{figures['page_mb']:.2f} MB", f"< {GOAL_MB:.0f} MB")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=100, help="classes (100)")
    parser.add_argument("--images", type=int, default=10_000, help="test images (10000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    if arguments.classes < 2 or arguments.images < arguments.classes:
        parser.error("at least 2 classes, and at least one image of each")
    figures = measure(arguments.classes, arguments.images)
    Console().print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
