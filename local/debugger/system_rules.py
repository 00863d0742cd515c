"""Profiler's built-in rules on system metrics, one function each.

Conditions: smdebug/profiler/analysis/rules in github.com/awslabs/sagemaker-debugger; parameters' names and
defaults: smdebug_rulesconfig.profiler_rules. As there, a rule runs after each scan interval on what was
recorded by then, no rule fires in the first `patience` samples, and without a GPU there is no waiting GPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from smdebug_rulesconfig.profiler_rules import rules as defaults  # type: ignore[import-untyped]

from local.debugger.tensor_rules import Finding

Values = np.ndarray[Any, Any]

GPU, GPU_MEMORY = "GPUUtilization", "GPUMemoryUtilization"
CPU, IO_WAIT = "CPUUtilization", "I/OWaitPercentage"


class Samples:
    """A job's system metrics: events of smdebug's readers (type, name, dimension, value, timestamp)."""

    def __init__(self, events: Sequence[Any]) -> None:
        series = defaultdict[tuple[str, str], list[tuple[float, float]]](list)
        for event in sorted(events, key=lambda event: event.timestamp):
            # The memory and disk metrics have a name and no dimension.
            series[event.dimension or event.name, event.name].append((event.timestamp, event.value))
        self._series = {key: np.array(pairs).T for key, pairs in series.items()}
        self.times = np.unique([event.timestamp for event in events])  # when the machine was looked at

    def of(self, dimension: str) -> dict[str, tuple[Values, Values]]:
        """The times and the values of each core, GPU or interface in a dimension, ordered by time."""
        return {
            name: (times, values)
            for (kind, name), (times, values) in self._series.items()
            if kind == dimension
        }

    def when(self, dimension: str, meets: Callable[[Values], Values]) -> Values:
        """For each of `times` whether one or more of the values of a dimension met a condition."""
        met = [times[meets(values)] for times, values in self.of(dimension).values()]
        return np.isin(self.times, np.concatenate([[], *met]))

    def scans(self, interval_us: float) -> Values:
        """When a rule looks at what was recorded until then: after each interval, and at the end."""
        first, last = self.times[[0, -1]]
        return np.append(np.arange(first + interval_us / 1e6, last, interval_us / 1e6), last)


def cpu_bottleneck(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """In more than threshold percent of the time a GPU is idle while a core is busy."""
    return _bottleneck(samples, parameters, CPU, parameters["cpu_threshold"])


def io_bottleneck(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """In more than threshold percent of the time a GPU is idle while a core waits for the disk."""
    return _bottleneck(samples, parameters, IO_WAIT, parameters["io_threshold"])


def low_gpu_utilization(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """A GPU whose last window of samples is low (95th percentile) or swings (5th percentile)."""
    for until in samples.scans(parameters["scan_interval_us"]):
        for name, (times, values) in samples.of(GPU).items():
            known = values[times <= until]
            if len(known) <= parameters["patience"]:
                continue
            low, high = np.percentile(known[-int(parameters["window"]) :], (5, 95))
            if high < parameters["threshold_p95"]:
                return Finding(f"95 % of the time {name} is used by less than {high:.0f} %")
            if high > parameters["threshold_p95"] and low < parameters["threshold_p5"]:
                return Finding(f"the use of {name} swings between {low:.0f} and {high:.0f} %")
    return None


def gpu_memory_increase(samples: Samples, parameters: Mapping[str, float]) -> Finding | None:
    """The mean of a window of GPU memory samples exceeds that of the window before by more than `increase`.

    As in smdebug, the window before lacks its latest sample.
    """
    window = int(parameters["window"])
    first = int(max(window + 1, parameters["patience"]))  # the first sample that is looked at
    for name, (_, values) in samples.of(GPU_MEMORY).items():
        if len(values) <= first or window < 2:
            continue
        now = np.lib.stride_tricks.sliding_window_view(values, window).mean(1)[1:]
        before = np.lib.stride_tricks.sliding_window_view(values, window - 1).mean(1)[: len(now)]
        rise = float((now - before)[first - window :].max())
        if rise > parameters["increase"]:
            return Finding(f"the memory of {name} rose by {rise:.1f} %")
    return None


def _bottleneck(
    samples: Samples, parameters: Mapping[str, float], dimension: str, limit: float
) -> Finding | None:
    idle = samples.when(GPU, lambda values: values < parameters["gpu_threshold"])
    found = np.cumsum(idle & samples.when(dimension, lambda values: values > limit))
    for until in samples.scans(parameters["scan_interval_us"]):
        count = int(np.searchsorted(samples.times, until, "right"))
        share = 100 * found[count - 1] / count
        if count > parameters["patience"] and share > parameters["threshold"]:
            return Finding(
                f"in {share:.0f} % of the time a GPU was idle while {dimension} was over {limit:g} %"
            )
    return None


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
        if series := [values for _, values in samples.of(dimension).values()]:
            shortest = min(map(len, series))
            mean = np.mean([values[:shortest] for values in series], 0)
            marks = zip(
                ("min", "p50", "p95", "p99", "max"), np.percentile(mean, (0, 50, 95, 99, 100)), strict=True
            )
            found[dimension] = {mark: round(float(value), 2) for mark, value in marks}
    return found
