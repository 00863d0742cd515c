"""The work of a scoring: find the pictures, then a transform job after the other until none is left."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

import scripts.command as command
from config.settings import Settings
from scripts.pictures import GIVE
from scripts.scoring import job, pictures
from scripts.scoring.job import Place, Resources
from scripts.scoring.ledger import Ledger
from scripts.versions import Version

if TYPE_CHECKING:
    import boto3

# Results are looked for at growing intervals, so that a long job is asked no more than it matters.
POLL_S, SLOWEST_POLL_S, POLL_SHARE = 0.5, 15.0, 0.05
# CloudWatch has the last lines of a log some time after the job has ended.
LOG_TRIES, LOG_POLL_S = 5, 5.0


@dataclass(frozen=True)
class Work:
    """What a scoring needs.

    Args:
        folder: with the pictures; None if they are in S3.
        per_job: how many pictures a transform job has at most.
    """

    session: boto3.Session
    settings: Settings
    version: Version
    folder: Path | None
    place: Place
    resources: Resources
    per_job: int
    ledger: Ledger
    progress: Progress


def score(work: Work) -> bool:
    """Score what is left; False if a job ended before that.

    Raises:
        Failure: there are no pictures, or a result is not this pipeline's model's.
        ClientError: AWS refused.
        KeyboardInterrupt: interrupted; the message says how to go on.
    """
    running = work.ledger.notes().get("job")
    if running and not _follow(work, running):
        return False
    _find(work)
    while work.ledger.counts().left:
        if not _follow(work, _start(work)):
            return False
    return True


def _find(work: Work) -> None:
    """Put the pictures into the ledger, and those of a folder into the bucket."""
    place, ledger, s3 = work.place, work.ledger, work.session.client("s3")
    found: Iterator[str]
    if work.folder is None:
        what, found = "listing", pictures.read_in_place(place.bucket, place.prefix, s3, ledger)
    else:
        what = "checking and sending"
        found = pictures.send(work.folder, place.bucket, place.prefix, s3, ledger)
    task = work.progress.add_task(what, total=None)
    try:
        for _ in found:
            work.progress.advance(task)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what was sent stays in the bucket; the same command goes on") from None
    work.progress.remove_task(task)
    counts = ledger.counts()
    if counts.pictures == counts.refused:
        where = str(work.folder) if work.folder else f"s3://{place.bucket}/{place.prefix}"
        first = next((f", {file} {reason}" for file, reason in ledger.refused()), "")
        command.fail(f"no pictures found in {command.shown(where)}{first}; {GIVE}")


def _start(work: Work) -> str:
    """Create a transform job for the next pictures; its name."""
    from entrypoints.deploy import ensure_model, name_for  # imports boto3, which --help does not need

    sagemaker: Any = work.session.client("sagemaker")
    settings, ledger, package = work.settings, work.ledger, work.version.arn
    role = settings.role("scoring")
    model = name_for(package, package, role)
    ensure_model(sagemaker, model, package, role)
    keys = ledger.left(work.per_job)
    name = f"{settings.name[:45].rstrip('-')}-scoring-{secrets.token_hex(4)}"
    key = f"{settings.name}/scoring/manifests/{name}.json"
    work.session.client("s3").put_object(Bucket=settings.bucket, Key=key, Body=job.manifest(work.place, keys))
    url = f"s3://{settings.bucket}/{key}"
    asked = job.request(name, model, url, work.place, work.resources, ledger.largest_bytes())
    # Before the request: a job that nobody knows of would be paid for in vain.
    ledger.note(job=name)
    ledger.assign(keys, name)
    labels = [{"Key": key, "Value": value} for key, value in settings.resource_tags.items()]
    sagemaker.create_transform_job(**asked, Tags=labels)  # teardown.py stops what has the deployment's
    on, at_once = work.resources, asked["MaxConcurrentTransforms"]
    command.console.print(
        f"transform job {name}: {len(keys):,} pictures on {on.instance_count} {on.instance_type}, "
        f"{at_once} at once",
        soft_wrap=True,
    )
    return name


def _follow(work: Work, name: str) -> bool:
    """Read the results of a job until it ends; False if pictures are left then.

    Raises:
        KeyboardInterrupt: interrupted; the message says that the job goes on, and how to stop it.
    """
    place, ledger, progress = work.place, work.ledger, work.progress
    sagemaker, s3 = work.session.client("sagemaker"), work.session.client("s3")
    begun = time.monotonic()
    counts = ledger.counts()
    task = progress.add_task("scoring", total=counts.pictures, completed=counts.scored + counts.refused)
    try:
        while True:
            described = job.describe(sagemaker, name)
            status = described["TransformJobStatus"] if described else "missing"
            progress.update(task, description=f"scoring, job {status}")
            for _ in job.collect(s3, place, ledger):
                progress.advance(task)
            if status not in job.RUNNING:
                break
            time.sleep(min(POLL_S + POLL_SHARE * (time.monotonic() - begun), SLOWEST_POLL_S))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"transform job {name} goes on, and the same command goes on with it; stop it with aws sagemaker "
            f"stop-transform-job --transform-job-name {name}, which discards its results"
        ) from None
    progress.remove_task(task)
    ledger.forget("job")
    if status == "Completed":
        ledger.refuse_rest_of(name, f"transform job {name} gave no result for it")
    for attempt in range(LOG_TRIES):
        if status != "Failed" or not ledger.left_of(name):
            break
        if attempt:
            time.sleep(LOG_POLL_S)
        job.refuse(work.session, name, place, ledger)
    left = ledger.left_of(name)
    if status == "missing" or not left:  # missing: this command was ended before it created the job
        return True
    why = (described or {}).get("FailureReason", "no reason given")
    command.output.print(
        f"transform job {name} is {status}: {why}; {ledger.counts().left:,} pictures are left, "
        "and the same command goes on with them",
        soft_wrap=True,
    )
    return False
