"""Profiler's built-in rules on system metrics, one function each.

Conditions: smdebug/profiler/analysis/rules in github.com/awslabs/sagemaker-debugger; parameters' names and
defaults: smdebug_rulesconfig.profiler_rules. As there, none fires in the first `patience` samples, and a
machine without a GPU has no GPU that waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from smdebug_rulesconfig.profiler_rules import rules as defaults  # type: ignore[import-untyped]

from local.rules import Finding

GPU, GPU_MEMORY = "GPUUtilization", "GPUMemoryUtilization"
CPU, IO_WAIT = "CPUUtilization", "I/OWaitPercentage"


class Samples:
    """A job's system metrics: events of smdebug's readers (type, name, dimension, value, timestamp)."""

    def __init__(self, events: Sequence[Any]) -> None:
        self._series: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.timestamp):
            # The memory and disk metrics have a name and no dimension.
            self._series[event.dimension or event.name, event.name].append((event.timestamp, event.value))

    def of(self, dimension: str) -> dict[str, list[float]]:
        """The values of each core, GPU or interface in a dimension, in the order of time."""
        return {
            name: [value for _, value in series]
            for (kind, name), series in self._series.items()
            if kind == dimension
        }

    def times(self, dimension: str, meets: Callable[[float], bool]) -> set[float]:
        """When one or more of the values of a dimension met a condition."""
        return {
            time
            for (kind, _), series in self._series.items()
            if kind == dimension
            for time, value in series
            if meets(value)
        }

    @property
    def count(self) -> int:
        """How many times the machine was looked at."""
        return len({time for series in self._series.values() for time, _ in series})


def cpu_bottleneck(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """In more than threshold percent of the time a GPU is idle while a core is busy."""
    return _bottleneck(samples, parameters, CPU, parameters["cpu_threshold"])


def io_bottleneck(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """In more than threshold percent of the time a GPU is idle while a core waits for the disk."""
    return _bottleneck(samples, parameters, IO_WAIT, parameters["io_threshold"])


def low_gpu_utilization(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """A GPU whose last window of samples is low (95th percentile) or swings (5th percentile)."""
    for name, values in samples.of(GPU).items():
        if len(values) <= parameters["patience"]:
            continue
        low, high = np.percentile(values[-int(parameters["window"]) :], (5, 95))
        if high < parameters["threshold_p95"]:
            return Finding(f"95 % of the time {name} is used by less than {high:.0f} %")
        if high > parameters["threshold_p95"] and low < parameters["threshold_p5"]:
            return Finding(f"the use of {name} swings between {low:.0f} and {high:.0f} %")
    return None


def gpu_memory_increase(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """The mean of a window of GPU memory samples rises by more than `increase` in one sample."""
    window = int(parameters["window"])
    for name, values in samples.of(GPU_MEMORY).items():
        if len(values) <= max(window, parameters["patience"]):
            continue
        means = np.convolve(values, np.ones(window) / window, "valid")
        rises = np.diff(means)[max(0, int(parameters["patience"]) - window) :]
        if rises.max() > parameters["increase"]:
            return Finding(f"the memory of {name} rose by {rises.max():.1f} %")
    return None


def _bottleneck(
    samples: Samples, parameters: Mapping[str, float], dimension: str, limit: float
) -> Finding | None:
    if samples.count <= parameters["patience"]:
        return None
    idle = samples.times(GPU, lambda value: value < parameters["gpu_threshold"])
    found = idle & samples.times(dimension, lambda value: value > limit)
    share = 100 * len(found) / samples.count
    if share <= parameters["threshold"]:
        return None
    return Finding(f"in {share:.0f} % of the time a GPU was idle while {dimension} was over {limit:g} %")


SYSTEM_RULES: dict[str, Callable[[Samples, Mapping[str, float]], Finding | None]] = {
    "CPUBottleneck": cpu_bottleneck,
    "GPUMemoryIncrease": gpu_memory_increase,
    "IOBottleneck": io_bottleneck,
    "LowGPUUtilization": low_gpu_utilization,
}
PROFILER_REPORT = "ProfilerReport"


def judge(samples: Samples, rule: str, parameters: Mapping[str, str]) -> Finding | None:
    """What one of SYSTEM_RULES finds, with its own parameters over the defaults."""
    known = getattr(defaults, rule)().rule_parameters
    numbers = {
        key: float(parameters.get(key, value)) for key, value in known.items() if key != "rule_to_invoke"
    }
    return SYSTEM_RULES[rule](samples, numbers)


def usage(samples: Samples) -> dict[str, dict[str, float]]:
    """Percentiles of the machine's use: percent, bytes or operations per second, means over cores or GPUs."""
    found = {}
    for dimension in (CPU, IO_WAIT, "MemoryUsedPercent", GPU, GPU_MEMORY, "IOPS", "Algorithm"):
        if series := list(samples.of(dimension).values()):
            shortest = min(map(len, series))
            mean = np.mean([values[:shortest] for values in series], 0)
            marks = zip(
                ("min", "p50", "p95", "p99", "max"), np.percentile(mean, (0, 50, 95, 99, 100)), strict=True
            )
            found[dimension] = {mark: round(float(value), 2) for mark, value in marks}
    return found
