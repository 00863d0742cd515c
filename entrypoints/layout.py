"""Where a dataset's pictures are, and where their classes come from; docs/datasets.md has the table.

No silent guesses: `notes` say what was recognized, and ambiguous layouts are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from entrypoints.class_names import (
    ADVICE,
    FOLDERS_ARE_CLASSES,
    are_versions,
    check_case,
    check_class_name,
    is_plain,
    say_nothing,
    shown,
)
from entrypoints.contract import TEST, TRAIN, VALIDATION
from entrypoints.folders import DatasetError, Folders, Rejected, is_picture, nfc, relative
from entrypoints.labels import Labels, is_table
from entrypoints.splits import split_of
from entrypoints.tables import Tables, left_out

CLASSES = "classes"  # the part of a dataset without splits


@dataclass
class Layout:
    """Pictures and their classes, before any picture is opened.

    `parts[part][class name]` lists files in a fixed order; `part` is CLASSES, or a split's name. `names` has
    each file's path below its class. `tables` are the files that name pictures' classes.
    """

    parts: dict[str, dict[str, list[Path]]] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, part: str, name: str, file: Path, base: Path) -> None:
        """Put a file into a class; its name is its path below `base`."""
        self.parts.setdefault(part, {}).setdefault(name, []).append(file)
        self.names[file] = relative(file, base)


def find(folders: Folders, label_regex: str) -> Layout:
    """Find the pictures of each class.

    Args:
        label_regex: finds a picture's class in its path below the dataset, or below a split's folder: its
        first group, or its whole match. Folders are then not classes. "": not used.

    Raises:
        DatasetError: there is no answer, or there are two.
    """
    layout = Layout()
    root = _unwrapped(layout, folders, folders.root, flat=bool(label_regex))
    splits = _splits(folders, root)
    if label_regex:
        for part, folder in (splits or {CLASSES: root}).items():
            _by_regex(layout, folders, part, folder, label_regex)
    elif splits:
        _by_splits(layout, folders, root, splits)
    elif not _by_tables(layout, folders, root):
        _by_folders(layout, folders, CLASSES, root)
        _check_names(folders, root, layout.parts[CLASSES])
    if splits:
        _reject_others(layout, folders, root, splits)
    for part, classes in layout.parts.items():
        where = root if part == CLASSES else f"{part} of {root}"
        check_case(where, classes)
        if classes and not (label_regex or layout.tables) and all(map(is_plain, classes)):
            raise DatasetError(
                f"{where} holds {shown(classes)}, whose names say nothing of classes; {ADVICE}; "
                f"{FOLDERS_ARE_CLASSES}"
            )
    return layout


def _unwrapped(layout: Layout, folders: Folders, folder: Path, flat: bool = False) -> Path:
    """The folder itself, or its only content if that is a folder of folders.

    Args:
        flat: whether that may also be a folder of pictures, of any name.
    """
    while len(inner := folders.folders(folder)) == 1:
        (only,) = inner
        split = split_of(only.name)
        whole_split = folder == folders.root and split is not None and split[1] == ""
        if whole_split or folders.pictures(folder) or any(map(is_table, folders.plain(folder))):
            break
        says_nothing = flat or is_plain(only.name) or split is not None
        wraps = says_nothing if folders.pictures(only) else bool(folders.folders(only))
        if not wraps and not any(map(is_table, folders.plain(only))):
            break
        layout.notes.append(f"reading {relative(only, folders.root)}, the only folder in {folder}")
        for file in folders.plain(folder):
            _reject(folders, file, f"lies beside {only.name}, the only folder")
        folder = only
    return folder


def _splits(folders: Folders, root: Path) -> dict[str, Path]:
    """The folders of ready-made splits, train included; empty if there are none.

    Raises:
        DatasetError: two folders for one split, or train could also be a class.
    """
    pictured = [folder for folder in folders.folders(root) if folders.hold_pictures(folder)]
    named: dict[str, dict[str, list[Path]]] = {}
    for folder in pictured:
        if (split := split_of(folder.name)) is not None:
            named.setdefault(split[1], {}).setdefault(split[0], []).append(folder)
    # "bullet_train" is a split alone or beside "bullet_test", but not beside other folders.
    alone = len(pictured) == 1
    sets = [
        found for rest, found in named.items() if TRAIN in found and (not rest or len(found) > 1 or alone)
    ]
    if not sets:
        return {}
    twins = [[folder.name for found in sets for folder in found[TRAIN]]]
    twins += [[folder.name for folder in same] for same in sets[0].values()]
    for names in twins:
        if len(names) > 1:
            raise DatasetError(f"{root} holds both {names[0]} and {names[1]}; keep one of them")
    splits = {split: folder for split, (folder,) in sets[0].items()}
    others = [
        folder.name for folder in pictured if folder not in splits.values() and folders.pictures(folder)
    ]
    if not folders.folders(splits[TRAIN]):
        return {} if others else splits
    if len(splits) == 1 and others:
        raise DatasetError(
            f"{root}: {splits[TRAIN].name} holds folders as a split does, {shown(others)} beside it hold "
            "pictures as classes do; give it another name, or move the others"
        )
    return splits


def _by_splits(layout: Layout, folders: Folders, root: Path, splits: Mapping[str, Path]) -> None:
    """Take classes from the folders in each split, or from a table if a split holds only pictures."""
    flat: dict[str, Path] = {}
    for split in sorted(splits, key=lambda split: split != TRAIN):
        base = _unwrapped(layout, folders, splits[split])
        inner, known = _pictured(folders, base), layout.parts.get(TRAIN, {})
        if split != TRAIN and len(inner) == 1 and known and nfc(inner[0].name) not in known:
            base, inner = inner[0], _pictured(folders, inner[0])  # test/unknown/1.jpg
        if inner:
            _by_folders(layout, folders, split, base)
        else:
            flat[split] = base
    if not flat:
        return
    tables = Tables(folders, root)
    for split, base in flat.items():
        own_files = list(folders.files(base))
        own = Tables(folders, base)
        labels = own.best(own.of_split(None) + own.of_split(split), own.indices({base: own_files}), True)
        labels = labels or tables.best(
            tables.of_split(split), tables.indices({base: own_files, root: own_files}), True
        )
        if labels:
            _use(layout, folders, labels, {base: split})
            _reject_unnamed(layout, folders, own_files)
    left = {base: split for split, base in flat.items() if split not in layout.parts}
    files = {base: list(folders.files(base)) for base in left}
    every = {root: [file for own_files in files.values() for file in own_files]}
    if left and (labels := tables.best(tables.of_split(None), tables.indices(files | every), True)):
        _use(layout, folders, labels, left)
    for base, split in left.items():
        if split in layout.parts:
            _reject_unnamed(layout, folders, files[base])
        elif split == TRAIN:
            raise _flat(folders, base, tables.problem)
        else:
            name = relative(base, folders.root)
            layout.notes.append(f"{name} is set aside: nothing labels its {len(files[base])} files")


def _by_tables(layout: Layout, folders: Folders, root: Path) -> bool:
    """Without split folders, take classes from tables; return whether there were any.

    Raises:
        DatasetError: tables and folders name different classes, or nothing names classes.
    """
    tables = Tables(folders, root)
    inner = _pictured(folders, root)
    names = {nfc(folder.name).casefold() for folder in inner}
    files = {folder: list(folders.files(folder)) for folder in inner} | {root: list(folders.files(root))}
    tables.drop_lists(names)
    indices = tables.indices(files)
    of_splits = {}
    for part in (TRAIN, VALIDATION, TEST):
        if labels := tables.best(tables.of_split(part), indices, len(inner) < 2):
            of_splits[part] = labels
    if len(of_splits) > 1 and TRAIN in of_splits:
        for split, labels in of_splits.items():
            if shared := layout.names.keys() & labels.labels.keys():
                name = relative(min(shared), root)
                raise DatasetError(f"two tables of splits in {root} name {name}; leave it to one of them")
            _use(layout, folders, labels, {labels.base: split})
        _reject_unnamed(layout, folders, files[root])
        return True
    every = tables.of_split(None) + [labels.table for labels in of_splits.values()]
    labels = tables.best(every, indices, len(inner) < 2)
    if labels is None:
        if tables.problem and len(inner) < 2:
            raise DatasetError(tables.problem)
        tables.refuse_unmatched(names)
        return False
    if len(inner) > 1 and not say_nothing(names):
        if (contradiction := _contradiction(labels, root)) is not None:
            raise contradiction
        return False
    _use(layout, folders, labels, {labels.base: CLASSES})
    _reject_unnamed(layout, folders, files[root])
    return True


def _contradiction(labels: Labels, root: Path) -> DatasetError | None:
    """The first picture whose table and folder disagree, or None."""
    for file, name in labels.labels.items():
        folder = nfc(file.relative_to(root).parts[0]) if file.parent != root else ""
        if folder.casefold() != name.casefold():
            return DatasetError(
                f"{labels.table.file} says {name!r} of {relative(file, root)}, whose folder says another "
                "class; remove the table, or put the pictures into one folder"
            )
    return None


def _by_folders(layout: Layout, folders: Folders, part: str, base: Path) -> None:
    """Take every folder as a class; two Unicode forms of one name are one class.

    Raises:
        DatasetError: there are pictures but no folders.
    """
    classes = folders.folders(base)
    layout.parts[part] = {}
    if folders.pictures(base) and not _pictured(folders, base):
        raise _flat(folders, base)
    for file in folders.plain(base):
        _reject(folders, file, "lies outside the class folders")
    for folder in classes:
        files = list(folders.files(folder))
        if files and not any(map(is_picture, files)):
            _reject(folders, folder, f"holds {len(files)} files and none with the name of a picture")
            continue
        layout.parts[part].setdefault(nfc(folder.name), [])
        for file in files:
            layout.add(part, nfc(folder.name), file, folder)


def _pictured(folders: Folders, base: Path) -> list[Path]:
    return [folder for folder in folders.folders(base) if folders.hold_pictures(folder)]


def _flat(folders: Folders, base: Path, problem: str = "") -> DatasetError:
    count = sum(1 for _ in folders.files(base))
    return DatasetError(
        f"{base} holds {count} files, but no class folders{f' ({problem})' if problem else ''}; {ADVICE}"
    )


def _by_regex(layout: Layout, folders: Folders, part: str, base: Path, label_regex: str) -> None:
    """Take classes from the paths of pictures.

    Raises:
        DatasetError: no path has one, or it cannot name a class.
    """
    matched: dict[Path, str] = {}
    files = [file for file in folders.files(base) if is_picture(file)]
    for file in files:
        found = re.search(label_regex, relative(file, base))
        name = nfc((found[1] if found.re.groups else found[0]) or "") if found else ""
        if name:
            check_class_name(name, f"split.label_regex gives {relative(file, base)!r}")
            matched[file] = name
    if files and not matched:
        if part != TEST:
            raise DatasetError(
                f"split.label_regex, {label_regex!r}, finds no class in any name in {base}, such as "
                f"{relative(files[0], base)!r}; mend it"
            )
        layout.notes.append(
            f"{relative(base, folders.root)} is set aside: split.label_regex finds no class in its names"
        )
        return
    for file in folders.files(base):
        if file in matched:
            layout.add(part, matched[file], file, base)
        elif is_picture(file):
            _reject(folders, file, "has a name in which split.label_regex finds no class")
        else:
            _reject(folders, file, "is not an image")
    layout.notes.append(f"{len(matched)} names carry a class, as split.label_regex says")


def _use(layout: Layout, folders: Folders, labels: Labels, parts: Mapping[Path, str]) -> None:
    """Add a table's classes to the parts of its pictures, by folder."""
    name = labels.table.file.name
    layout.tables.append(labels.table.file)
    layout.notes.append(
        f"{name} names the classes: pictures in its column {labels.file_column!r}, classes in "
        f"{labels.class_column!r}"
    )
    if labels.lost:
        layout.notes.append(
            f"{name} names {len(labels.lost)} pictures that are not there, such as {labels.lost[0]!r}"
        )
    splits = _split_column(layout, labels) if set(parts.values()) == {CLASSES} else {}
    for file in sorted(labels.labels, key=lambda file: relative(file, folders.root)):
        base = next(base for base in parts if file.is_relative_to(base))
        layout.add(splits.get(file, parts[base]), labels.labels[file], file, base)
    folders.rejected += left_out(folders, labels)


def _split_column(layout: Layout, labels: Labels) -> dict[Path, str]:
    """The split of each picture, if a column holds only names of splits."""
    if not labels.splits:
        return {}
    splits = {text: split_of(text) for text in set(labels.splits.values())}
    if labels.splits.keys() != labels.labels.keys() or not all(
        split is not None and not split[1] for split in splits.values()
    ):
        layout.notes.append(
            f"the column {labels.split_column!r} is not read: it names more than train, validation and test"
        )
        return {}
    found = {file: split[0] for file, text in labels.splits.items() if (split := splits[text])}
    if TRAIN not in found.values():
        raise DatasetError(f"{labels.table.file} names no picture for train in {labels.split_column!r}")
    return found


def _reject_unnamed(layout: Layout, folders: Folders, files: Iterable[Path]) -> None:
    """Record the files that no table names."""
    known = layout.names.keys() | set(layout.tables)
    listed = {rejected.file for rejected in folders.rejected}
    tables = " and ".join(table.name for table in layout.tables)
    for file in files:
        if file not in known and relative(file, folders.root) not in listed:
            _reject(folders, file, f"is not in {tables}")


def _reject_others(layout: Layout, folders: Folders, root: Path, splits: Mapping[str, Path]) -> None:
    for path in [*folders.folders(root), *folders.plain(root)]:
        used = any(path == table or path in table.parents for table in layout.tables)
        if path not in splits.values() and not used:
            count = sum(1 for _ in folders.files(path)) if path.is_dir() else 0
            held = f", with {count} files" if count else ""
            _reject(folders, path, f"lies outside the train, val and test folders{held}")


def _reject(folders: Folders, path: Path, reason: str) -> None:
    folders.rejected.append(Rejected(relative(path, folders.root), reason))


def _check_names(folders: Folders, root: Path, classes: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders whose names or contents show that they are not classes.

    Raises:
        DatasetError: they are splits or versions, or surround the folder with the classes.
    """
    names = [name for name, files in classes.items() if files]
    splits = [split for name in names if (split := split_of(name)) is not None]
    whole = {split for split, rest in splits if not rest}
    pictured = _pictured(folders, root)
    deep = any(_pictured(folders, folder) for folder in pictured)
    if deep and len(splits) == len(names) > 1 and TRAIN not in {split for split, _ in splits}:
        raise DatasetError(f"{root} holds {shown(names)} and no train; call the folder to learn from train")
    if len(names) > 1 and (len(splits) == len(names) or (TRAIN in whole and len(whole) > 1)):
        raise DatasetError(
            f"{root} holds {shown(names)}, which look like splits without folders of classes; {ADVICE}; "
            f"{FOLDERS_ARE_CLASSES}"
        )
    if len(names) > 1 and are_versions(names):
        raise DatasetError(
            f"{root} holds {shown(names)}, which look like versions or parts of a dataset, not like classes; "
            f"give one of them, such as {root / sorted(names)[0]}; {FOLDERS_ARE_CLASSES}"
        )
    for folder in pictured:
        inner = _pictured(folders, folder)
        plain, split = is_plain(folder.name), split_of(folder.name)
        alone = pictured == [folder]
        if (alone or plain or split) and len(inner) > 1 and not folders.pictures(folder):
            raise DatasetError(
                f"{relative(folder, folders.root)}/ holds {shown(nfc(f.name) for f in inner)}; did you mean "
                f"that? give {folder}{', or call the folders train, val and test' if split else ''}"
            )
