"""Upload a folder of pictures, one folder per class, to where the pipeline reads it.

The command first checks the dataset by the split's rules: it refuses what cannot be trained on, lists and
leaves out files that are not pictures, and says what the split will do with copies. Pictures that are already
there are not sent again, so an interrupted upload continues where it stopped.

A dataset has a prefix of its own: one above another dataset, or inside it, is refused. --delete removes only
what uploads to the same prefix put there.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import hashlib
import mimetypes
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scripts.command as command
from config.settings import Settings
from entrypoints.dataset import Dataset, check_dataset, told
from entrypoints.folders import DatasetError, nfc
from scripts.exclude import add_option, exclude
from scripts.owners import WORKERS, note, owned, refuse_another, refuse_nesting

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

# User metadata that proves an object's content. An ETag does not: with KMS keys it is not an MD5.
SHA256 = "sha256"
SETTINGS = ("bucket", "name", "region", "split")
LISTED = 10  # how many names are printed of a longer list


@dataclass(frozen=True)
class Upload:
    """What an upload did: how many pictures it sent, how many were already there, keys that the dataset
    lacks."""

    sent: int
    kept: int
    extra: tuple[str, ...]


def upload(dataset: Dataset, url: str, s3: S3Client, progress: Progress, replaces: bool = False) -> Upload:
    """Put the usable pictures of a dataset under s3://bucket/prefix, each at its path in the dataset.

    Objects with the same size and SHA-256 (in their user metadata) are not sent again. Objects without that
    proof, or without a note of their dataset, are.

    Args:
        replaces: whether it replaces whatever dataset is there.

    Raises:
        Failure: the URL or a file's name does not suit S3, a file cannot be read, or another dataset lies
            there, above or below.
        ClientError: S3 refused.
        KeyboardInterrupt: interrupted; the message says how many pictures are there.
    """
    bucket, prefix = split_url(url)
    url = f"s3://{bucket}/{prefix}"
    keys = _keys(dataset, prefix)
    sizes = _list(s3, bucket, prefix)
    refuse_nesting(s3, url, dataset.root.name, keys.keys(), sizes)
    if not replaces:
        refuse_another(url, keys.keys(), sizes)
    task = progress.add_task(f"uploading to {url}", total=len(keys))
    executor = ThreadPoolExecutor(WORKERS)
    noted = note(url)
    jobs: list[Future[bool]] = []
    try:
        for key, path in keys.items():
            jobs.append(executor.submit(_put, s3, bucket, key, path, sizes, noted))
        for job in as_completed(jobs):
            job.result()
            progress.advance(task)
    except KeyboardInterrupt:
        executor.shutdown(cancel_futures=True)  # and wait for those in progress
        there = sum(not job.cancelled() and job.exception() is None for job in jobs)
        raise KeyboardInterrupt(
            f"{there} of {len(keys)} pictures are in {url} and stay there; run the command again to continue"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)
    sent = sum(job.result() for job in jobs)
    return Upload(sent, len(jobs) - sent, tuple(sorted(set(sizes) - set(keys))))


def delete(s3: S3Client, bucket: str, keys: Sequence[str]) -> None:
    """Remove objects, 1,000 a request.

    Raises:
        Failure: S3 kept one of them; the message names it and why.
    """
    for start in range(0, len(keys), 1000):
        batch = [{"Key": key} for key in keys[start : start + 1000]]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]
        for error in answer.get("Errors", []):
            command.fail(f"s3://{bucket}/{error.get('Key')} could not be deleted: {error.get('Message')}")


def split_url(url: str) -> tuple[str, str]:
    """("bucket", "prefix/") of s3://bucket/prefix.

    Raises:
        Failure: it is not such a URL.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not url.startswith("s3://") or not bucket or not prefix:
        command.fail(f"--to {url!r} is not s3://bucket/prefix; write for example s3://my-bucket/flowers")
    return bucket, f"{prefix}/"


def _relative(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        command.fail(f"{str(path)!a} has a name that is not UTF-8, which S3 cannot keep; rename the file")
    return name


def _keys(dataset: Dataset, prefix: str) -> dict[str, Path]:
    """What goes to S3, by key: the pictures, and the tables that name their classes."""
    files = [file for part in dataset.images.values() for own in part.values() for file in own]
    names = {prefix + _relative(file, dataset.root): file for file in [*files, *dataset.tables]}
    # Composed, as most systems write it, so that a picture has the same key whoever uploads it. If two
    # pictures have that name, each keeps its own form.
    return {nfc(name) if nfc(name) not in names else name: file for name, file in names.items()}


def _list(s3: S3Client, bucket: str, prefix: str) -> dict[str, int]:
    """Key -> size in bytes of the objects under the prefix, without the console's empty folder objects."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = (item for page in pages for item in page.get("Contents", []))
    return {item["Key"]: item["Size"] for item in objects if not item["Key"].endswith("/")}


def _put(
    s3: S3Client, bucket: str, key: str, path: Path, sizes: Mapping[str, int], noted: Mapping[str, str]
) -> bool:
    """Send one file with its metadata, unless it is already there; return whether it was sent."""
    try:
        content = path.read_bytes()
    except OSError as error:
        command.fail(f"{path} cannot be read ({error.strerror}); repair or remove it")
    metadata = {SHA256: hashlib.sha256(content).hexdigest(), **noted}
    if sizes.get(key) == len(content):
        there = s3.head_object(Bucket=bucket, Key=key)["Metadata"]
        if metadata.items() <= there.items():
            return False
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type, Metadata=metadata)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    if arguments.to:
        arguments.reads = ("region", "split")  # the others form the default of --to
    settings = command.settings(arguments)
    url = arguments.to or command.default(settings, "InputDataUrl")
    bucket, prefix = split_url(url)
    url = f"s3://{bucket}/{prefix}"
    try:
        with command.status(f"checking every picture of {arguments.folder}"):
            dataset = look(arguments.folder, settings)
            if arguments.exclude:
                dataset = exclude(dataset, arguments.exclude)
            lines = what_the_split_does(dataset, settings)
    except DatasetError as error:
        command.fail(str(error))
    for line in [*told(dataset), *lines]:
        command.console.print(line, soft_wrap=True)

    session = command.session(arguments, settings)
    if not arguments.to:
        command.refuse_placeholders(settings, "bucket")
    s3 = session.client("s3")
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=command.console, disable=not command.console.is_terminal) as progress:
        done = upload(dataset, url, s3, progress)
    command.output.print(
        f"{what(dataset)} are in {url} "
        f"({done.sent} sent, {done.kept} already there, {len(dataset.rejected)} left out)",
        soft_wrap=True,
    )
    if regex := settings.split.label_regex:
        upsert = shlex.join(["python", "scripts/upsert_pipeline.py", "--set", f"split.label_regex={regex}"])
        command.console.print(
            f"the pipeline also needs to know what names the classes: {upsert}", soft_wrap=True
        )
    if done.extra:
        delete_or_tell(s3, url, done.extra, arguments)
    return 0


def look(folder: Path, settings: Settings) -> Dataset:
    """The dataset in a folder of this machine, where links are followed, read as the settings say.

    Raises:
        DatasetError: it cannot be trained on.
    """
    return check_dataset(
        folder,
        subfolders_are_groups=bool(settings.split.group_level),
        label_regex=settings.split.label_regex or "",
        follow_links=True,
    )


def what(dataset: Dataset) -> str:
    """What goes to S3, in words: "8 pictures of 2 classes and labels.csv"."""
    pictures = f"{sum(dataset.counts.values())} pictures of {len(dataset.classes)} classes"
    return " and ".join([pictures, *(table.name for table in dataset.tables)])


def add_label_regex(to: argparse.ArgumentParser) -> None:
    """Add --label-regex, a short form of --set split.label_regex=..."""
    to.add_argument(
        "--label-regex", metavar="REGEX", dest="overrides", action="append",
        type="split.label_regex={}".format,
        help="finds the class in a picture's path where folders are no classes: '^([a-z]+)' for cat.12.jpg",
    )  # fmt: skip


def what_the_split_does(dataset: Dataset, settings: Settings) -> list[str]:
    """The copies and groups that the split will find, and what it will leave out, one a line.

    Raises:
        DatasetError: what the split refuses.
    """
    from entrypoints.groups import Rules, group  # SciPy, which --help does not wait for
    from entrypoints.split import findings, plan

    split = settings.split
    rules = Rules(
        split.seed, split.group_pattern or "", split.group_level, split.near_copies, split.conflicting_labels
    )
    found = group(dataset, rules)
    planned, _ = plan(found, split.validation_fraction, split.test_fraction)
    left = sorted(set(planned.dataset.rejected) - set(dataset.rejected), key=lambda rejected: rejected.file)
    lines = [f"the split will leave out {rejected.file}: {rejected.reason}" for rejected in left]
    if len(lines) > LISTED:
        lines = [*lines[:LISTED], f"the split will leave out {len(lines) - LISTED} more"]
    return [*findings(planned), *lines]


def delete_or_tell(s3: S3Client, url: str, extra: Sequence[str], arguments: argparse.Namespace) -> None:
    """Delete objects that the dataset lacks, or warn that the pipeline will train on them."""
    bucket, _ = split_url(url)
    for key in extra[:LISTED]:
        command.console.print(f"not in the dataset: s3://{bucket}/{key}", soft_wrap=True)
    if len(extra) > LISTED:
        command.console.print(f"not in the dataset: {len(extra) - LISTED} more")
    if not arguments.delete:
        command.console.print(
            f"{len(extra)} objects are not in the dataset and will be trained on; --delete removes those "
            f"that uploads to {url} put there",
            soft_wrap=True,
        )
        return
    ours = owned(s3, bucket, extra, url)
    others = sorted(set(extra) - set(ours))
    for key in others[:LISTED]:
        removal = f"aws s3 rm {shlex.quote(f's3://{bucket}/{key}')}"
        command.console.print(f"stays, put there by something else: {removal}", soft_wrap=True)
    if len(others) > LISTED:
        command.console.print(f"stays, put there by something else: {len(others) - LISTED} more")
    if ours and command.confirm(f"Delete {len(ours)} objects that uploads to {url} put there?", arguments):
        delete(s3, bucket, ours)
        command.console.print(f"{len(ours)} objects are deleted.")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("folder", metavar="DIR", type=Path, help="one subfolder of pictures per class")
    parser.add_argument("--to", metavar="S3_URL", help="s3://bucket/prefix (the default of InputDataUrl)")
    add_label_regex(parser)
    add_option(parser)
    parser.add_argument("--delete", action="store_true", help="remove objects that the dataset no longer has")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    return parser.parse_args(argv)


if __name__ == "__main__":
    command.run(main)
