"""Find pictures that belong in one split, so that splits share no content: copies and named groups.

Groups are named by a regular expression on a file's name, or by a folder below the class: one patient's
pictures, one burst of a camera, one writer.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from entrypoints.copies import BYTES, NEAR, PIXELS, Pair, find
from entrypoints.dataset import Dataset, without
from entrypoints.folders import DatasetError, Rejected, relative

NAMED = "named group"
REFUSE, LEAVE_OUT = "refuse", "leave_out"  # how to handle conflicting labels


@dataclass(frozen=True)
class Rules:
    """What belongs together: settings of the section [split], explained there."""

    seed: int = 0
    group_pattern: str = ""
    group_level: int = 0
    near_copies: bool = True
    conflicting_labels: str = REFUSE


@dataclass(frozen=True)
class Group:
    """Pictures for one split, ordered by name; most groups are one picture.

    `place` is a number from 0 to 1 (split.place). `why` names the reasons: kinds of copies, and NAMED.
    """

    files: tuple[Path, ...]
    place: float
    why: tuple[str, ...]


@dataclass(frozen=True)
class Grouped:
    """A dataset without its conflicts, its groups in the order of their first pictures, and the findings.

    `copies` counts pictures with a copy, by kind; `conflicts` are copies under two classes, each with its
    kind; `unnamed` are pictures outside all named groups, if there are any.
    """

    dataset: Dataset
    groups: tuple[Group, ...]
    copies: Mapping[str, int]
    conflicts: tuple[tuple[str, tuple[Path, ...]], ...]
    unnamed: tuple[Path, ...]


def group(dataset: Dataset, rules: Rules) -> Grouped:
    """Find what belongs together.

    The smallest number among a group's pictures is its place. A picture's number comes from the seed and its
    file's content or its group's name. It stays the same when a dataset grows, and a group that gains a
    picture can only move to a smaller place. (So a group of different pictures is more often in the test
    split, which has the smallest places, than a single picture.)

    Raises:
        DatasetError: files with the same bytes are in two classes, unless these are left out; no file name
        contains a group.
    """
    class_of = {file: name for part in dataset.images.values() for name in part for file in part[name]}
    files = sorted(class_of, key=lambda file: relative(file, dataset.root))
    pairs = find(files, dataset.looks, rules.near_copies)
    same = _conflicts(files, [pair for pair in pairs if pair.how == BYTES], class_of)
    if same and rules.conflicting_labels == REFUSE:
        one, other = (relative(file, dataset.root) for file in _of_two_classes(same[0], class_of))
        more = f", and {len(same) - 1} more such pictures" if len(same) > 1 else ""
        raise DatasetError(
            f"{one!r} and {other!r} are the same file under two classes{more}; remove the wrong one, or set "
            "split.conflicting_labels to leave_out to use neither"
        )
    identical = _conflicts(files, [pair for pair in pairs if pair.how != NEAR], class_of)
    in_bytes = {file for together in same for file in together}
    conflicts = [(PIXELS if in_bytes.isdisjoint(together) else BYTES, together) for together in identical]
    if rules.conflicting_labels != REFUSE:
        dataset = _without(dataset, identical, class_of)
        gone = {file for together in identical for file in together}
        files = [file for file in files if file not in gone]
        pairs = [pair for pair in pairs if pair.one not in gone and pair.other not in gone]
    conflicts += [
        (NEAR, (pair.one, pair.other))
        for pair in pairs
        if pair.how == NEAR and class_of[pair.one] != class_of[pair.other]
    ]
    copies = {
        how: len({file for pair in pairs if pair.how == how for file in (pair.one, pair.other)})
        for how in (BYTES, PIXELS, NEAR)
    }
    names = _names(dataset, files, rules)
    return Grouped(
        dataset,
        tuple(_groups(dataset, files, pairs, names, rules.seed)),
        {how: count for how, count in copies.items() if count},
        tuple(conflicts),
        tuple(file for file in files if file not in names) if names else (),
    )


def _groups(
    dataset: Dataset, files: Sequence[Path], pairs: Sequence[Pair], names: Mapping[Path, str], seed: int
) -> Iterable[Group]:
    first_of: dict[str, Path] = {}
    named = [(first_of.setdefault(name, file), file) for file, name in names.items()]
    why: dict[Path, set[str]] = defaultdict(set)
    for pair in pairs:
        why[pair.other].add(pair.how)
    for first, file in named:
        if first is not file:
            why[file].add(NAMED)
    for together in _connected(files, [*((pair.one, pair.other) for pair in pairs), *named]):
        numbers = [
            _number(seed, f"group {names[file]}" if file in names else f"{dataset.looks[file].digest:016x}")
            for file in together
        ]
        ties = {tie for file in together for tie in why.get(file, ())}
        yield Group(together, min(numbers), tuple(sorted(ties)))


def _number(seed: int, key: str) -> float:
    """A number from 0 to 1 that depends only on the seed and the key."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") / 2**64


def _connected(files: Sequence[Path], pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, ...]]:
    """The files that pairs connect, as sets, in the order of the files."""
    row = {file: number for number, file in enumerate(files)}
    ends = np.array([(row[one], row[other]) for one, other in pairs], np.int64).reshape(-1, 2)
    shape = (len(files), len(files))
    _, labels = connected_components(coo_array((np.ones(len(ends)), ends.T), shape=shape), directed=False)
    sets: dict[int, list[Path]] = defaultdict(list)
    for file, label in zip(files, labels.tolist(), strict=True):
        sets[label].append(file)
    return [tuple(together) for together in sets.values()]


def _conflicts(
    files: Sequence[Path], pairs: Sequence[Pair], class_of: Mapping[Path, str]
) -> list[tuple[Path, ...]]:
    """Copies under several classes."""
    concerned = {file for pair in pairs for file in (pair.one, pair.other)}
    sets = _connected(
        [file for file in files if file in concerned], [(pair.one, pair.other) for pair in pairs]
    )
    return [together for together in sets if len({class_of[file] for file in together}) > 1]


def _of_two_classes(together: Sequence[Path], class_of: Mapping[Path, str]) -> tuple[Path, Path]:
    one = together[0]
    return one, next(file for file in together if class_of[file] != class_of[one])


def _without(dataset: Dataset, conflicts: Sequence[Sequence[Path]], class_of: Mapping[Path, str]) -> Dataset:
    """The dataset without pictures under two classes, which are listed as left out."""
    reasons: dict[Path, str] = {}
    for together in conflicts:
        for file in together:
            other = next(twin for twin in together if class_of[twin] != class_of[file])
            reasons[file] = f"is the same picture as {relative(other, dataset.root)!r}, of another class"
    return leave_out(dataset, reasons)


def leave_out(dataset: Dataset, reasons: Mapping[Path, str]) -> Dataset:
    """The dataset without some files; each reason completes "FILE ..."."""
    rejected = [Rejected(relative(file, dataset.root), reason) for file, reason in reasons.items()]
    listed = tuple(sorted([*dataset.rejected, *rejected], key=lambda r: r.file))
    return replace(without(dataset, reasons), rejected=listed)


def _names(dataset: Dataset, files: Sequence[Path], rules: Rules) -> dict[Path, str]:
    """The names of the user's groups, by file."""
    names: dict[Path, str] = {}
    for file in files:
        name = dataset.name_in_class(file)
        if rules.group_level:
            folders = name.split("/")[:-1]
            found = folders[rules.group_level - 1] if len(folders) >= rules.group_level else ""
        elif rules.group_pattern:
            match = re.search(rules.group_pattern, name)
            found = (match[1] if match.re.groups else match[0]) or "" if match else ""
        else:
            return {}
        if found:
            names[file] = found
    if files and not names:
        what = (
            f"split.group_level = {rules.group_level} names no folder"
            if rules.group_level
            else f"split.group_pattern = {rules.group_pattern!r} matches no name"
        )
        raise DatasetError(
            f"{what}: below its class the first picture is {dataset.name_in_class(files[0])!r}; mend it, or "
            "leave it out"
        )
    return names
