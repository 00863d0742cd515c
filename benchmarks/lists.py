"""How long lists take: of generated pipelines and executions, and of objects in a bucket.

Each list is read without HTTP, to its last page; processor time is measured. boto3's paginator also lists the
objects through the service, with the service's time and boto3's own time (mostly for reading the XML) apart.
`--against FOLDER` reads the same lists in turns with another checkout of the project, and prints the ratio.

  git worktree add /tmp/before v1.0
  python -m benchmarks.lists --against /tmp/before --json lists.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from local.home.home import Home
from local.home.store import Store
from local.pipelines.pipelines import PIPELINES, PipelineService
from local.pipelines.record import EXECUTIONS
from local.s3.listing import list_objects
from local.s3.objects import Objects
from local.service import LocalService

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "pictures"
KINDS = (
    "ListPipelines",
    "ListPipelineExecutions, a page",
    "ListPipelineExecutions, all",
    "ListObjectsV2",
    "ListObjectsV2, the first time",  # which computes the ETags
    "ListObjectsV2 by boto3: the service",
    "ListObjectsV2 by boto3: boto3",
)
BY_BOTO3 = """
import boto3, sys, time
keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1", **keys)
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=sys.argv[2], Prefix="data/")
begun = time.process_time()
count = sum(len(page["Contents"]) for page in pages)
print(count, time.process_time() - begun)
"""
# As large as those of this project's pipeline.
DEFINITION = "x" * 45_000
STEPS = {f"Step{number}": {"StepStatus": "Succeeded", "_properties": "x" * 1_500} for number in range(8)}


def fill(home: Home, pipelines: int, executions: int, most: int, objects: int) -> None:
    """Make up pipelines of `executions` executions, one more of `most`, and a bucket of objects."""
    home.make()
    store = Store(home.database)
    for number in range(pipelines + 1):
        name, arn = f"p-{number}", home.arn("pipeline", f"p-{number}")
        known = {"PipelineArn": arn, "CreationTime": float(number), "LastModifiedTime": float(number)}
        described = {"PipelineName": name, "PipelineDefinition": DEFINITION, "RoleArn": "role"}
        store.create(PIPELINES, name, {**known, **described})
        for run in range(most if number == pipelines else executions):
            execution = f"{arn}/execution/{run:012}"
            own = {"_definition": DEFINITION, "_steps": STEPS, "_token": str(run), "_parameters": {}}
            begun = {"PipelineExecutionArn": execution, "PipelineExecutionStatus": "Succeeded"}
            store.create(EXECUTIONS, execution, {**known, "CreationTime": float(run), **begun, **own})
    store.close()
    for number in range(objects):
        path = home.s3 / BUCKET / "data" / f"class-{number % 10}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)


def measure(home: Home) -> dict[str, float]:
    """Processor time of each list, in seconds."""
    store = Store(home.database)
    operations = PipelineService(home, store, lambda _service: None).operations()
    last = store.list(PIPELINES)[0]["PipelineName"]

    def pages(operation: str, request: dict[str, Any]) -> None:
        answer = operations[operation](request)
        while "NextToken" in answer:
            answer = operations[operation]({**request, "NextToken": answer["NextToken"]})

    def keys() -> None:
        after = ""
        while True:
            body = bytes(list_objects(objects, BUCKET, {"marker": after}).body)  # type: ignore[arg-type]
            if b"<IsTruncated>false" in body:
                return
            after = body.rpartition(b"<Key>")[2].partition(b"</Key>")[0].decode()

    for file in home.s3.glob(".etags.sqlite*"):
        file.unlink()
    objects = Objects(home.s3)
    first = _seconds(keys)
    executions = "ListPipelineExecutions"
    lists: tuple[Callable[[], object], ...] = (
        lambda: pages("ListPipelines", {}),
        lambda: operations[executions]({"PipelineName": last}),
        lambda: pages(executions, {"PipelineName": last}),
        keys,
    )
    return dict(zip(KINDS, (*map(_seconds, lists), first, *by_boto3(home)), strict=True))


def by_boto3(home: Home) -> tuple[float, float]:
    """Processor time of the service, and of boto3, for a list of all objects."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        (Path(folder) / "s3").symlink_to(home.s3)  # without the records, which no service could continue
        with LocalService(Path(folder)) as service:

            def client() -> float:
                command = [sys.executable, "-c", BY_BOTO3, service.url, BUCKET]
                listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                if int(listed[0]) != count:
                    raise AssertionError(f"boto3 lists {listed[0]} objects of {count}")
                return float(listed[1])

            count = sum(path.is_file() for path in (home.s3 / BUCKET).rglob("*"))
            client()  # which computes the ETags, of these paths
            begun = time.process_time()
            of_boto3 = client()
            return time.process_time() - begun, of_boto3


def _seconds(read: Callable[[], object]) -> float:
    begun = time.process_time()
    read()
    return time.process_time() - begun


def _with(checkout: Path, arguments: Sequence[str]) -> str:
    """What this program prints when it runs with the project of that checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def compare(checkouts: Sequence[Path], sizes: Sequence[int], repeats: int) -> list[dict[str, float]]:
    """Seconds of each list with each checkout, on a home that it has made itself; the least of all turns."""
    figures: list[dict[str, float]] = [dict.fromkeys(KINDS, math.inf) for _ in checkouts]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        homes = [f"{folder}/{number}" for number in range(len(checkouts))]
        for checkout, home in zip(checkouts, homes, strict=True):
            _with(checkout, ["--fill", home, *map(str, sizes)])
        for _ in range(repeats):
            for checkout, home, best in zip(checkouts, homes, figures, strict=True):
                for kind, seconds in json.loads(_with(checkout, ["--measure", home])).items():
                    best[kind] = min(best[kind], seconds)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--fill"]:
        fill(Home(Path(arguments[1])), *map(int, arguments[2:]))
        return
    if arguments[:1] == ["--measure"]:
        json.dump(measure(Home(Path(arguments[1]))), sys.stdout)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pipelines", type=int, default=20)
    parser.add_argument("--executions", type=int, default=200, help="of each of these pipelines")
    parser.add_argument("--most", type=int, default=1000, help="executions of one pipeline more")
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of the project")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures, in seconds")
    options = parser.parse_args(arguments)
    checkouts = [ROOT, *([options.against.resolve()] if options.against else [])]
    sizes = (options.pipelines, options.executions, options.most, options.objects)
    figures = compare(checkouts, sizes, options.repeats)
    table = Table("list", "here (ms)", *(["there (ms)", "times as long"] if options.against else []))
    for kind in KINDS:
        here, *there = (each[kind] for each in figures)
        times = [f"{other / here:.1f}" for other in there]
        table.add_row(kind, f"{1000 * here:.1f}", *(f"{1000 * other:.1f}" for other in there), *times)
    Console().print(table)
    if options.json:
        keyed = {str(checkout): each for checkout, each in zip(checkouts, figures, strict=True)}
        options.json.write_text(json.dumps({"sizes": sizes, "seconds": keyed}, indent=2))


if __name__ == "__main__":
    main()
