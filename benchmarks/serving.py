"""From a JPEG picture's bytes to the answer, over HTTP on the loopback: this project's endpoint and its
peers.

The servers take turns, are restarted in every round, and get the same pictures and weights; figures are
medians over the rounds. Servers that cannot run here (no Java, no environment) are left out, and the table
says why.

  bash benchmarks/peers/environment.sh
  python -m benchmarks.serving --data hymenoptera_data --json serving.json
  python -m benchmarks.serving --model model.tar.gz --only uvicorn --soak 10
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import artifact
from benchmarks.load import Load, closed_loop, open_loop, request, run
from benchmarks.servers import CORES, SERVERS, Absent, NotReady, Place, Server
from benchmarks.serving_tables import tables
from benchmarks.soak import soak
from entrypoints.contract import JPEG, VALIDATION
from entrypoints.serving.predictor import has_vnni

ROOT = Path(__file__).resolve().parents[1]

CLIENTS = (1, 4, 16, 64)
CEILING_CLIENTS = 16
OVERLOAD = 2
ALONE_S = 3.0
Figures = dict[str, Any]


def summary(load: Load) -> Figures:
    return {
        "requests_per_s": load.answered / load.seconds,
        "p50_ms": load.percentile_ms(50),
        "p99_ms": load.percentile_ms(99),
        "answered": len(load.latencies_s),
        "rejected": load.rejected,
        "errors": load.errors,
        "failures": dict(load.failures),
    }


def middle(rounds: Sequence[Figures]) -> Figures:
    """The medians of the rounds' figures; counts add up."""
    figures: Figures = {}
    for name in ("requests_per_s", "p50_ms", "p99_ms"):
        values = [each[name] for each in rounds if each[name] is not None]
        figures[name] = median(values) if values else None
    for name in ("answered", "rejected", "errors"):
        figures[name] = sum(each[name] for each in rounds)
    return figures | {"failures": [each["failures"] for each in rounds if each["failures"]]}


def alone(processes: int, *arguments: object, path: Path | None = None) -> list[float]:
    """The figures of several processes of alone.py that run in parallel.

    Raises:
        SystemExit: one failed and has printed why.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path or "")}
    command = [sys.executable, str(ROOT / "benchmarks" / "alone.py"), *map(str, arguments)]
    with contextlib.ExitStack() as stack:
        children: list[Any] = []
        for _ in range(processes):
            child = subprocess.Popen(
                command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            children.append(child)
        ready = [child.stdout.readline() for child in children]
        if not all(ready):
            sys.exit(1)
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        return [float(child.stdout.read()) for child in children]


def limits(place: Place, pictures: Path) -> Figures:
    """The limits set by decoding and the model alone and, with VNNI, by the processor's speed.

    Without it torch has no fast product of int8, and its time says nothing.
    """
    folder = place.artifact
    answers = alone(CORES, "answers", folder, ALONE_S, pictures, path=folder)
    [model_ms] = alone(1, "model", folder, ALONE_S, path=folder)
    figures: Figures = {"images_per_s": sum(answers), "model_ms": model_ms}
    if has_vnni():
        [figures["floor_ms"]] = alone(1, "floor", ALONE_S)
    return figures


def visit(name: str, server: Server, requests: Sequence[bytes], seconds: float) -> Figures:
    """The figures of one server in one round."""
    clients = (CEILING_CLIENTS,) if name == "counting" else CLIENTS
    return {
        "start_s": server.healthy_s,
        "engine": server.engine,
        "clients": {n: summary(run(closed_loop(server.port, requests, n, seconds))) for n in clients},
    }


def measure(
    place: Place, pictures: Path, names: Sequence[str], rounds: int, seconds: float, soak_minutes: float
) -> Figures:
    """All figures; see `report`."""
    requests = [request(path.read_bytes(), JPEG) for path in sorted(pictures.iterdir())]
    alone_rounds = []
    visits: dict[str, list[Figures]] = {}
    skipped: dict[str, str] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}: alone", end="", file=sys.stderr, flush=True)
        alone_rounds.append(limits(place, pictures))
        for name in names:
            if name in skipped:
                continue
            print(f", {name}", end="", file=sys.stderr, flush=True)
            try:
                with SERVERS[name](place) as server:
                    visits.setdefault(name, []).append(visit(name, server, requests, seconds))
            except (Absent, NotReady) as error:
                skipped[name] = str(error)
        print(file=sys.stderr)
    figures = report(visits, alone_rounds) | {"skipped": skipped}
    if "uvicorn" in visits:
        with SERVERS["uvicorn"](place) as server:
            per_second = OVERLOAD * figures["servers"]["uvicorn"]["clients"][16]["requests_per_s"]
            load = run(open_loop(server.port, requests, per_second, max(seconds, 5.0)))
            figures["overload"] = {"sent_per_s": per_second, **summary(load)}
            if soak_minutes:
                figures["soak"] = run(soak(server, requests, soak_minutes))
    return figures


def report(visits: dict[str, list[Figures]], alone_rounds: Sequence[Figures]) -> Figures:
    """Medians over the rounds of every server's figures, and ratios: medians over those of each round."""
    servers = {
        name: {
            "start_s": median(each["start_s"] for each in rounds),
            "engine": rounds[0]["engine"],
            "clients": {n: middle([each["clients"][n] for each in rounds]) for n in rounds[0]["clients"]},
        }
        for name, rounds in visits.items()
    }

    def at_16(name: str) -> list[float]:
        return [each["clients"][16]["requests_per_s"] for each in visits.get(name, [])]

    def ratio(left: Sequence[float], right: Sequence[float]) -> float | None:
        pairs = [(a, b) for a, b in zip(left, right, strict=False) if b]
        return median(a / b for a, b in pairs) if pairs else None

    ours = servers.get("uvicorn", {}).get("clients", {})
    figures: Figures = {
        "ratio_vs_torchserve_16": ratio(at_16("uvicorn"), at_16("torchserve-tuned")),
        "ratio_ray_vs_example_16": ratio(at_16("ray"), at_16("ray-example")),
        "ratio_ray_vs_tuned_example_16": ratio(at_16("ray"), at_16("ray-example-tuned")),
        "fraction_of_limit": ratio(at_16("uvicorn"), [each["images_per_s"] for each in alone_rounds]),
        "fraction_of_floor": ratio(
            [each["floor_ms"] for each in alone_rounds if "floor_ms" in each],
            [each["model_ms"] for each in alone_rounds],
        ),
        "alone": {key: median(each[key] for each in alone_rounds) for key in alone_rounds[0]},
        "servers": servers,
    }
    if ours:
        figures |= {
            "p99_ms_1": ours[1]["p99_ms"],
            "p99_ms_16": ours[16]["p99_ms"],
            "errors": sum(each["errors"] + each["rejected"] for each in ours.values()),
            "start_s": servers["uvicorn"]["start_s"],
        }
    return figures


def prepare(arguments: argparse.Namespace, folder: Path) -> tuple[Place, Path]:
    """The artifact to serve and the pictures to send, below `folder`."""
    channels = artifact.generate(folder / "generated")
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, path in enumerate(artifact.jpegs(arguments.data or channels[VALIDATION])):
        shutil.copy(path, pictures / f"{number:03}.jpg")
    archive = arguments.model or artifact.archive(channels, folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "artifact", filter="data")
    picture = min(pictures.iterdir()).read_bytes()
    return Place(archive, folder / "artifact", picture, arguments.peers), pictures


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    option = parser.add_argument
    option("--model", type=Path, metavar="FILE", help="a model archive; without it one is trained")
    option("--data", type=Path, metavar="DIR", help="send this folder's JPEG files instead of generated ones")
    option("--seconds", type=float, default=3.0, help="of each load (3)")
    option("--rounds", type=int, default=3, help="(3)")
    option("--only", nargs="+", choices=list(SERVERS), default=list(SERVERS), metavar="SERVER")
    option("--soak", type=float, default=0, metavar="MINUTES", help="also load ours by 16 clients, this long")
    option("--peers", type=Path, default=ROOT / "build" / "peers", metavar="DIR", help="their environment")
    option("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    if arguments.model and not arguments.model.is_file():
        parser.error(f"{arguments.model} is not a file; give --model a model.tar.gz")
    if arguments.data and not artifact.jpegs(arguments.data):
        parser.error(f"{arguments.data} holds no JPEG files; give --data a folder that does")
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.soak < 0:
        parser.error("--rounds must be at least 1, --seconds above 0, --soak 0 or more")
    # Like Ctrl-C, so that all running servers are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        place, pictures = prepare(arguments, Path(name))
        figures = measure(
            place, pictures, arguments.only, arguments.rounds, arguments.seconds, arguments.soak
        )
    for table in tables(figures):
        Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
