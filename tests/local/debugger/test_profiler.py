"""smdebug's own readers read what the profiler writes."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import psutil
import pytest
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader, S3SystemMetricsReader

from local.debugger import profiler
from local.debugger.profiler import profiled

RECORD = {
    "TrainingJobName": "t",
    "ProfilerConfig": {"S3OutputPath": "s3://b/profile", "ProfilingIntervalInMilliseconds": 100},
}


@pytest.fixture(autouse=True)
def bucket(home):
    home.object_path("s3://b").mkdir(parents=True)


def files(home):
    return sorted(home.object_path("s3://b/profile/t/profiler-output/system").rglob("*.json"))


def test_the_machine_is_sampled_for_smdebugs_reader(home):
    began = time.time()
    with profiled(home, RECORD):
        time.sleep(0.55)
    took_s = time.time() - began
    reader = LocalSystemMetricsReader(str(home.object_path("s3://b/profile/t/profiler-output")))
    events = reader.get_events(0, time.time() * 1e6)
    times = sorted({event.timestamp for event in events})
    assert 3 <= len(times) <= took_s / 0.1
    assert began < times[0] < times[-1] < time.time()
    kinds = {(event.type, event.name, event.dimension) for event in events}
    cores = [f"cpu{core}" for core in range(psutil.cpu_count())]
    assert {name for kind, name, dimension in kinds if dimension == "CPUUtilization"} == set(cores)
    assert {name for kind, name, dimension in kinds if kind in ("memory", "i/o", "network")} == {
        "MemoryUsedPercent",
        "IOPS",
        "ReadThroughputInBytesPerSecond",
        "WriteThroughputInBytesPerSecond",
        "ReceiveBytesPerSecond",
        "TransmitBytesPerSecond",
    }
    assert all(0 <= event.value <= 100 for event in events if event.type in ("cpu", "memory"))
    [file] = {file.parent for file in files(home)}
    assert file.name == datetime.fromtimestamp(began, UTC).strftime("%Y%m%d%H")


def test_each_minute_is_a_file_that_appears_when_it_is_over(home, monkeypatch):
    seen = []
    clock = iter([59.0, 59.5, 60.5, 119.0, 120.5, *[121.0] * 1000])

    class Clock:
        @staticmethod
        def now():
            now = 1_600_000_020 + next(clock)  # a full minute
            seen.append((now, [file.name for file in files(home)]))
            return now

    monkeypatch.setattr(profiler, "clock", Clock)
    with profiled(home, RECORD):
        while len(seen) < 6:
            time.sleep(0.02)
    names = [f"{1_600_000_020 + 60 * minute}.algo-1.json" for minute in range(3)]
    assert [found for _, found in seen[:6]] == [[], [], [], names[:1], names[:1], names[:2]]
    assert [file.name for file in files(home)] == names
    lines = [json.loads(line) for line in files(home)[1].read_text().splitlines()]
    assert {line["Timestamp"] - 1_600_000_020 for line in lines} == {60.5, 119.0}


def test_a_job_without_a_profiler_config_or_with_it_switched_off_is_not_sampled(home):
    for config in ({}, {"ProfilerConfig": {**RECORD["ProfilerConfig"], "DisableProfiler": True}}):
        with profiled(home, {"TrainingJobName": "t", **config}):
            time.sleep(0.15)
    assert not list(home.object_path("s3://b").iterdir())


def test_a_full_disk_is_a_warning_and_no_job_fails_for_it(home, caplog):
    folder = home.object_path("s3://b/profile/t/profiler-output/system")
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    with profiled(home, RECORD):
        time.sleep(0.25)
    assert "t was not profiled to its end: " in caplog.text


def test_a_machine_without_disk_and_network_is_sampled(home, monkeypatch):
    def refuse():
        raise NotImplementedError

    monkeypatch.setattr(psutil, "disk_io_counters", refuse)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    with profiled(home, RECORD):
        time.sleep(0.25)
    lines = [json.loads(line) for file in files(home) for line in file.read_text().splitlines()]
    assert {line["Value"] for line in lines if line["Type"] in ("i/o", "network")} == {0.0}


def test_a_job_that_ends_at_once_leaves_no_file(home):
    with profiled(home, RECORD):
        pass
    assert files(home) == []


def test_gpus_are_those_that_nvidia_smi_names(home, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\necho "$@" > "$0.arguments"\n'
        'echo "0, 93, 40000, 80000"; echo "1, [N/A], 1, 2"; echo "2, 7, 8000, 80000"\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with profiled(home, RECORD):
        time.sleep(0.45)
    lines = [json.loads(line) for file in files(home) for line in file.read_text().splitlines()]
    found = {(line["Name"], line["Dimension"]): line["Value"] for line in lines if line["Type"] == "gpu"}
    assert found == {
        ("gpu0", "GPUUtilization"): 93.0,
        ("gpu0", "GPUMemoryUtilization"): 50.0,
        ("gpu2", "GPUUtilization"): 7.0,
        ("gpu2", "GPUMemoryUtilization"): 10.0,
    }
    arguments = program.with_name("nvidia-smi.arguments").read_text()
    assert "utilization.gpu,memory.used,memory.total" in arguments
    assert "--loop-ms=100" in arguments


def test_what_nvidia_smi_said_last_holds_no_longer_than_it_runs():
    latest = {}
    profiler._read_gpus(iter([b"0, 93, 40000, 80000\n"]), latest)
    assert latest == {}


def test_smdebugs_s3_reader_reads_it_over_http(home, server, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }.items():
        monkeypatch.setenv(name, value)
    with profiled(home, RECORD):
        time.sleep(0.25)
    reader = S3SystemMetricsReader("s3://b/profile/t/profiler-output")
    events = reader.get_events(0, time.time() * 1e6)
    assert {event.node_id for event in events} == {"algo-1"}
    assert "CPUUtilization" in {event.dimension for event in events}
