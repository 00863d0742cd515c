"""CPU, memory and GPU during the training, read by smdebug's reader of Profiler's system metrics."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.reporting.parts import Floats, System
from scripts.reporting.store import Store, Unavailable, parallel, spread
from scripts.reporting.tensors import light_smdebug

INTERVALS = 120
# Profiler writes about 150 bytes a metric. This is enough for every plot; of more data, some minutes are left
# out.
MAX_BYTES = 24 * 2**20


def read(store: Store, prefix: str, status: str) -> System:
    """The metrics below `prefix`, a job's profiler-output/system.

    Raises:
        Unavailable: there are no metrics (yet), or they cannot be read.
    """
    files = [(uri, size) for uri, size in store.list(prefix) if uri.endswith(".json")]
    if not files:
        reason = "the training is still running" if status == "InProgress" else "nothing was uploaded"
        raise Unavailable(f"Profiler left no system metrics below {prefix}; {reason}.")
    mean = sum(size for _, size in files) / len(files)
    chosen = spread([uri for uri, _ in files], max(2, int(MAX_BYTES / max(1, mean))))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)

        def fetch(uri: str) -> None:
            path = root / "system" / Path(uri).parent.name / Path(uri).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.read(uri))

        parallel(fetch, chosen)
        return summarize(_events(root, prefix))


def _events(root: Path, prefix: str) -> list[Any]:
    with light_smdebug():
        from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader

    reader = LocalSystemMetricsReader(str(root))
    try:
        reader.parse_event_files([file for files in reader._timestamp_to_filename.values() for file in files])
    except (ValueError, KeyError) as error:
        raise Unavailable(f"The system metrics below {prefix} are damaged ({error!r}).") from error
    events: list[Any] = reader.get_all_event_parsers()[0].get_all_events()
    if not events:
        raise Unavailable(f"The system metrics below {prefix} are empty.")
    return events


def summarize(events: Iterable[Any]) -> System:
    """Averages over at most INTERVALS equal intervals, from smdebug's ProfilerSystemEvents."""
    events = list(events)
    several = len({event.node_id for event in events}) > 1
    series: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        kind, name = _series(event)
        # With several instances, the plot shows the average of their memory.
        name = f"{event.node_id} {name}" if several and name else name
        series[kind, name].append((float(event.timestamp), float(event.value)))
    series.pop(("", ""), None)
    if not series:
        raise Unavailable("The system metrics hold neither CPU nor memory.")
    times = [time for values in series.values() for time, _ in values]
    first, last = min(times), max(times)
    # At least two samples each, if evenly spaced; intervals without samples are left out below.
    count = max(1, min(INTERVALS, max(map(len, series.values())) // 2))
    edges = np.linspace(first, max(last, first + 1), count + 1)

    def places(values: Iterable[float]) -> Any:
        return np.clip(np.searchsorted(edges, list(values), "right") - 1, 0, count - 1)

    measured = np.bincount(places(times), minlength=count) > 0

    def averages(key: tuple[str, str]) -> Floats:
        where = places(time for time, _ in series[key])
        with np.errstate(invalid="ignore"):
            sums = np.bincount(where, [value for _, value in series[key]], count)
            return (sums / np.bincount(where, minlength=count))[measured]

    cores = sorted((name for kind, name in series if kind == "cpu"), key=lambda name: (len(name), name))
    return System(
        seconds=((edges[:-1] + edges[1:]) / 2 - first)[measured],
        cores=cores,
        cpu=np.array([averages(("cpu", name)) for name in cores]).reshape(len(cores), measured.sum()),
        memory=averages(("memory", "")) if ("memory", "") in series else np.full(measured.sum(), np.nan),
        gpu={name: averages((kind, name)) for kind, name in sorted(series) if kind == "gpu"},
    )


def _series(event: Any) -> tuple[str, str]:
    """The curve that an event belongs to; two empty strings: none."""
    if event.dimension == "CPUUtilization":
        return "cpu", event.name
    if event.dimension == "GPUUtilization":
        return "gpu", event.name
    if "MemoryUsedPercent" in (event.name, event.dimension):
        return "memory", ""
    return "", ""
