"""System metrics of this machine while a training job runs, in the files of SageMaker's own profiler.

One JSON object per line, one file per minute, as smdebug.profiler reads them (system_profiler_file_parser.py,
utils.py); names and units as AWS's profiler records them. AWS measures the instance, so this measures the
whole machine, whatever else runs on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psutil

from local.home import clock
from local.home.home import Home
from local.processes.sidecar import sidecar
from local.processes.start import start
from local.s3.transfer import write

DEFAULT_INTERVAL_MS = 500  # API reference, ProfilerConfig
NODE = "algo-1"
_GPU_QUERY = "--query-gpu=index,utilization.gpu,memory.used,memory.total"

Metric = tuple[str, str, str, float]  # Type, Name, Dimension, Value


def output_url(record: Mapping[str, Any]) -> str:
    """The folder of a training job's profile: the path that smdebug's readers take."""
    return (
        f"{record['ProfilerConfig']['S3OutputPath'].rstrip('/')}/{record['TrainingJobName']}/profiler-output"
    )


@contextlib.contextmanager
def profiled(home: Home, record: Mapping[str, Any]) -> Iterator[None]:
    """Sample the machine until the block ends, if the job's record has a ProfilerConfig that asks for it.

    Every full minute, and at the end, a file appears under `output_url`. If one cannot be written (a full
    disk), sampling ends.
    """
    config = record.get("ProfilerConfig", {})
    if "S3OutputPath" not in config or config.get("DisableProfiler"):
        yield
        return
    url = f"{output_url(record)}/system/incremental"
    interval_s = config.get("ProfilingIntervalInMilliseconds", DEFAULT_INTERVAL_MS) / 1000
    lost = f"{record['TrainingJobName']} was not profiled to its end"
    with sidecar("profiler", partial(_sample, home, url, interval_s), (OSError, ValueError), lost):
        yield


def _sample(home: Home, url: str, interval_s: float, ended: threading.Event) -> None:
    machine = _Machine()
    with _gpus(home, interval_s) as gpus:
        minute, lines = 0, list[str]()
        while not ended.wait(interval_s):
            now = clock.now()
            if lines and now // 60 != minute:
                _write(home, url, minute, lines)
                lines = []
            minute = int(now // 60)
            lines += (_line(metric, now) for metric in (*machine.metrics(), *gpus()))
        if lines:
            _write(home, url, minute, lines)


def _line(metric: Metric, timestamp: float) -> str:
    keys = ("Type", "Name", "Dimension", "Value")
    return json.dumps({**dict(zip(keys, metric, strict=True)), "NodeId": NODE, "Timestamp": timestamp}) + "\n"


def _write(home: Home, url: str, minute: int, lines: list[str]) -> None:
    """A minute's file, named by its first second in a folder per hour (UTC)."""
    hour = datetime.fromtimestamp(minute * 60, UTC).strftime("%Y%m%d%H")
    write(home, f"{url}/{hour}/{minute * 60}.{NODE}.json", "".join(lines))


class _Machine:
    """Counters of the machine, as rates since the last look."""

    def __init__(self) -> None:
        psutil.cpu_times_percent(percpu=True)  # the first answer of a thread means nothing
        self._counters = self._read()

    def metrics(self) -> Iterator[Metric]:
        """Percent, operations per second and bytes per second since the last call."""
        for core, times in enumerate(psutil.cpu_times_percent(percpu=True)):
            # AWS counts waiting for the disk as utilization: both may add up to more than 100.
            yield "cpu", f"cpu{core}", "CPUUtilization", round(100 - times.idle, 2)
            if hasattr(times, "iowait"):  # Linux
                yield "cpu", f"cpu{core}", "I/OWaitPercentage", times.iowait
        yield "memory", "MemoryUsedPercent", "", psutil.virtual_memory().percent
        before, self._counters = self._counters, self._read()
        elapsed = self._counters["time"] - before["time"]
        for kind, name, dimension in (
            ("i/o", "IOPS", ""),
            ("i/o", "ReadThroughputInBytesPerSecond", ""),
            ("i/o", "WriteThroughputInBytesPerSecond", ""),
            # A job here uses the machine's network; there is no separate platform network.
            ("network", "ReceiveBytesPerSecond", "Algorithm"),
            ("network", "TransmitBytesPerSecond", "Algorithm"),
        ):
            yield kind, name, dimension, round((self._counters[name] - before[name]) / elapsed, 2)

    @staticmethod
    def _read() -> dict[str, float]:
        # None: a machine without a disk, or without a network.
        disk, network = _disk(), psutil.net_io_counters()
        return {
            "time": time.monotonic(),
            "IOPS": disk.read_count + disk.write_count if disk else 0,
            "ReadThroughputInBytesPerSecond": disk.read_bytes if disk else 0,
            "WriteThroughputInBytesPerSecond": disk.write_bytes if disk else 0,
            "ReceiveBytesPerSecond": network.bytes_recv if network else 0,
            "TransmitBytesPerSecond": network.bytes_sent if network else 0,
        }


def _disk() -> Any:
    """The disks' counters; None without disks, and where /proc and /sys do not show them."""
    try:
        return psutil.disk_io_counters()
    except NotImplementedError:  # psutil's, for the latter
        return None


@contextlib.contextmanager
def _gpus(home: Home, interval_s: float) -> Iterator[Any]:
    """A function that gives the latest figures of every NVIDIA GPU; none where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        yield lambda: ()
        return
    command = [program, _GPU_QUERY, "--format=csv,noheader,nounits", f"--loop-ms={round(interval_s * 1000)}"]
    latest: dict[str, tuple[Metric, Metric]] = {}
    quiet = subprocess.DEVNULL
    with start(
        home.processes, command, os.environ, home.root, stdout=subprocess.PIPE, stderr=quiet
    ) as process:
        assert process.stdout is not None
        reading = threading.Thread(target=_read_gpus, args=(process.stdout, latest))
        reading.start()
        try:
            yield lambda: [metric for pair in list(latest.values()) for metric in pair]
        finally:
            process.end(0)
            reading.join()


def _read_gpus(lines: Iterable[bytes], latest: dict[str, tuple[Metric, Metric]]) -> None:
    for line in lines:
        fields = [field.strip() for field in line.decode().split(",")]
        # A GPU or driver without one of the counters says "[N/A]"; without a driver there is only a message.
        if len(fields) == 4 and all(field.isdigit() for field in fields):
            name, (busy, used, total) = f"gpu{fields[0]}", map(int, fields[1:])
            memory = round(100 * used / total, 2)
            latest[name] = (
                ("gpu", name, "GPUUtilization", float(busy)),
                ("gpu", name, "GPUMemoryUtilization", memory),
            )
    latest.clear()  # it has ended: its last figures are out of date
