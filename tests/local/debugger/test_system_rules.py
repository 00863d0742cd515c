"""Each rule on system metrics fires for a badly used machine, and not for a well used one."""

from __future__ import annotations

import pytest
from smdebug.profiler.system_profiler_file_parser import ProfilerSystemEvent

from local.debugger.system_rules import SYSTEM_RULES, Samples, judge, usage

COUNT = 1200  # the rules' default patience is 1000 samples


def machine(gpu=80.0, gpu_memory=50.0, cpu=50.0, io_wait=1.0, count=COUNT):
    """Samples of two cores and a GPU; each argument is a value, or a function of the sample's index."""
    events = []
    for index in range(count):
        for kind, name, dimension, value in (
            ("gpu", "gpu0", "GPUUtilization", gpu),
            ("gpu", "gpu0", "GPUMemoryUtilization", gpu_memory),
            ("cpu", "cpu0", "CPUUtilization", cpu),
            ("cpu", "cpu1", "CPUUtilization", 10.0),
            ("cpu", "cpu0", "I/OWaitPercentage", io_wait),
            ("memory", "MemoryUsedPercent", "", 30.0),
        ):
            value = value(index) if callable(value) else value
            if value is not None:
                events.append(ProfilerSystemEvent(kind, name, dimension, value, "algo-1", 1e9 + index / 2))
    return Samples(events)


@pytest.mark.parametrize("rule", SYSTEM_RULES)
def test_a_machine_that_is_used_well_has_no_issues(rule):
    assert judge(machine(), rule, {}) is None


@pytest.mark.parametrize(
    ("rule", "used", "reason"),
    [
        ("CPUBottleneck", {"gpu": 5.0, "cpu": 99.0}, "in 100 % of the time a GPU was idle while CPUUtil"),
        ("IOBottleneck", {"gpu": 5.0, "io_wait": 60.0}, "idle while I/OWaitPercentage was over 50 %"),
        ("LowGPUUtilization", {"gpu": 40.0}, "95 % of the time gpu0 is used by less than 40 %"),
        ("LowGPUUtilization", {"gpu": lambda i: 100.0 * (i % 2)}, "gpu0 swings between 0 and 100 %"),
        ("GPUMemoryIncrease", {"gpu_memory": lambda i: 90.0 if i > 1100 else 20.0}, "of gpu0 rose by 14.0 %"),
    ],
)
def test_a_rule_finds_what_it_looks_for(rule, used, reason):
    finding = judge(machine(**used), rule, {})
    assert finding is not None
    assert reason in finding.reason
    assert judge(machine(**used, count=900), rule, {}) is None  # within its patience


@pytest.mark.parametrize(
    ("rule", "used"),
    [
        ("CPUBottleneck", {"gpu": lambda i: 5.0 if i < 1200 else 80.0, "cpu": 99.0}),
        ("IOBottleneck", {"gpu": lambda i: 5.0 if i < 1200 else 80.0, "io_wait": 60.0}),
        ("LowGPUUtilization", {"gpu": lambda i: 5.0 if 1000 < i < 1700 else 80.0}),
    ],
)
def test_a_rule_looks_every_minute_and_finds_what_is_over_at_the_end(rule, used):
    assert judge(machine(**used, count=3000), rule, {}) is not None
    once = {"scan_interval_us": str(3000 * 10**6)}
    assert judge(machine(**used, count=3000), rule, once) is None


def test_a_slow_rise_of_the_memory_is_none():
    assert judge(machine(gpu_memory=lambda i: 20.0 + i / 30), "GPUMemoryIncrease", {}) is None


def test_a_gpu_that_is_seen_later_than_the_cores_has_a_patience_of_its_own():
    late = machine(gpu=lambda i: 5.0 if i >= 300 else None)
    assert judge(late, "LowGPUUtilization", {}) is None
    assert judge(late, "LowGPUUtilization", {"patience": "800"}) is not None


def test_a_rules_own_parameters_go_before_the_defaults():
    assert judge(machine(count=100), "LowGPUUtilization", {"patience": "50"}) is None
    assert judge(machine(count=100), "LowGPUUtilization", {"patience": "50", "threshold_p95": "90"})


def test_a_machine_without_a_gpu_has_none_that_waits():
    samples = machine(gpu=None, gpu_memory=None, cpu=100.0, io_wait=90.0)
    assert [judge(samples, rule, {}) for rule in SYSTEM_RULES] == [None] * len(SYSTEM_RULES)


def test_the_use_of_the_machine_in_percentiles():
    used = usage(machine(cpu=lambda i: float(i % 101), gpu=None, gpu_memory=None))
    # The mean of the two cores.
    assert used["CPUUtilization"] == {"min": 5.0, "p50": 29.75, "p95": 52.5, "p99": 54.5, "max": 55.0}
    assert used["MemoryUsedPercent"]["p50"] == 30.0
    assert "GPUUtilization" not in used
