"""ProfilerReport's deliverable: profiler-report.html, and a JSON file of what each rule found beside it.

Names and places: the rule's output on AWS, ".../profiler-output/profiler-report.html" and
".../profiler-output/profiler-reports/IOBottleneck.json" (aws/amazon-sagemaker-examples, sagemaker-debugger).
AWS renders a notebook; this page has its tables and needs nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from local.debugger.system_rules import CPU, SYSTEM_RULES, Samples, judge, usage
from local.debugger.tensor_rules import Finding
from local.wire.html import template

PAGE = "profiler-report.html"
FINDINGS = "profiler-reports"
POINTS = 200  # of the curve
# What a rule looks for, and what to do about it. Advice: "List of Debugger built-in profiler rules" in the
# developer guide.
_ADVICE = {
    "CPUBottleneck": (
        "A GPU that is idle while a core is busy",
        "Load with more processes, or use an instance with more cores per GPU.",
    ),
    "GPUMemoryIncrease": (
        "GPU memory that keeps growing",
        "Look for tensors that are kept from step to step, or use a smaller batch.",
    ),
    "IOBottleneck": (
        "A GPU that is idle while a core waits for the disk",
        "Read the data into memory first, or from a faster disk.",
    ),
    "LowGPUUtilization": (
        "A GPU that is used little or irregularly",
        "Use a larger batch, or a smaller instance.",
    ),
}
# How `usage` names what it measured, in words and with its unit.
_UNITS = {
    CPU: ("CPU in use, mean of the cores", "%"),
    "I/OWaitPercentage": ("Waiting for the disk, mean of the cores", "%"),
    "MemoryUsedPercent": ("Memory in use", "%"),
    "GPUUtilization": ("GPU in use", "%"),
    "GPUMemoryUtilization": ("GPU memory in use", "%"),
    "IOPS": ("Disk operations", "per second"),
    "Algorithm": ("Network", "bytes per second"),
}


def write(samples: Samples, job: str, parameters: Mapping[str, str], folder: Path) -> Finding | None:
    """Write the page and the findings of every rule on system metrics; return what they found together.

    Args:
        parameters: ProfilerReport's; they hold those of all rules (CPUBottleneck_threshold, in any case).
    """
    found = {rule: judge(samples, rule, _own(parameters, rule)) for rule in SYSTEM_RULES}
    used = usage(samples)
    reports: dict[str, dict[str, Any]] = {"OverallSystemUsage": {"RuleTriggered": 0, "Details": used}}
    for rule, finding in found.items():
        details = {"reason": finding.reason} if finding else {}
        reports[rule] = {"RuleTriggered": int(finding is not None), "Details": details}
    (folder / FINDINGS).mkdir(parents=True, exist_ok=True)
    for name, report in reports.items():
        text = json.dumps({**report, "Datapoints": len(samples.times)}, indent=1)
        (folder / FINDINGS / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / PAGE).write_text(_page(samples, job, used, found), encoding="utf-8", errors="replace")
    reasons = [f"{rule}: {finding.reason}" for rule, finding in found.items() if finding]
    return Finding("; ".join(reasons)) if reasons else None


def _own(parameters: Mapping[str, str], rule: str) -> dict[str, str]:
    """The parameters of one of the rules, by their own names."""
    prefix = f"{rule.lower()}_"
    return {
        key[len(prefix) :].lower(): value
        for key, value in parameters.items()
        if key.lower().startswith(prefix)
    }


def _page(
    samples: Samples,
    job: str,
    used: Mapping[str, Mapping[str, float]],
    found: Mapping[str, Finding | None],
) -> str:
    first, last = samples.times[[0, -1]]
    return template(Path(__file__).with_name("profiler_report.html")).render(
        job=job,
        began=datetime.fromtimestamp(first, UTC),
        seconds=last - first,
        looks=len(samples.times),
        usage=[(*_UNITS[dimension], marks) for dimension, marks in used.items()],
        rules=[(rule, *_ADVICE[rule], finding) for rule, finding in found.items()],
        gpus=len(samples.of("GPUUtilization")),
        cores=len(samples.of(CPU)),
        curve=_curve(samples),
    )


def _curve(samples: Samples) -> str:
    """The points of an SVG polyline, 600 wide and 100 high: the mean use of the cores over time."""
    series = [values for _, values in samples.of(CPU).values()]
    if not series or len(series[0]) < 2:
        return ""
    shortest = min(map(len, series))
    mean = np.mean([values[:shortest] for values in series], 0)
    parts = np.array_split(mean, min(POINTS, len(mean)))
    places = np.linspace(0, 600, len(parts))
    return " ".join(f"{x:.1f},{100 - np.mean(part):.1f}" for x, part in zip(places, parts, strict=True))
