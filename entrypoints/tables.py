"""Find the tables in a dataset that name its pictures' classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from entrypoints.contract import TRAIN
from entrypoints.folders import DatasetError, Folders, Rejected, relative
from entrypoints.labels import Index, Labels, Table, class_texts, is_table, match, no_classes, read
from entrypoints.splits import split_of


class Tables:
    """The tables in a folder, and in folders without pictures below it, such as SageMaker's train_lst/.

    `problem` says why a table cannot be used, in case nothing else names classes.
    """

    def __init__(self, folders: Folders, base: Path) -> None:
        self.problem = ""
        self._folders = folders
        self._tables: list[Table] = []
        self._unmatched: list[Table] = []
        files = folders.plain(base)
        for folder in folders.folders(base):
            files = files + ([] if folders.hold_pictures(folder) else list(folders.files(folder)))
        for file in filter(is_table, files):
            try:
                self._tables.append(read(file))
            except DatasetError as error:
                self.problem = self.problem or str(error)

    def drop_lists(self, classes: set[str]) -> None:
        """Leave out tables with a row per class, which name classes but no pictures.

        Args:
            classes: names of folders, in lower-case.
        """
        self._tables = [table for table in self._tables if not _lists(table, classes)]

    def of_split(self, split: str | None) -> list[Table]:
        """The tables whose file is named like the split; for None, like no split."""
        return [table for table in self._tables if split_of_table(table) == split]

    def indices(self, files: Mapping[Path, Iterable[Path]]) -> list[Index]:
        """An index of each folder's files; none without a table that would be looked up."""
        return [Index(base, own) for base, own in files.items()] if self._tables else []

    def best(self, tables: Sequence[Table], indices: Sequence[Index], any_column: bool) -> Labels | None:
        """The matching table's reading, from the folder where it names most pictures.

        Args:
            indices: of folders. Among those with equally many, train's is taken, or the innermost.
            any_column: whether the only other column may hold the classes, whatever its name.

        Raises:
            DatasetError: two tables name pictures, or one names pictures in two folders, or twice.
        """
        fitting: list[Labels] = []
        for table in tables:
            found = [labels for index in indices if (labels := match(table, index, any_column)) is not None]
            if not found:
                self._unmatched.append(table)
                self.problem = self.problem or _names_nothing(table, indices)
                continue
            labels = self._innermost(found)
            if labels.class_column:
                fitting.append(labels)
            else:
                self.problem = self.problem or no_classes(table)
        if len(fitting) > 1:
            one, other = (labels.table.file.name for labels in fitting[:2])
            where = fitting[0].table.file.parent
            raise DatasetError(f"{one} and {other} in {where} both name classes; keep one")
        return fitting[0] if fitting else None

    def _innermost(self, found: Sequence[Labels]) -> Labels:
        """The reading with most pictures.

        Raises:
            DatasetError: there are two, or one of its names means two pictures.
        """
        most = max(_hits(labels) for labels in found)
        best = [labels for labels in found if _hits(labels) == most]
        labels = min(best, key=lambda one: (-len(one.base.parts), split_of(one.base.name) != (TRAIN, "")))
        name, root = labels.table.file.name, self._folders.root
        for other in best:
            splits = [split_of(base.name) for base in (labels.base, other.base)]
            if not labels.base.is_relative_to(other.base) and (None in splits or splits[0] == splits[1]):
                raise DatasetError(
                    f"the names in {name} fit the pictures in {relative(labels.base, root)} and in "
                    f"{relative(other.base, root)}; write paths into it, or move a folder away"
                )
        if labels.twofold:
            text, *files = labels.twofold[0]
            both = " and ".join(relative(file, root) for file in files)
            raise DatasetError(f"{text!r} in {name} is the name of {both}; write paths into it, or keep one")
        return labels

    def refuse_unmatched(self, classes: set[str]) -> None:
        """Refuse tables of labels that name neither pictures nor classes.

        Args:
            classes: names of folders, in lower case; a table that explains them is left out.

        Raises:
            DatasetError: there is one.
        """
        for table in self._unmatched:
            texts = class_texts(table)
            if texts and texts.isdisjoint(classes):
                raise DatasetError(f"{self.problem}; mend it, or remove it")


def split_of_table(table: Table) -> str | None:
    """The split in a table's file name, anywhere in it."""
    words = re.split(r"[\W_]+", table.file.stem)
    found = {split[0] for word in words if (split := split_of(word)) is not None}
    return found.pop() if len(found) == 1 else None


def _lists(table: Table, classes: set[str]) -> bool:
    texts = class_texts(table)
    return bool(texts) and texts <= classes and len(texts) == len(table.rows)


def _hits(labels: Labels) -> int:
    return len(labels.labels) + len(labels.unlabelled)


def _names_nothing(table: Table, indices: Sequence[Index]) -> str:
    if not table.rows:
        return f"{table.file} has no rows"
    example = next((index.example for index in indices if index.example), "")
    row = ", ".join(table.rows[0])
    return f"{table.file} names none of the files: they have names like {example!r}, its first row is {row!r}"


def left_out(folders: Folders, labels: Labels) -> list[Rejected]:
    """The pictures whose row has no label."""
    reason = f"has no label in {labels.table.file.name}"
    return [Rejected(relative(file, folders.root), reason) for file in labels.unlabelled]
