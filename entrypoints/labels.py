"""Tables of labels beside pictures: CSV, TSV, JSON lines, SageMaker's .lst and augmented manifests.

.lst: "a tab-separated file with three columns": an index, the class, the relative path. Augmented manifest:
JSON lines with "source-ref" and a label's attribute, whose "-metadata" may have the "class-name". Both:
"Image Classification - MXNet" and "Augmented Manifest Files" in SageMaker's Developer Guide.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from entrypoints.class_names import check_class_name
from entrypoints.folders import DatasetError, is_picture, nfc

SUFFIXES = {".csv", ".tsv", ".lst", ".jsonl", ".ndjson", ".manifest"}
# Names of columns, without case, spaces and underscores.
FILE_COLUMNS = {
    *("file", "filename", "filepath", "filepaths", "fileid", "path", "paths", "image", "images", "imageid"),
    *("imagename", "imagepath", "img", "imgname", "id", "name", "picture", "sourceref", "uri", "url"),
}
CLASS_COLUMNS = {
    *("label", "labels", "labelname", "class", "classes", "classname", "classid", "tag", "target"),
    *("category", "categoryname", "breed", "species", "variety", "diagnosis", "dx"),
}
SPLIT_COLUMNS = {"split", "set", "subset", "dataset", "partition"}
# Values of the only other column that are not classes.
MEASURES = {*SPLIT_COLUMNS, "fold", "kfold", "width", "height", "size", "bytes", "index", "age"}
NO_LABEL = {"", "nan", "na", "n/a", "null"}
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """The rows of a file, each with a string per column.

    `files` and `classes` are the columns that name pictures and classes, "" if the format does not say.
    `headed`: whether a line of the file was read as the column names.
    """

    file: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    files: str = ""
    classes: str = ""
    headed: bool = False

    def texts(self, column: int) -> list[str]:
        """A column, in Unicode's composed form."""
        return [nfc(row[column].strip()) for row in self.rows]


@dataclass(frozen=True)
class Labels:
    """A table's data about the pictures below `base`, and their columns.

    `class_column` is "" if no column can hold classes: then there are no labels. `splits[file]` is the value
    of a column such as "split"; empty without one. `lost` are names of missing pictures, `unlabelled`
    pictures whose row has no label, `twofold` names that match several pictures, with two of these.
    """

    table: Table
    base: Path
    file_column: str
    class_column: str
    split_column: str
    labels: dict[Path, str]
    splits: dict[Path, str]
    lost: tuple[str, ...]
    unlabelled: tuple[Path, ...]
    twofold: tuple[tuple[str, Path, Path], ...]


class Index:
    """Find the pictures below a folder by their names in tables, ignoring case."""

    def __init__(self, base: Path, files: Iterable[Path]) -> None:
        self.base = base
        self.example = ""  # the name of a picture
        self._found: dict[str, list[Path]] = {}
        whole: dict[str, Path] = {}
        for file in filter(is_picture, files):
            path = PurePosixPath(nfc(file.relative_to(base).as_posix()))
            for name in dict.fromkeys((str(path), str(path.with_suffix("")), path.name, path.stem)):
                self._found.setdefault(name.casefold(), []).append(file)
            whole[str(path)] = file
            self.example = self.example or path.name
        # A full path is one picture, even if other paths end like it.
        self._whole = whole

    def find(self, names: Sequence[str]) -> list[list[Path]]:
        """The pictures that each name means: one, none, or several if the name is ambiguous.

        Names are paths below the folder; or URLs and paths from elsewhere, without their common leading
        folders; or names without folders, in any folder. The suffix may be missing.
        """
        split = [_parts(name) for name in names]
        folders = zip(*(parts[:-1] for parts in split), strict=False)
        shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, folders))
        tries = [["/".join(parts[drop:]) for parts in split] for drop in range(shared + 1)]
        found = ([self._of(name) for name in names] for names in tries)
        return max(found, key=lambda them: (sum(len(f) == 1 for f in them), sum(map(bool, them))))

    def _of(self, name: str) -> list[Path]:
        if name in self._whole:
            return [self._whole[name]]
        return self._found.get(name.casefold(), [])


def _parts(name: str) -> list[str]:
    """The parts of a path, Windows path or URL."""
    text = nfc(name.strip())
    if "://" in text and not text.startswith("s3://"):  # keys may hold characters that URLs escape
        text = unquote(urlsplit(text)._replace(scheme="", query="", fragment="").geturl())
    return [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]


def is_table(file: Path) -> bool:
    """Whether a file's suffix is a table's; not Kaggle's sample_submission.csv with its made-up labels."""
    return file.suffix.lower() in SUFFIXES and "submission" not in file.stem.lower()


def read(file: Path) -> Table:
    """Read a table.

    Raises:
        DatasetError: it cannot be read, or does not match its suffix.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{file} is not a text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(f"{file} cannot be read ({error.strerror})") from None
    suffix = file.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".manifest"):
        return _json_lines(file, text)
    if text.startswith("sep="):  # Excel's line that names the delimiter
        text = text.partition("\n")[2]
    first = text.partition("\n")[0]
    delimiter = "\t" if suffix in (".tsv", ".lst") else max(DELIMITERS, key=first.count)
    try:
        lines = io.StringIO(text, newline="")
        rows = [row for row in csv.reader(lines, delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise DatasetError(f"{file} is not a table with {delimiter!r} between columns ({error})") from None
    width = max(map(len, rows), default=0)
    full = [tuple(row + [""] * (width - len(row))) for row in rows]
    if suffix == ".lst":
        if width != 3:
            raise DatasetError(f"{file} has {width} columns; a .lst has three: index, one class, path")
        return Table(file, ("index", "label", "path"), tuple(full), "path", "label")
    if full and not any(cell and Path(cell).suffix and is_picture(Path(cell)) for cell in full[0]):
        names = [nfc(cell.strip()) or f"column {number}" for number, cell in enumerate(full[0], 1)]
        return Table(file, tuple(names), tuple(full[1:]), headed=True)
    return _without_header(Table(file, ("",) * width, tuple(full)))


def _without_header(table: Table) -> Table:
    """The table with numbers as column names; the line read as names becomes a row."""
    rows = (table.columns, *table.rows) if table.headed else table.rows
    return Table(table.file, tuple(f"column {number}" for number in range(1, len(table.columns) + 1)), rows)


def _json_lines(file: Path, text: str) -> Table:
    rows: list[dict[str, str]] = []
    classes: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise TypeError("it is not an object")
        except (ValueError, TypeError, RecursionError) as error:
            raise DatasetError(f"line {number} of {file} is not a JSON object ({error})") from None
        row = {}
        for name, value in content.items():
            about = content.get(f"{name}-metadata")
            if isinstance(about, dict) and isinstance(about.get("class-name"), str):
                row[name] = about["class-name"]
                classes.add(name)
            elif isinstance(value, str | int | float):
                row[name] = str(value)
        rows.append(row)
    if len(classes) > 1:
        one, other = sorted(classes)[:2]
        raise DatasetError(f"{file} has the labels of two jobs, {one!r} and {other!r}; keep one")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    texts = tuple(tuple(row.get(name, "") for name in columns) for row in rows)
    return Table(file, columns, texts, "source-ref" if "source-ref" in columns else "", "".join(classes))


def match(table: Table, index: Index, any_column: bool) -> Labels | None:
    """A table's data about an index's pictures; None if it names none of them.

    The column with the most picture names names them. The classes are in the column with a usual name (label,
    class, breed ...), or one-hot in a column per class, or, with `any_column`, in the only other column.

    Raises:
        DatasetError: two columns may hold the pictures or the classes, a picture has two labels, or a label
        cannot be a class.
    """
    if table.headed and any(map(any, map(index.find, [[name] for name in table.columns]))):
        table = _without_header(table)
    place = _file_column(table, index)
    if place is None:
        return None
    others = [number for number in range(len(table.columns)) if number != place]
    class_column, labels_of_rows = _classes(table, others, any_column) or ("", [""] * len(table.rows))
    split = next((number for number in others if plain(table.columns[number]) in SPLIT_COLUMNS), None)
    labels: dict[Path, str] = {}
    splits: dict[Path, str] = {}
    lost, unlabelled, twofold = [], [], []
    found = index.find([row[place] for row in table.rows])
    for row, files, label in zip(table.rows, found, labels_of_rows, strict=True):
        if not files:
            lost.append(row[place])
        elif len(files) > 1:
            twofold.append((row[place], files[0], files[1]))
        elif label.lower() in NO_LABEL:
            unlabelled.append(files[0])
        else:
            check_class_name(label, f"{table.file} gives {row[place]!r}")
            if labels.setdefault(files[0], label) != label:
                both = f"{labels[files[0]]!r} and {label!r}"
                raise DatasetError(f"{table.file} gives {row[place]!r} two labels, {both}; keep one")
            if split is not None:
                splits[files[0]] = row[split].strip()
    return Labels(
        table,
        index.base,
        table.columns[place],
        class_column,
        "" if split is None else table.columns[split],
        labels,
        splits,
        tuple(lost),
        tuple(unlabelled),
        tuple(twofold),
    )


def _file_column(table: Table, index: Index) -> int | None:
    """The column that names pictures, or None.

    Raises:
        DatasetError: two columns name different pictures.
    """
    if table.files:
        place = table.columns.index(table.files)
        return place if any(index.find([row[place] for row in table.rows])) else None
    ranks: list[tuple[int, bool, int]] = []
    found = []
    for place, column in enumerate(table.columns):
        names = [row[place] for row in table.rows]
        files = index.find(names)
        hits = [bool(them) for them in files]
        # Row numbers and widths look like names without suffix, too: 7 means 7.jpg.
        whole = sum(hit and bool(Path(name).suffix) for hit, name in zip(hits, names, strict=True))
        ranks.append((whole, plain(column) in FILE_COLUMNS, sum(hits)) if any(hits) else (0, False, 0))
        found.append(files)
    best = max(ranks, default=(0, False, 0))
    if not best[2]:
        return None
    first, *rest = [place for place, rank in enumerate(ranks) if rank == best]
    for other in rest:
        if found[other] != found[first]:
            raise DatasetError(
                f"{table.file}: both {table.columns[first]!r} and {table.columns[other]!r} could name the "
                "pictures; keep one of the two columns, or call it 'file'"
            )
    return first


def _classes(table: Table, others: Sequence[int], any_column: bool) -> tuple[str, list[str]] | None:
    """The name of the class column, and each row's class."""
    named = [place for place in others if plain(table.columns[place]) in CLASS_COLUMNS]
    if table.classes:
        named = [place for place in others if table.columns[place] == table.classes]
    if len(named) > 1:
        # A number and a name for the same classes: take the name.
        texts = [table.texts(place) for place in named]
        same = {len(set(zip(*texts, strict=True))), *(len(set(column)) for column in texts)}
        words = [place for place in named if not all(map(_is_number, table.texts(place)))]
        if len(same) > 1 or len(words) > 1:
            one, other = (table.columns[place] for place in named[:2])
            raise DatasetError(f"{table.file}: {one!r} or {other!r} could name the classes; keep one column")
        named = words or named[:1]
    if named:
        return table.columns[named[0]], _whole_numbers(table.texts(named[0]))
    flags = [place for place in others if set(table.texts(place)) <= {"0", "1", "0.0", "1.0"}]
    if len(flags) > 1:
        rows = [[place for place in flags if row[place].strip() in ("1", "1.0")] for row in table.rows]
        if all(len(row) == 1 for row in rows):
            names = [table.columns[place] for place in flags]
            return f"{names[0]}, ..., {names[-1]}", [table.columns[row[0]].strip() for row in rows]
        if any(len(row) > 1 for row in rows):
            raise DatasetError(f"{table.file} gives a picture several classes; each can have one")
    if any_column and len(others) == 1 and plain(table.columns[others[0]]) not in MEASURES:
        return table.columns[others[0]], _whole_numbers(table.texts(others[0]))
    return None


def no_classes(table: Table) -> str:
    """Why a table that names pictures cannot be used, and what to do."""
    columns = ", ".join(repr(name) for name in table.columns)
    return f"{table.file} has the columns {columns}; call the one with the classes 'label'"


def class_texts(table: Table) -> set[str]:
    """The values of columns with a usual class name, in lower case."""
    named = [place for place, column in enumerate(table.columns) if plain(column) in CLASS_COLUMNS]
    return {text.casefold() for place in named for text in table.texts(place)}


def plain(column: str) -> str:
    """The name of a column without case, spaces, dashes and underscores."""
    return re.sub(r"[\s_-]", "", column.lower())


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def _whole_numbers(texts: Sequence[str]) -> list[str]:
    """0.000000 becomes 0: im2rec and pandas write class 0 so."""
    return [re.sub(r"^(\d+)\.0+$", r"\1", text) for text in texts]
