"""A folder of pictures, one subfolder per class: what is in it, what is left out and why.

Needs Pillow and NumPy only, so that a dataset can be checked before any job starts. Files that operating
systems leave behind (names that begin with a dot, Thumbs.db, desktop.ini, __MACOSX) are ignored silently;
everything else that is not used is listed with its reason.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from entrypoints.contract import TEST, TRAIN, VALIDATION
from entrypoints.image import ImageError, decode
from entrypoints.looks import Looks
from entrypoints.program import in_threads

CLASSES = "classes"  # layout: one folder per class
READY_MADE = "ready-made"  # layout: train and val folders, perhaps test, each with one folder per class

SPLIT_NAMES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
# Training, validation and test each need one image of a class.
MIN_IMAGES = 3

LabelledFiles = list[tuple[Path, int]]  # pictures, each with the index of its class
T = TypeVar("T")


class DatasetError(ValueError):
    """A folder that cannot be trained on; the message is one line for the person who gave it."""


@dataclass(frozen=True)
class Rejected:
    """A file that is left out. `file` is relative to the dataset, with forward slashes."""

    file: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """What a dataset folder holds.

    `images[part][class name]` lists files in a fixed order. `part` is CLASSES for a folder of classes, else
    a split's name from the contract. Class names are in Unicode's composed form (NFC), sorted.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    images: Mapping[str, Mapping[str, tuple[Path, ...]]]
    rejected: tuple[Rejected, ...]
    looks: Looks

    @property
    def counts(self) -> dict[str, int]:
        """Usable images per class, over all parts."""
        return {name: sum(len(part[name]) for part in self.images.values()) for name in self.classes}

    def name_in_class(self, file: Path) -> str:
        """A file's path below its class folder."""
        return relative(file, self.root).split("/", 1 if self.layout == CLASSES else 2)[-1]


def check_dataset(folder: Path, subfolders_are_groups: bool = False) -> Dataset:
    """Look at every file of a dataset, decoding each one.

    Args:
        subfolders_are_groups: whether the user says what folders below a class mean: not classes.

    Raises:
        DatasetError: missing or empty folder, one class, a class with too few images, class names that
            differ only by case, splits that do not hold the same classes, or another dataset inside.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; give a folder with one subfolder of images per class")
    root = folder.resolve()
    looks = Looks()
    rejected: list[Rejected] = []
    parts, outside = _find_parts(root)
    rejected += outside
    images: dict[str, dict[str, tuple[Path, ...]]] = {}
    for part, part_folder in parts.items():
        images[part] = {}
        for name, class_folder in _class_folders(root, part_folder, rejected).items():
            files, left_out = _usable(root, _files(root, class_folder, rejected), looks)
            images[part][name] = tuple(files)
            rejected += left_out
    layout = CLASSES if CLASSES in parts else READY_MADE
    classes = _common_classes(folder, images)
    dataset = Dataset(root, layout, classes, images, tuple(sorted(rejected, key=lambda r: r.file)), looks)
    _check_nesting(folder, dataset, subfolders_are_groups)
    check_counts(folder, dataset)
    return dataset


def without(dataset: Dataset, files: Container[Path]) -> Dataset:
    """The dataset less some of its pictures."""
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
    folders = {_nfc(entry.name): Path(entry) for entry in _visible(folder) if entry.is_dir()}
    if not folders:
        raise DatasetError(f"{folder} has no class folders")
    classes = tuple(sorted(folders))
    files: LabelledFiles = []
    for index, name in enumerate(classes):
        files += [(file, index) for file in _files(folder.resolve(), folders[name], [])]
    return classes, files


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly over all: where files are sorted by class, of every class."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def relative(path: os.PathLike[str], root: Path) -> str:
    """The path below root with forward slashes, in composed Unicode; bytes that are no UTF-8 escaped."""
    return _nfc(Path(path).relative_to(root).as_posix()).encode(errors="backslashreplace").decode()


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted; its entries tell folders from files without another system call."""
    with os.scandir(folder) as entries:
        visible = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in LITTER]
    return sorted(visible, key=lambda entry: (_nfc(entry.name), entry.name))


def _find_parts(root: Path) -> tuple[dict[str, Path], list[Rejected]]:
    """Folders to look for classes in, by part; and what lies beside ready-made splits."""
    entries = _visible(root)
    folders = [entry for entry in entries if entry.is_dir()]
    train = next((f for f in folders if f.name.lower() == "train"), None)
    if train is None or not any(entry.is_dir() for entry in _visible(Path(train))):
        return {CLASSES: root}, []
    parts: dict[str, Path] = {}
    outside = []
    for entry in entries:
        part = SPLIT_NAMES.get(entry.name.lower()) if entry in folders else None
        if part is None:
            outside.append(Rejected(relative(entry, root), "lies outside the train, val and test folders"))
        elif part in parts:
            raise DatasetError(f"{root} holds both {parts[part].name} and {entry.name}; keep one of them")
        else:
            parts[part] = Path(entry)
    return parts, outside


def _class_folders(root: Path, part: Path, rejected: list[Rejected]) -> dict[str, Path]:
    """Class folders by name; everything else in the part is added to `rejected`."""
    folders: dict[str, Path] = {}
    folded: dict[str, str] = {}
    for entry in _visible(part):
        if entry.is_symlink() and not _inside(entry, root):
            rejected.append(Rejected(relative(entry, root), "is a symlink that leaves the dataset's folder"))
        elif not entry.is_dir():
            rejected.append(Rejected(relative(entry, root), "lies outside the class folders"))
        elif not _is_utf8(entry.name):
            rejected.append(Rejected(relative(entry, root), "has a name that is not valid UTF-8"))
        else:
            twin = folded.setdefault(_nfc(entry.name).casefold(), entry.name)
            if twin != entry.name:
                raise DatasetError(
                    f"class names {twin!r} and {entry.name!r} in {part} differ only by case; rename one"
                )
            folders[_nfc(entry.name)] = Path(entry)
    return folders


def _files(root: Path, folder: Path, rejected: list[Rejected]) -> Iterator[Path]:
    """Files of a class folder and of its subfolders, in a fixed order."""
    for entry in _visible(folder):
        if entry.is_symlink() and not _inside(entry, root):
            rejected.append(Rejected(relative(entry, root), "is a symlink that leaves the dataset's folder"))
        elif entry.is_symlink() and not entry.is_file():
            rejected.append(Rejected(relative(entry, root), "is a symlink to a folder or to nothing"))
        elif entry.is_dir():
            yield from _files(root, Path(entry), rejected)
        else:
            yield Path(entry)


def _inside(path: os.PathLike[str], root: Path) -> bool:
    return Path(path).resolve().is_relative_to(root)


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
    """Why a file is left out; None for a picture, which is added to `looks`."""
    if not file.is_file():
        return "is not a regular file"
    if not _is_utf8(file.name):
        return "has a name that is not valid UTF-8"
    try:
        data = file.read_bytes()
        picture = decode(data)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    looks.add(file, data, picture)
    return None


def _common_classes(folder: Path, images: Mapping[str, Mapping[str, tuple[Path, ...]]]) -> tuple[str, ...]:
    names = {part: set(classes) for part, classes in images.items()}
    everything = set().union(*names.values())
    if not everything:
        raise DatasetError(
            f"{folder} has no class folders; give a folder with one subfolder of images per class"
        )
    for part, present in sorted(names.items()):
        if missing := sorted(everything - present):
            raise DatasetError(f"{folder}: {part} has no class {missing[0]!r}, which another split has")
    return tuple(sorted(everything))


def check_counts(folder: Path, dataset: Dataset) -> None:
    """Refuse what has too few pictures to be split and trained on.

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
    """The end of a sentence: why files were left out, the most frequent reasons first."""
    counts = Counter(item.reason for item in rejected)
    common = counts.most_common(most)
    told = [f"{reason} ({count} {'file' if count == 1 else 'files'})" for reason, count in common]
    if rest := counts.total() - sum(count for _, count in common):
        told.append(f"and {rest} more")
    return f" (left out: {', '.join(told)})" if told else ""


def _check_nesting(folder: Path, dataset: Dataset, subfolders_are_groups: bool) -> None:
    """Refuse what looks like datasets in a dataset: their folders would become classes.

    A class may have subfolders, such as the bursts of a camera. They are classes of another dataset if they
    are splits, or have the names of classes; and if every class has nothing but subfolders, nobody can tell.
    """
    for part, classes in dataset.images.items():
        within = {name: _subfolders(dataset, files) for name, files in classes.items() if files}
        inner = {name: found for name, found in within.items() if found and len(found[1]) > 1}
        for name, (path, names) in inner.items():
            splits = {SPLIT_NAMES[split.lower()] for split in names if split.lower() in SPLIT_NAMES}
            if (TRAIN in splits and len(splits) > 1) or names & set(classes):
                raise DatasetError(
                    f"{folder}: {relative(path, dataset.root)} holds {_shown(names)}, which would be one"
                    f" class, {name!r}: it looks like a dataset of its own; give {path}, or move it elsewhere"
                )
        if within and inner.keys() == within.keys() and not subfolders_are_groups:
            where = folder if part == CLASSES else f"{part} of {folder}"
            path, names = next(iter(inner.values()))
            raise DatasetError(
                f"{where} holds {_shown(inner)}, which have pictures only in subfolders, such as "
                f"{_shown(names)} in {relative(path, dataset.root)}: they look like datasets, not like"
                f" classes; give one of them, such as {path}, or, if each is a class, put pictures directly"
                " into it"
            )


def _subfolders(dataset: Dataset, files: Sequence[Path]) -> tuple[Path, set[str]] | None:
    """The folder below which a class's pictures part ways, and its subfolders; None if one has pictures."""
    ways = [Path(dataset.name_in_class(file)).parts[:-1] for file in files]
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*ways, strict=False)))
    if any(len(way) == shared for way in ways):
        return None
    return files[0].parents[len(ways[0]) - shared], {way[shared] for way in ways}


def _shown(names: Iterable[str], most: int = 3) -> str:
    """The first names of a list for a sentence."""
    found = sorted(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def images_needed(part: str, parts: Iterable[str]) -> int:
    """How many images of a class a part must hold, given which parts are published."""
    published = set(parts)
    if part == CLASSES or published == {TRAIN}:
        return MIN_IMAGES
    # Whatever of validation and test is not published comes from train, see split.plan.
    return 2 if part == TRAIN and published != {TRAIN, VALIDATION, TEST} else 1
