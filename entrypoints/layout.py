"""Where the pictures of a dataset lie, and what says which class each is of; docs/datasets.md has the table.

Nothing is guessed in silence: `notes` say what was recognised, and what could be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from entrypoints.contract import TEST, TRAIN, VALIDATION
from entrypoints.folders import DatasetError, Folders, Rejected, is_picture, nfc, relative
from entrypoints.labels import Index, Labels, Table, check_class_name, is_table, match, no_classes, read

CLASSES = "classes"  # the part of a dataset whose pictures come without splits

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}
_WORDS = re.compile(r"[\W_]+")
# Sets of names that are hardly ever classes: v1 and v2, fold1 to fold5, 2024-01 and 2024-02.
_VERSION = re.compile(
    r"(v|ver|version|rev|revision|release|fold|batch|part|shard|chunk|run)[\W_]*\d+([._]\d+)*"
    r"|(19|20)\d\d[-_.]?[01]\d([-_.]?[0-3]\d)?",
    re.IGNORECASE,
)
# Folders with such a name say nothing of what is on their pictures.
_PLAIN_NAMES = {
    *("images", "image", "imgs", "img", "pictures", "pics", "photos", "jpg", "jpeg", "png"),
    *("data", "dataset"),
}
_ADVICE = (
    "give each class a folder of its own, or add labels.csv with the columns file and label, or, where names "
    "carry the class, as cat.12.jpg does, set split.label_regex, here '^([a-z]+)'"
)
_FOLDERS_ARE_CLASSES = "if they are classes, set split.label_regex to '^([^/]+)/'"


@dataclass
class Layout:
    """Pictures and their classes, before any picture is opened.

    `parts[part][class name]` lists files in a fixed order; `part` is CLASSES, or a split's name. `names` has
    each file's path below its class. `tables` are the files that say which class a picture is of.
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
        label_regex: names the class of a picture by its path below the dataset, or below a split's folder:
            its first group, or all that it matches. Folders are no classes then. "": nothing does.

    Raises:
        DatasetError: nobody can tell, or there are two answers.
    """
    layout = Layout()
    root = folders.root if label_regex else _unwrapped(layout, folders, folders.root)
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
        _check_case(root, part, classes)
    return layout


def split_of(name: str) -> tuple[str, str] | None:
    """The split that a name stands for, and the rest of it: of "seg_train" train and "seg"."""
    words = [word for word in _WORDS.split(name.lower()) if word]
    found = [number for number, word in enumerate(words) if word in _SPLITS]
    if len(found) != 1 or found[0] not in (0, len(words) - 1):
        return None
    return _SPLITS[words.pop(found[0])], " ".join(words)


def shown(names: Iterable[str], most: int = 3) -> str:
    """The first names of a list, for a sentence."""
    found = sorted(names)
    first, last = (
        (found[:most], f"{len(found) - most} more") if len(found) > most else (found[:-1], found[-1])
    )
    return f"{', '.join(first)} and {last}" if first else last


def _unwrapped(layout: Layout, folders: Folders, folder: Path) -> Path:
    """The folder itself, or, where another folder of folders is all that is in it, that one."""
    while len(inner := folders.folders(folder)) == 1:
        (only,) = inner
        split = split_of(only.name)
        whole_split = folder == folders.root and split is not None and split[1] == ""
        flat = bool(folders.pictures(only))
        says_nothing = only.name.lower() in _PLAIN_NAMES or split is not None
        if whole_split or folders.pictures(folder) or any(map(is_table, folders.plain(folder))):
            break
        if not (says_nothing if flat else folders.folders(only)) and not any(
            map(is_table, folders.plain(only))
        ):
            break
        layout.notes.append(f"reading {relative(only, folders.root)}, the only folder in {folder}")
        for file in folders.plain(folder):
            _reject(folders, file, f"lies outside {only.name}, the only folder beside it")
        folder = only
    return folder


def _splits(folders: Folders, root: Path) -> dict[str, Path]:
    """The folders of ready-made splits; empty if there are none, train among them.

    Raises:
        DatasetError: two folders for one split; or train could be a class as well.
    """
    named: dict[str, dict[str, list[Path]]] = {}
    for folder in folders.folders(root):
        if (split := split_of(folder.name)) is not None and not _holds_tables(folders, folder):
            named.setdefault(split[1], {}).setdefault(split[0], []).append(folder)
    # "bullet_train" alone is no split; beside "bullet_test" it is.
    sets = [found for rest, found in named.items() if TRAIN in found and (not rest or len(found) > 1)]
    if not sets:
        return {}
    twins = [folder.name for found in sets for folder in found[TRAIN]]
    twins = (
        twins if len(twins) > 1 else next(([f.name for f in t] for t in sets[0].values() if len(t) > 1), [])
    )
    if twins:
        raise DatasetError(f"{root} holds both {twins[0]} and {twins[1]}; keep one of them")
    splits = {split: of_it[0] for split, of_it in sets[0].items()}
    others = [folder for folder in folders.folders(root) if folder not in splits.values()]
    with_pictures = [folder.name for folder in others if folders.pictures(folder)]
    if not folders.folders(splits[TRAIN]):
        return {} if with_pictures else splits
    if len(splits) == 1 and with_pictures:
        raise DatasetError(
            f"{root}: {splits[TRAIN].name} holds folders as a split does, {shown(with_pictures)} beside it "
            "hold pictures as classes do; give it another name, or move the others"
        )
    return splits


def _by_splits(layout: Layout, folders: Folders, root: Path, splits: Mapping[str, Path]) -> None:
    """Take classes from the folders in each split, or from a table where a split holds pictures only."""
    flat: dict[str, Path] = {}
    for split in sorted(splits, key=lambda split: split != TRAIN):
        base = _unwrapped(layout, folders, splits[split])
        inner, known = folders.folders(base), layout.parts.get(TRAIN, {})
        if split != TRAIN and len(inner) == 1 and known and nfc(inner[0].name) not in known:
            base, inner = inner[0], folders.folders(inner[0])  # test/unknown/1.jpg
        if inner:
            _by_folders(layout, folders, split, base)
        else:
            flat[split] = base
    if not flat:
        return
    found = _tables(folders, root)
    useless: list[Table] = []
    for split, base in flat.items():
        own = [table for table in found if _split_of_table(table) == split] + _tables(folders, base)
        files = {base: list(folders.files(base)), root: list(folders.files(base))}
        if labels := _best(own, files, True, useless):
            _use(layout, folders, labels, {base: split})
            _reject_unnamed(layout, folders, files[base])
    left = {base: split for split, base in flat.items() if split not in layout.parts}
    files = {base: list(folders.files(base)) for base in left}
    files[root] = [file for own_files in files.values() for file in own_files]
    general = [table for table in found if _split_of_table(table) is None]
    if left and (labels := _best(general, files, True, useless)):
        _use(layout, folders, labels, left)
    for base, split in left.items():
        if split in layout.parts:
            _reject_unnamed(layout, folders, files[base])
            continue
        count = len(files[base])
        if split == TRAIN:
            more = f" ({no_classes(useless[0])})" if useless else ""
            raise DatasetError(f"{base} holds {count} files, but no class folders{more}; {_ADVICE}")
        layout.notes.append(f"{relative(base, folders.root)} is set aside: nothing labels its {count} files")


def _by_tables(layout: Layout, folders: Folders, root: Path) -> bool:
    """Take classes from tables, without folders of splits; whether there were any that name pictures.

    Raises:
        DatasetError: tables and folders name different classes, or no class column can be found.
    """
    found = _tables(folders, root)
    if not found:
        return False
    inner = [folder for folder in folders.folders(root) if any(folders.files(folder))]
    files = {folder: list(folders.files(folder)) for folder in inner} | {root: list(folders.files(root))}
    useless: list[Table] = []
    by_split = {split: table for table in found if (split := _split_of_table(table)) is not None}
    of_splits = {
        split: labels for split, table in by_split.items()
        if (labels := _best([table], files, len(inner) < 2, useless)) is not None
    }  # fmt: skip
    if len(of_splits) > 1 and TRAIN in of_splits:
        for split, labels in of_splits.items():
            _use(layout, folders, labels, {labels.base: split})
        _reject_unnamed(layout, folders, files[root])
        return True
    labels = _best(found, files, len(inner) < 2, useless)
    if labels is None:
        if useless and len(inner) < 2:
            raise DatasetError(f"{root}: {no_classes(useless[0])}")
        return False
    folder_of = {file: file.relative_to(root).parts[0] for file in labels.labels if file.parent != root}
    classes = {nfc(name).casefold() for name in labels.labels.values()}
    if len(inner) > 1 and any(nfc(folder.name).casefold() in classes for folder in inner):
        for file, name in labels.labels.items():
            if nfc(folder_of.get(file, "")) != name:
                raise DatasetError(
                    f"{labels.table.file} says {name!r} of {relative(file, root)}, whose folder says another "
                    "class; remove the table, or put the pictures into one folder"
                )
        return False
    _use(layout, folders, labels, {labels.base: CLASSES})
    _reject_unnamed(layout, folders, files[root])
    return True


def _by_folders(layout: Layout, folders: Folders, part: str, base: Path) -> None:
    """Every folder is a class; two Unicode forms of one name are one class.

    Raises:
        DatasetError: there are pictures and no folders.
    """
    classes = folders.folders(base)
    layout.parts[part] = {}
    if not classes and (pictures := folders.pictures(base)):
        raise DatasetError(f"{base} holds {len(pictures)} files, but no class folders; {_ADVICE}")
    for file in folders.plain(base):
        _reject(folders, file, "lies outside the class folders")
    for folder in classes:
        layout.parts[part].setdefault(nfc(folder.name), [])
        for file in folders.files(folder):
            layout.add(part, nfc(folder.name), file, folder)


def _by_regex(layout: Layout, folders: Folders, part: str, base: Path, label_regex: str) -> None:
    matched: dict[Path, str] = {}
    files = list(folders.files(base))
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
    for file in files:
        if file in matched:
            layout.add(part, matched[file], file, base)
        else:
            _reject(folders, file, "has a name in which split.label_regex finds no class")
    layout.notes.append(f"{len(matched)} names carry a class, as split.label_regex says")


def _tables(folders: Folders, base: Path) -> list[Table]:
    """The tables in a folder, and in folders of nothing but tables, such as SageMaker's train_lst/."""
    files = folders.plain(base)
    for folder in folders.folders(base):
        files = files + (folders.plain(folder) if _holds_tables(folders, folder) else [])
    # Kaggle's sample_submission.csv has made-up labels.
    return [read(file) for file in files if is_table(file) and "submission" not in file.stem.lower()]


def _holds_tables(folders: Folders, folder: Path) -> bool:
    """Whether tables are all that a folder holds."""
    files = folders.plain(folder)
    return bool(files) and all(map(is_table, files)) and not folders.folders(folder)


def _split_of_table(table: Table) -> str | None:
    found = split_of(table.file.stem)
    return found[0] if found else None


def _best(
    found: Sequence[Table], files: Mapping[Path, Sequence[Path]], any_column: bool, useless: list[Table]
) -> Labels | None:
    """What the table that fits says, read from the folder where it names most pictures.

    Args:
        files: by folder; of several that fit as well, the first is taken
        useless: gets tables that name pictures and have no column of classes

    Raises:
        DatasetError: two tables name pictures.
    """
    indices = [Index(base, own) for base, own in files.items()]
    fitting: list[Labels] = []
    for table in found:
        matches = [match(table, index, any_column) for index in indices]
        usable = [labels for labels in matches if labels is not None]
        if not usable:
            continue
        best = max(usable, key=lambda labels: len(labels.labels) + len(labels.unlabelled))
        if best.class_column:
            fitting.append(best)
        else:
            useless.append(table)
    if len(fitting) > 1:
        one, other = (labels.table.file.name for labels in fitting[:2])
        raise DatasetError(f"{one} and {other} in {fitting[0].table.file.parent} both name classes; keep one")
    return fitting[0] if fitting else None


def _use(layout: Layout, folders: Folders, labels: Labels, parts: Mapping[Path, str]) -> None:
    """Add what a table says to the parts that its pictures lie in, by folder."""
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
    for file in labels.unlabelled:
        _reject(folders, file, f"has no label in {name}")


def _split_column(layout: Layout, labels: Labels) -> dict[Path, str]:
    """The split of each picture, where a column names splits and nothing else."""
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
    """List the files that the tables do not name."""
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
            _reject(folders, path, "lies outside the train, val and test folders")


def _reject(folders: Folders, path: Path, reason: str) -> None:
    folders.rejected.append(Rejected(relative(path, folders.root), reason))


def _check_names(folders: Folders, root: Path, classes: Mapping[str, Sequence[Path]]) -> None:
    """Refuse folders whose names or contents say that they are no classes.

    Raises:
        DatasetError: they are splits, or versions, or lie around the folder with the classes.
    """
    names = [name for name, files in classes.items() if files]
    splits = [split for name in names if (split := split_of(name)) is not None]
    whole = {split for split, rest in splits if not rest}
    if len(names) > 1 and (len(splits) == len(names) or (TRAIN in whole and len(whole) > 1)):
        raise DatasetError(
            f"{root} holds {shown(names)}, which look like splits without folders of classes; {_ADVICE}; "
            f"{_FOLDERS_ARE_CLASSES}"
        )
    if len(names) > 1 and all(_VERSION.fullmatch(name) for name in names):
        raise DatasetError(
            f"{root} holds {shown(names)}, which look like versions or parts of a dataset, not like classes; "
            f"give one of them, such as {root / sorted(names)[0]}; {_FOLDERS_ARE_CLASSES}"
        )
    holds = {
        folder: [f for f in folders.folders(folder) if any(folders.files(f))]
        for folder in folders.folders(root)
    }
    pictured = [
        folder
        for folder in holds
        if any(is_picture(file) or not file.suffix for file in folders.files(folder))
    ]
    for folder, inner in holds.items():
        alone = pictured == [folder] or folder.name.lower() in _PLAIN_NAMES
        if alone and len(inner) > 1 and not folders.pictures(folder):
            raise DatasetError(
                f"{relative(folder, folders.root)}/ holds {shown(nfc(f.name) for f in inner)}; did you mean "
                f"that? give {folder}"
            )


def _check_case(root: Path, part: str, classes: Mapping[str, Sequence[Path]]) -> None:
    """Refuse classes that some file systems cannot tell apart."""
    folded: dict[str, str] = {}
    for name in classes:
        twin = folded.setdefault(nfc(name).casefold(), name)
        if twin != name:
            where = root if part == CLASSES else f"{part} of {root}"
            raise DatasetError(
                f"class names {twin!r} and {name!r} in {where} differ only by case; rename one"
            )
