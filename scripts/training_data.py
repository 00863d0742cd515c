"""The pictures that a local run trains on: found, checked, and put into its bucket."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scripts.command as command
from config.settings import Settings
from entrypoints.dataset import Dataset, told
from entrypoints.folders import DatasetError
from scripts.datasets import digits, hymenoptera
from scripts.exclude import exclude
from scripts.owners import owned
from scripts.upload_dataset import delete, look, split_url, upload, what, what_the_split_does

if TYPE_CHECKING:
    import boto3

# The digits are small and simple: fewer pixels and epochs than the defaults are enough.
DIGITS_PARAMETERS = {"Epochs": "4", "ImageSize": "32"}


def find_dataset(
    data: str | None, home: Path, settings: Settings, excluded: Path | None = None
) -> tuple[Dataset, dict[str, str]]:
    """The dataset that --data names, checked and without what --exclude lists, and suitable parameters.

    Prints what the split will do with copies in a user's own folder. The datasets known by name have no
    copies that the split would refuse, and checking them here, as the split does again, would cost seconds.

    Raises:
        Failure: it cannot be read or downloaded, or cannot be trained on.
    """
    parameters: dict[str, str] = {}
    if data is None:
        folder, parameters = digits(home / "datasets" / "digits"), DIGITS_PARAMETERS
    elif data == "hymenoptera":
        folder = hymenoptera(home / "datasets" / "hymenoptera")
    else:
        folder = Path(data)
    try:
        with command.status(f"checking every picture of {folder}"):
            dataset = look(folder, settings)
            if excluded:
                dataset = exclude(dataset, excluded)
            lines = [] if data in (None, "hymenoptera") else what_the_split_does(dataset, settings)
    except DatasetError as error:
        command.fail(str(error))
    for line in [*told(dataset), *lines]:
        command.console.print(line, soft_wrap=True)
    return dataset, parameters


def dataset_name(data: str | None, dataset: Dataset) -> str:
    """The prefix's name for a dataset: two folders of the same name have different ones."""
    if data is None or data == "hymenoptera":
        return dataset.root.name
    return f"{dataset.root.name}-{hashlib.sha256(bytes(dataset.root)).hexdigest()[:8]}"


def put_dataset(session: boto3.Session, dataset: Dataset, url: str) -> None:
    """Make the objects under `url` the pictures of the dataset.

    Raises:
        Failure: something else put objects there, which a run must not delete.
    """
    s3 = session.client("s3")
    bucket, _ = split_url(url)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=command.console, transient=True) as progress:
        done = upload(dataset, url, s3, progress, replaces=True)
    ours = owned(s3, bucket, done.extra, url)
    if others := sorted(set(done.extra) - set(ours)):
        command.fail(
            f"{url} holds {len(others)} objects that no run put there and that would be trained on, "
            f"such as s3://{bucket}/{others[0]}; remove them, or take another --home"
        )
    delete(s3, bucket, ours)
    say = command.console.print
    say(
        f"{what(dataset)} are in {url} ({done.sent} sent, {done.kept} already there)",
        soft_wrap=True,
    )
