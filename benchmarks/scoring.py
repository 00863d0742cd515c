"""Scoring many pictures with `scripts/score.py`: pictures/s against the endpoint's limit, and memory.

A model trained on generated pictures lies in a local service. The endpoint's limit is what its server answers
to CLIENTS clients without a pause, with the same pictures. Memory is the peak of score.py's process; it is
flat if more pictures take no more.

  python -m benchmarks.scoring --counts 500,5000
  python -m benchmarks.scoring --counts 10000,100000 --json scoring.json
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import artifact
from benchmarks.load import closed_loop, request, run
from benchmarks.processes import MIB, watch
from benchmarks.servers import Place, ours
from entrypoints.contract import ANY_IMAGE, VALIDATION
from local.service import LocalService

ROOT = Path(__file__).resolve().parents[1]
COUNTS = (500, 5_000)
SIDE = 128  # pixels of the pictures; the model resizes them
CLIENTS = 16
LIMIT_S = 15.0
GOAL_SHARE = 0.7  # of the endpoint's limit, by the job
GOAL_MIB = 20.0  # that memory may grow by
BUCKET = "image-classification-123456789012"
GROUP = "image-classification"


def pictures(folder: Path, source: Path, count: int) -> None:
    """Write `count` JPEG files of different content, in folders named as their classes.

    What follows a JPEG's end changes its content and not the picture.
    """
    originals = []
    for path in artifact.jpegs(source):
        file = io.BytesIO()
        with Image.open(path) as picture:
            picture.resize((SIDE, SIDE)).save(file, "JPEG", quality=90)
        originals.append((path.parent.name, file.getvalue()))
    for number in range(count):
        label, content = originals[number % len(originals)]
        path = folder / label / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + number.to_bytes(8))


def limit(archive: Path, folder: Path, source: Path) -> float:
    """Requests/s that the model's server answers at most."""
    sample = folder / "sample"
    pictures(sample, source, artifact.SENT)
    bodies = [path.read_bytes() for path in sorted(sample.rglob("*.jpg"))]
    with ours("uvicorn")(Place(archive, folder, bodies[0], folder)) as server:
        load = run(closed_loop(server.port, [request(body, ANY_IMAGE) for body in bodies], CLIENTS, LIMIT_S))
    return load.answered / load.seconds


def measure(service: LocalService, folder: Path, source: Path, count: int) -> dict[str, Any]:
    """The figures of one size: the whole command, its memory, and its job."""
    pictures(folder / "pictures", source, count)
    command = [
        *(sys.executable, str(ROOT / "scripts" / "score.py"), str(folder / "pictures")),
        *("--output", str(folder / "scores"), "--local", service.url, "--pictures-per-job", str(count)),
    ]
    seconds, peak = watch(command)
    sagemaker = service.client("sagemaker")
    name = sagemaker.list_transform_jobs(SortBy="CreationTime", SortOrder="Descending")[
        "TransformJobSummaries"
    ][0]["TransformJobName"]
    job = sagemaker.describe_transform_job(TransformJobName=name)
    job_s = (job["TransformEndTime"] - job["TransformStartTime"]).total_seconds()
    return {
        "pictures": count,
        "seconds": seconds,
        "per_s": count / seconds,
        "job_per_s": count / job_s,
        "peak_mib": peak.pss / MIB,
    }


def figures(counts: Sequence[int]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        channels = artifact.generate(folder / "training")
        archive = artifact.archive(channels, folder)
        source = channels[VALIDATION]
        result: dict[str, Any] = {"limit_per_s": limit(archive, folder, source), "sizes": []}
        with LocalService(folder / "home") as service:
            service.client("s3").create_bucket(Bucket=BUCKET)
            place = service.home.object_path(f"s3://{BUCKET}/model.tar.gz")
            place.parent.mkdir(parents=True, exist_ok=True)
            archive.replace(place)
            container = {"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
            service.client("sagemaker").create_model_package(
                ModelPackageGroupName=GROUP,
                ModelApprovalStatus="Approved",
                InferenceSpecification={
                    "Containers": [container],
                    "SupportedContentTypes": [ANY_IMAGE],
                    "SupportedResponseMIMETypes": ["application/json"],
                },
            )
            for count in counts:
                result["sizes"].append(measure(service, folder / str(count), source, count))
        return result


def table(found: dict[str, Any]) -> Table:
    result = Table("pictures", title=f"the endpoint answers {found['limit_per_s']:.0f} requests/s at most")
    for head in ("s", "pictures/s", "by the job alone", "of the limit", "score.py, MiB"):
        result.add_column(head, justify="right")
    for size in found["sizes"]:
        result.add_row(
            f"{size['pictures']:,}",
            f"{size['seconds']:.0f}",
            f"{size['per_s']:.0f}",
            f"{size['job_per_s']:.0f}",
            f"{size['job_per_s'] / found['limit_per_s']:.0%}",
            f"{size['peak_mib']:.0f}",
        )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    counts = ",".join(map(str, COUNTS))
    parser.add_argument("--counts", default=counts, metavar="N,N,...", help=f"numbers of pictures ({counts})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    sizes = arguments.counts.split(",")
    if not all(size.isdecimal() and int(size) >= 1 for size in sizes):
        parser.error("--counts are whole numbers, with commas")
    found = figures([int(size) for size in sizes])
    Console().print(table(found))
    largest, smallest = found["sizes"][-1], found["sizes"][0]
    share = largest["job_per_s"] / found["limit_per_s"]
    growth = largest["peak_mib"] - smallest["peak_mib"]
    print(f"{share:.0%} of the endpoint's limit (goal: {GOAL_SHARE:.0%} or more)")
    print(f"{growth:.0f} MiB more for {largest['pictures']:,} pictures (goal: {GOAL_MIB:.0f} or less)")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
