"""A dataset: pictures by class, and files left out with their reasons.

Needs only Pillow and NumPy, so that a dataset can be checked before any job starts. Unused files are listed
with their reasons; system files are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from entrypoints.class_names import FOLDERS_ARE_CLASSES, is_plain, shown
from entrypoints.contract import TEST, TRAIN, VALIDATION
from entrypoints.folders import DatasetError, Folders, Rejected, nfc, relative
from entrypoints.image import ImageError, decode
from entrypoints.layout import CLASSES, find
from entrypoints.looks import Looks
from entrypoints.program import in_threads
from entrypoints.splits import split_of

READY_MADE = "ready-made"  # layout: ready-made splits

# Training, validation and test each need one image of a class.
MIN_IMAGES = 3
LISTED = 10  # files named per reason

LabelledFiles = list[tuple[Path, int]]  # pictures with the indices of their classes
T = TypeVar("T")


@dataclass(frozen=True)
class Dataset:
    """The content of a dataset folder.

    `images[part][class name]` lists files in a fixed order. `part` is CLASSES for pictures without splits,
    else a split's name from the contract. Class names are in Unicode's composed form (NFC), sorted. `names`
    has each file's path below its class. `tables` are the files that name classes. `notes` say what was
    recognized, a line each, and how many system files were skipped.
    """

    root: Path
    classes: tuple[str, ...]
    images: Mapping[str, Mapping[str, tuple[Path, ...]]]
    rejected: tuple[Rejected, ...]
    looks: Looks
    names: Mapping[Path, str]
    tables: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def layout(self) -> str:
        """CLASSES or READY_MADE."""
        return CLASSES if CLASSES in self.images else READY_MADE

    @property
    def counts(self) -> dict[str, int]:
        """Usable images per class, over all parts."""
        return {name: sum(len(part[name]) for part in self.images.values()) for name in self.classes}

    def name_in_class(self, file: Path) -> str:
        """A file's path below its class folder."""
        return self.names[file]


def check_dataset(
    folder: Path, *, subfolders_are_groups: bool = False, label_regex: str = "", follow_links: bool = False
) -> Dataset:
    """Read a dataset and decode every file.

    Args:
        subfolders_are_groups: whether the user says that folders below a class are not classes.
        label_regex: finds a picture's class in its path, see layout.find.
        follow_links: whether links may leave the folder: on the user's own machine.

    Raises:
        DatasetError: missing or empty folder, one class, a class with too few images, class names that
            differ only by case, splits with different classes, another dataset inside, or an ambiguous
            layout.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give a folder with one subfolder of images per class")
    try:
        re.compile(label_regex)
    except re.error as error:
        raise DatasetError(f"split.label_regex is not a regular expression ({error})") from None
    root = folder.resolve()
    looks = Looks()
    folders = Folders(root, follow_links)
    layout = find(folders, label_regex)
    rejected: list[Rejected] = []
    images: dict[str, dict[str, tuple[Path, ...]]] = {}
    for part, classes in layout.parts.items():
        images[part] = {}
        for name, files in classes.items():
            usable, left_out = _usable(root, files, looks)
            images[part][name] = tuple(usable)
            rejected += left_out
    dataset = Dataset(
        root,
        _common_classes(folder, images, folders.rejected),
        images,
        tuple(sorted([*folders.rejected, *rejected], key=lambda r: r.file)),
        looks,
        layout.names,
        tuple(layout.tables),
        (*layout.notes, *_litter(+folders.litter)),
    )
    if not (label_regex or layout.tables):
        _check_nesting(folder, dataset, subfolders_are_groups)
    check_counts(folder, dataset)
    return dataset


def _litter(found: Mapping[str, int]) -> list[str]:
    kinds = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
    return [f"left out: {sum(found.values())} files that systems leave behind ({kinds})"] if found else []


def told(dataset: Dataset) -> list[str]:
    """The findings as lines of text: how the dataset was read, its classes, what was left out."""
    names = ", ".join(f"{name} ({count})" for name, count in dataset.counts.items())
    pictures = f"{sum(dataset.counts.values())} pictures of {len(dataset.classes)} classes: {names}"
    lines = [*dataset.notes, pictures]
    reasons = Counter(rejected.reason for rejected in dataset.rejected)
    for reason, count in reasons.items():
        files = [rejected.file for rejected in dataset.rejected if rejected.reason == reason]
        lines += [f"left out: {file}: {reason}" for file in files[:LISTED]]
        if count > LISTED:
            lines.append(f"left out: {count - LISTED} more: {reason}")
    return [line.replace("\n", "\\n") for line in lines]


def without(dataset: Dataset, files: Container[Path]) -> Dataset:
    """The dataset without some of its pictures."""
    images = {
        part: {name: tuple(file for file in own if file not in files) for name, own in classes.items()}
        for part, classes in dataset.images.items()
    }
    return replace(dataset, images=images)


def read_split(folder: Path) -> tuple[tuple[str, ...], LabelledFiles]:
    """Read one split as the split program wrote it: class names, and (file, index of its class) pairs.

    Decodes nothing. Class names and files come sorted.

    Raises:
        DatasetError: missing folder or no class folder in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; expected one subfolder of images per class")
    folders = Folders(folder.resolve())
    found = {nfc(path.name): path for path in folders.folders(folders.root)}
    if not found:
        raise DatasetError(f"{folder} has no class folders")
    classes = tuple(sorted(found))
    return classes, [
        (file, index) for index, name in enumerate(classes) for file in folders.files(found[name])
    ]


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, evenly spread: from every class, if files are sorted by class."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _usable(root: Path, files: Iterable[Path], looks: Looks) -> tuple[list[Path], list[Rejected]]:
    files = list(files)
    # Pillow releases the interpreter's lock while it decodes.
    reasons = list(in_threads(partial(_reason_to_reject, looks), files))
    usable = [file for file, reason in zip(files, reasons, strict=True) if reason is None]
    rejected = [
        Rejected(relative(file, root), reason)
        for file, reason in zip(files, reasons, strict=True)
        if reason is not None
    ]
    return usable, rejected


def _reason_to_reject(looks: Looks, file: Path) -> str | None:
    """Why a file is left out; None for a picture, which `looks` then holds."""
    if not file.is_file():
        return "is not a regular file"
    try:
        data = file.read_bytes()
        picture = decode(data)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    looks.add(file, data, picture)
    return None


def _common_classes(
    folder: Path, images: Mapping[str, Mapping[str, tuple[Path, ...]]], rejected: Iterable[Rejected]
) -> tuple[str, ...]:
    names = {part: set(classes) for part, classes in images.items()}
    everything = set().union(*names.values())
    if not everything:
        raise DatasetError(
            f"{folder} has no class folders{_reasons(rejected)}; give a folder with one subfolder of images "
            "per class"
        )
    for part, present in sorted(names.items()):
        if missing := sorted(everything - present):
            raise DatasetError(f"{folder}: {part} has no class {missing[0]!r}, which another split has")
    return tuple(sorted(everything))


def check_counts(folder: Path, dataset: Dataset) -> None:
    """Refuse a dataset with too few pictures to split and train on.

    Raises:
        DatasetError: no picture, one class, or a class with too few pictures.
    """
    if not any(dataset.counts.values()):
        raise DatasetError(f"{folder} holds no usable image{_reasons(dataset.rejected)}")
    if len(dataset.classes) < 2:
        raise DatasetError(f"{folder} has one class, {dataset.classes[0]!r}; at least two are needed")
    for part, classes in dataset.images.items():
        needed = images_needed(part, dataset.images)
        for name, files in classes.items():
            if len(files) < needed:
                where = folder if part == CLASSES else f"{part} of {folder}"
                own = [item for item in dataset.rejected if name in item.file.split("/")[:-1]]
                raise DatasetError(
                    f"class {name!r} in {where} has {len(files)} usable images; at least {needed} are needed"
                    f"{_reasons(own)}"
                )


def _reasons(rejected: Iterable[Rejected], most: int = 3) -> str:
    """The end of a sentence: why files were left out, most frequent reasons first."""
    counts = Counter(item.reason for item in rejected)
    common = counts.most_common(most)
    told = [f"{reason} ({count} {'file' if count == 1 else 'files'})" for reason, count in common]
    if rest := counts.total() - sum(count for _, count in common):
        told.append(f"and {rest} more")
    return f" (left out: {', '.join(told)})" if told else ""


def _check_nesting(folder: Path, dataset: Dataset, subfolders_are_groups: bool) -> None:
    """Refuse datasets inside a dataset: their folders would become classes.

    A class may have subfolders, such as a camera's bursts. They belong to another dataset if they are splits
    or are named like classes; if every class has only subfolders, the layout is ambiguous.
    """
    for part, classes in dataset.images.items():
        within = {name: _subfolders(dataset, files) for name, files in classes.items() if files}
        inner = {name: found for name, found in within.items() if found and len(found[1]) > 1}
        for name, (path, names) in inner.items():
            splits = {
                split[0] for inside in names if (split := split_of(inside)) is not None and not split[1]
            }
            if (TRAIN in splits and len(splits) > 1) or names & set(classes):
                raise DatasetError(
                    f"{folder}: {relative(path, dataset.root)} holds {shown(names)}, which would be one"
                    f" class, {name!r}: it looks like a dataset of its own; give {path}, or move it elsewhere"
                    f"; as for {shown(classes)}, {FOLDERS_ARE_CLASSES}"
                )
        if within and inner.keys() == within.keys() and not subfolders_are_groups:
            where = folder if part == CLASSES else f"{part} of {folder}"
            path, names = next(iter(inner.values()))
            if all(is_plain(inside) for _, found in inner.values() for inside in found):
                raise DatasetError(
                    f"{where} holds {shown(inner)} with {shown(names)} in each, which would all be pictures "
                    "to learn from; move those that are not, such as masks, out of the dataset"
                )
            raise DatasetError(
                f"{where} holds {shown(inner)}, which have pictures only in subfolders, such as "
                f"{shown(names)} in {relative(path, dataset.root)}: they look like datasets, not like"
                f" classes; give one of them, such as {path}; {FOLDERS_ARE_CLASSES}"
            )


def _subfolders(dataset: Dataset, files: Sequence[Path]) -> tuple[Path, set[str]] | None:
    """The folder where a class's pictures branch, and its subfolders; None if it has pictures itself."""
    ways = [Path(dataset.name_in_class(file)).parts[:-1] for file in files]
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*ways, strict=False)))
    if any(len(way) == shared for way in ways):
        return None
    return files[0].parents[len(ways[0]) - shared], {way[shared] for way in ways}


def images_needed(part: str, parts: Iterable[str]) -> int:
    """The least number of images of a class in a part, given the published parts."""
    published = set(parts)
    if part == CLASSES or published == {TRAIN}:
        return MIN_IMAGES
    # An unpublished validation or test split is taken from train, see split.plan.
    return 2 if part == TRAIN and published != {TRAIN, VALIDATION, TEST} else 1
