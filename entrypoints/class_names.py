"""Names of classes: which a folder or a label may have, and which say that a folder is not a class."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from entrypoints.folders import DatasetError, is_litter, nfc

# Names that are rarely classes: v1 and v2, fold1 to fold5, 2024-01 and 2024-02.
_VERSION = re.compile(
    r"(v|ver|version|rev|revision|release|fold|batch|part|shard|chunk|run)[\W_]*(\d+([._]\d+)*|[a-d])"
    r"|(19|20)\d\d[-_.]?[01]\d([-_.]?[0-3]\d)?",
    re.IGNORECASE,
)
# Folder names that do not describe their pictures.
_PLAIN = {
    *("images", "image", "imgs", "img", "pictures", "pics", "photos", "jpg", "jpeg", "png"),
    *("data", "dataset", "original", "originals", "augmented", "resized", "cropped"),
    *("masks", "mask", "annotations", "trimaps", "segmentation", "segmentations", "groundtruth", "labels"),
}
ADVICE = (
    "give each class its own folder, or add labels.csv with the columns file and label, or, if file names "
    "contain the class (cat.12.jpg), use --label-regex '^([a-z]+)' (the setting split.label_regex)"
)
FOLDERS_ARE_CLASSES = "if they are classes, use --label-regex '^([^/]+)/' (the setting split.label_regex)"


def is_plain(name: str) -> bool:
    """Whether a folder's name says nothing of what its pictures show."""
    return name.lower() in _PLAIN


def are_versions(names: Iterable[str]) -> bool:
    """Whether all names are those of versions or parts of a dataset."""
    return all(map(_VERSION.fullmatch, names))


def say_nothing(names: Iterable[str]) -> bool:
    """Whether no name is a class: all are plain, end like versions, or are one name with numbers."""
    names = list(names)
    stems = {re.sub(r"\d+", "", name) for name in names}
    return (
        all(map(is_plain, names))
        or all(map(_VERSION.search, names))
        or (len(stems) == 1 and stems != {""} and all(re.search(r"\d", name) for name in names))
    )


def check_case(where: Path | str, classes: Iterable[str]) -> None:
    """Refuse class names that some file systems cannot tell apart.

    Raises:
        DatasetError: two differ only by case or blanks.
    """
    folded: dict[str, str] = {}
    for name in classes:
        twin = folded.setdefault(nfc(name).strip().casefold(), name)
        if twin != name:
            raise DatasetError(
                f"class names {twin!r} and {name!r} in {where} differ only by case or blanks; rename one"
            )


def check_class_name(name: str, where: str) -> None:
    """Refuse a class that cannot be a folder's name: the split makes it one.

    Args:
        where: the source of the name; the message continues with it.

    Raises:
        DatasetError: it cannot be one.
    """
    if is_litter(name) or any(c in "/\\" or not c.isprintable() for c in name) or len(name.encode()) > 200:
        raise DatasetError(
            f"{where} the class {name!r}, which cannot be a folder's name; take one of at most 200 bytes, "
            "without slashes and without a dot at its beginning"
        )


def shown(names: Iterable[str], most: int = 3) -> str:
    """The first names of a list, for a sentence."""
    found = sorted(names)
    cut = len(found) > most
    first, last = (found[:most], f"{len(found) - most} more") if cut else (found[:-1], found[-1])
    return f"{', '.join(first)} and {last}" if first else last
