"""--exclude: the pictures that a list leaves out of a dataset.

The list is a training's suspects.json, the output.tar.gz that holds it, or a text file with a path per line.
Edit it first: entries that you delete stay in the dataset.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import scripts.command as command
from entrypoints.archives import UnsafeArchive, read_members
from entrypoints.contract import SUSPECTS, TEST, TRAIN
from entrypoints.dataset import Dataset, check_counts, without
from entrypoints.folders import DatasetError, relative
from entrypoints.layout import CLASSES

HELP = f"leave out the pictures that {SUSPECTS} of a training names, or a text file, a path per line"
NAMED = 5  # how many pictures a refusal names


class Listed(NamedTuple):
    """A picture of a list: its path and, from suspects.json, its split and its file's digest."""

    file: str
    split: str = ""
    digest: int | None = None


def add_option(parser: argparse.ArgumentParser) -> None:
    """--exclude FILE."""
    parser.add_argument("--exclude", metavar="FILE", type=Path, help=HELP)


def exclude(dataset: Dataset, file: Path) -> Dataset:
    """The dataset without the pictures that `file` lists; prints how many are left out of each class.

    Raises:
        Failure: it is not such a list, names pictures that the dataset lacks, or leaves a class too few
        pictures.
    """
    listed = list(dict.fromkeys(_read(file)))
    found = _find(dataset, listed)
    if missing := [entry.file for entry in listed if entry not in found]:
        named = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        command.fail(
            f"{file} lists {len(missing)} pictures that {dataset.root} does not have, or not with the content"
            f" that was trained on: {named}; take them out of the list"
        )
    left = set(found.values())
    rest = without(dataset, left)
    try:
        check_counts(dataset.root, rest)
    except DatasetError as error:
        command.fail(f"without the {len(left)} pictures that {file} lists, {error}")
    classes = {name: left.intersection(*[own]) for name, own in _by_class(dataset).items()}
    counts = ", ".join(f"{len(own)} of {name}" for name, own in classes.items() if own)
    command.console.print(f"left out, as {file} says: {counts or 'no picture'}", soft_wrap=True, markup=False)
    return rest


def _by_class(dataset: Dataset) -> dict[str, set[Path]]:
    return {
        name: {file for part in dataset.images.values() for file in part[name]} for name in dataset.classes
    }


def _find(dataset: Dataset, listed: list[Listed]) -> dict[Listed, Path]:
    """The files of a list's entries, without those that the dataset does not have."""
    paths: dict[str, Path] = {}
    names: dict[tuple[str, str], Path] = {}
    contents: dict[tuple[str, str, int], Path] = {}
    for part, classes in dataset.images.items():
        for name, files in classes.items():
            for file in files:
                paths[relative(file, dataset.root)] = file
                names[part, f"{name}/{dataset.name_in_class(file)}"] = file
                contents[part, name, dataset.looks[file].digest] = file
    found: dict[Listed, Path] = {}
    for entry in listed:
        if entry.digest is None:
            place = paths.get(entry.file)
        else:
            part = _part(dataset, entry.split)
            place = names.get((part, entry.file))
            if place is None or dataset.looks[place].digest != entry.digest:
                # The split adds a number to names that some file systems cannot tell apart.
                place = contents.get((part, entry.file.partition("/")[0], entry.digest))
        if place is not None:
            found[entry] = place
    return found


def _part(dataset: Dataset, split: str) -> str:
    """The part of the dataset that a split's pictures came from."""
    if dataset.layout == CLASSES:
        return CLASSES
    # If no test pictures are published, the published validation pictures are the test split (split.plan).
    return split if TEST in dataset.images and split in dataset.images else TRAIN


def _read(file: Path) -> Iterator[Listed]:
    """The entries of a list."""
    try:
        text = read_member(file) if file.name.endswith(".tar.gz") else file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        command.fail(f"{file} is not a text in UTF-8; give {SUSPECTS} or a file with a path per line")
    except (OSError, UnsafeArchive) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        command.fail(f"{file} cannot be read ({reason}); give {SUSPECTS} or a file with a path per line")
    if text is None:
        command.fail(f"{file} holds no {SUSPECTS}: an earlier version of the training wrote it; train again")
    if not text.lstrip().startswith("{"):
        lines = unicodedata.normalize("NFC", text).splitlines()
        yield from (Listed(line.strip()) for line in lines if line.strip())
        return
    try:
        content = json.loads(text)
        if "left_out" in content:
            command.fail(f"{file} lists no pictures: {content['left_out']}")
        yield from [_listed(entry) for entry in content["suspects"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        command.fail(
            f"{file} is not a {SUSPECTS} ({error!r}); take it out of the training's output.tar.gz again"
        )


def _listed(entry: Mapping[str, Any]) -> Listed:
    return Listed(str(entry["file"]), str(entry["split"]), int(entry["digest"], 16))


def read_member(archive: Path) -> str | None:
    """The text of suspects.json in an output.tar.gz; None if an earlier version of the training wrote it.

    Raises:
        OSError, UnsafeArchive: it cannot be read.
    """
    with archive.open("rb") as file:
        found = next(read_members(file, archive.stat().st_size, [SUSPECTS]), None)
    return None if found is None else found[1].decode()
